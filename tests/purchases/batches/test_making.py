"""A half-price batch makes what single requests make."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import timedelta

import pytest
from boats import DETAILED, HERE, boats, made, records, sent, states
from buyer import MODEL
from prefect import flow
from prefect_media.tasks import aimage_batch_is_finished, image_batch_is_finished
from pydantic import SecretStr

from prefect_media import (
    Generation,
    ImageBatch,
    ImageRequest,
    MediaStore,
    OpenAICredentials,
    afetch_image_batch,
    agenerate_images,
    asubmit_image_batch,
    fetch_image_batch,
    generate_images,
    submit_image_batch,
)
from prefect_media.catalog.prices import of_images
from prefect_media.errors import ContentRejected, JobTimedOut


async def test_a_batch_makes_what_single_requests_make(simulator, store):
    requests = boats("a red boat", "a blue boat", "a green boat")
    batch, generations = await made(simulator, requests, store)
    assert [(each.index, each.request, each.error) for each in generations] == [
        (index, request, None) for index, request in enumerate(requests)
    ]
    assert sent(simulator) == ["/v1/files", "/v1/batches"]
    assert batch.count == 3
    elsewhere = await agenerate_images.fn(simulator.credentials, requests[0], store=store, scope="another")
    asset = generations[0].asset
    assert (asset.sha256, asset.width, asset.height) == (elsewhere[0].sha256, 64, 64)
    assert asset.sha256 == hashlib.sha256(await asset.aread_bytes()).hexdigest()
    assert asset.source.batch_id == batch.id == simulator.batches[0].id
    assert asset.source.request_id.startswith("req_")
    storage = store.storage()
    sidecar = json.loads(await storage.read(storage.key_of(asset.uri) + ".json"))
    assert sidecar["asset"] == asset.model_dump(mode="json")
    assert set((await states(store)).values()) == {"done"}


async def test_it_costs_half(simulator, tmp_path):
    request = ImageRequest(prompt="a fox", model=f"openai/{DETAILED}", aspect_ratio="1:1", quality="low")
    alone = await agenerate_images.fn(simulator.credentials, request, store=str(tmp_path), scope="alone")
    _, [generation] = await made(simulator, [request], str(tmp_path))
    source, full = generation.asset.source, alone[0].source
    assert generation.request == request
    assert (source.usage, source.model) == (full.usage, DETAILED)
    assert full.cost_usd == of_images(DETAILED, "other", full.usage)
    assert source.cost_usd == pytest.approx(full.cost_usd / 2)
    assert source.estimated_usd == pytest.approx(full.estimated_usd / 2)
    assert {record.cost_usd for record in await records(tmp_path)} == {None, full.cost_usd, source.cost_usd}


async def test_a_price_list_of_ones_own_says_what_a_batch_costs(simulator, tmp_path, configure):
    (tmp_path / "prices.toml").write_text(f'[prices."{MODEL}"]\ntext_in = 1\nimage_out = 10.0\nbatch = 0.8\n')
    configure(prices=tmp_path / "prices.toml")
    _, [generation] = await made(simulator, boats("a fox"), str(tmp_path / "store"))
    source = generation.asset.source
    assert source.cost_usd == pytest.approx(0.8 * of_images(MODEL, "other", source.usage))


async def test_what_is_asked_for_twice_is_one_line_and_many_images_are_several(simulator, tmp_path):
    [twice] = boats("twice")
    [many] = boats("many", n=12)
    _, generations = await made(simulator, [twice, many, twice], str(tmp_path))
    assert [image.n for image in simulator.images].count(1) == 1
    assert sorted(image.n for image in simulator.images) == [1, 2, 10]
    assert generations[0].assets == generations[2].assets
    assert len({asset.uri for asset in generations[1].assets}) == 12


async def test_it_goes_from_machine_to_machine_as_json_without_a_secret(simulator, store):
    batch = await asubmit_image_batch.fn(simulator.credentials, boats("a boat"), store=store, **HERE)
    text = batch.model_dump_json()
    assert "sk-simulated" not in text + "".join(record.model_dump_json() for record in await records(store))
    there = MediaStore.model_validate(store.model_dump())  # another machine's block of the same store
    key = OpenAICredentials(base_url=simulator.url, api_key=SecretStr("sk-another-machine"))
    [generation] = await afetch_image_batch.fn(key, ImageBatch.model_validate_json(text), store=there)
    assert generation.asset.source.batch_id == batch.id
    again = await afetch_image_batch.fn(simulator.credentials, batch, store=store)
    assert again == [generation]
    assert sum(path.endswith("/content") for path in sent(simulator, "GET")) == 1, "fetched twice is downloaded once"


async def test_looking_does_not_wait_and_waiting_has_a_deadline(simulator, tmp_path):
    simulator.latency = 60
    credentials, place = simulator.credentials, str(tmp_path)
    batch = await asubmit_image_batch.fn(credentials, boats("a boat"), store=place, **HERE)
    asked = len(simulator.requests)
    assert not await aimage_batch_is_finished.fn(credentials, batch, store=place)
    assert len(simulator.requests) == asked + 1
    with pytest.raises(JobTimedOut, match=batch.id):
        await afetch_image_batch.fn(credentials, batch, store=place, timeout=timedelta(seconds=0.2))
    simulator.batches[0].latency = 0
    assert await aimage_batch_is_finished.fn(credentials, batch, store=place)
    assert (await afetch_image_batch.fn(credentials, batch, store=place))[0].asset
    assert len(simulator.batches) == 1


@pytest.mark.usefixtures("prefect")
def test_in_flows_of_their_own(simulator, tmp_path):
    credentials, place = simulator.credentials, str(tmp_path)
    requests = boats("a red boat", "forbidden")
    simulator.latency = 3600

    @flow
    def evening() -> ImageBatch:
        batch = submit_image_batch(credentials, requests, store=place, scope="tonight")
        assert not image_batch_is_finished(credentials, batch, store=place)
        simulator.batches[0].latency = 0.0
        return batch

    @flow
    async def morning(batch: ImageBatch) -> list[Generation]:
        return await afetch_image_batch(credentials, batch, store=place)

    batch = evening()
    generations = asyncio.run(morning(batch))
    assert isinstance(generations[1].error, ContentRejected)
    assert fetch_image_batch.fn(credentials, batch, store=place)[0] == generations[0]
    assert generate_images.fn(credentials, requests[0], store=place, scope="tonight") == [generations[0].asset]
