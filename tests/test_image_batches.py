"""Half-price batches: they make what single requests make, and are paid once, whatever dies or gets lost."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image
from prefect import flow
from prefect_media.tasks import aimage_batch_is_finished, image_batch_is_finished
from pydantic import SecretStr

from prefect_media import (
    AzureOpenAICredentials,
    Generation,
    ImageBatch,
    ImageEditRequest,
    ImageRequest,
    MediaStore,
    OpenAICredentials,
    VideoRequest,
    afetch_image_batch,
    agenerate_images,
    asubmit_image_batch,
    batches,
    costs,
    fetch_image_batch,
    generate_images,
    submit_image_batch,
)
from prefect_media.errors import (
    ContentRejected,
    DownloadCorrupt,
    InvalidRequest,
    JobExpired,
    JobFailed,
    JobTimedOut,
    ProviderUnavailable,
    SubmissionInDoubt,
)
from prefect_media.ledger import Claim, Ledger
from prefect_media.providers import batches as wire
from prefect_media.purchase import buy_images
from prefect_media.settings import settings
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage import storage_at

sys.path.insert(0, str(Path(__file__).parent))
from buyer import MODEL, Nursery, connection, plan, terms

HERE = {"scope": "a test"}
DETAILED = "gpt-image-2"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("PREFECT_MEDIA_POLL_SECONDS", "0.05")
    monkeypatch.setattr("prefect_media.providers.content.NOT_YET_PAUSES", (0.01,))
    monkeypatch.setattr(batches, "LOOKS", (0.0, 0.2, 0.4))
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def simulator():
    with Simulator(latency=0.3) as simulator:
        yield simulator


def boats(*prompts, **fields):
    """Images that cost next to nothing to make."""
    return [ImageRequest(prompt=prompt, **{"model": MODEL, "size": "64x64", **fields}) for prompt in prompts]


async def made(simulator, requests, store, **more):
    batch = await asubmit_image_batch.fn(simulator.credentials, requests, store=store, **{**HERE, **more})
    return batch, await afetch_image_batch.fn(simulator.credentials, batch, store=store)


async def records(store):
    storage = store.storage() if isinstance(store, MediaStore) else storage_at(str(store))
    return [record async for record in Ledger(storage).purchases()]


async def states(store):
    """How the purchases stand, by their prompts; the batch under its operation."""
    return {record.request.get("prompt", record.operation): record.state for record in await records(store)}


def sent(simulator, method="POST"):
    return [request.path.partition("?")[0] for request in simulator.requests if request.method == method]


# ---------------------------------------------------------------- what it makes


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
    assert full.cost_usd == costs.of_images(DETAILED, "other", full.usage)
    assert source.cost_usd == pytest.approx(full.cost_usd / 2)
    assert source.estimated_usd == pytest.approx(full.estimated_usd / 2)
    assert {record.cost_usd for record in await records(tmp_path)} == {None, full.cost_usd, source.cost_usd}


async def test_a_price_list_of_ones_own_says_what_a_batch_costs(simulator, tmp_path, monkeypatch):
    (tmp_path / "prices.toml").write_text(f'[prices."{MODEL}"]\ntext_in = 1\nimage_out = 10.0\nbatch = 0.8\n')
    monkeypatch.setenv("PREFECT_MEDIA_PRICES", str(tmp_path / "prices.toml"))
    settings.cache_clear()
    _, [generation] = await made(simulator, boats("a fox"), str(tmp_path / "store"))
    source = generation.asset.source
    assert source.cost_usd == pytest.approx(0.8 * costs.of_images(MODEL, "other", source.usage))


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

    @flow
    def evening() -> ImageBatch:
        batch = submit_image_batch(credentials, requests, store=place, scope="tonight")
        assert not image_batch_is_finished(credentials, batch, store=place)
        return batch

    @flow
    async def morning(batch: ImageBatch) -> list[Generation]:
        return await afetch_image_batch(credentials, batch, store=place)

    batch = evening()
    generations = asyncio.run(morning(batch))
    assert isinstance(generations[1].error, ContentRejected)
    assert fetch_image_batch.fn(credentials, batch, store=place)[0] == generations[0]
    assert generate_images.fn(credentials, requests[0], store=place, scope="tonight") == [generations[0].asset]


# ---------------------------------------------------------------- bought once, in a batch or alone


async def test_what_was_bought_alone_stays_out_and_what_a_batch_made_is_found(simulator, store):
    credentials, requests = simulator.credentials, boats("before", "in the batch")
    alone = await agenerate_images.fn(credentials, requests[0], store=store, **HERE)
    _, generations = await made(simulator, requests, store)
    assert generations[0].assets == tuple(alone)
    assert [line["body"]["prompt"] for line in simulator.batches[0].lines] == ["in the batch"]
    assert await agenerate_images.fn(credentials, requests[1], store=store, **HERE) == [generations[1].asset]
    assert len(simulator.images) == 2


async def test_a_batch_of_what_is_there_already_orders_nothing(simulator, tmp_path):
    place, requests = str(tmp_path), boats("a boat")
    await agenerate_images.fn(simulator.credentials, requests[0], store=place, **HERE)
    batch, [generation] = await made(simulator, requests, place)
    assert (batch.id, generation.error) == (None, None)
    assert await aimage_batch_is_finished.fn(simulator.credentials, batch, store=place)
    assert not simulator.batches


async def test_while_it_is_under_way_nothing_in_it_is_bought_elsewhere(simulator, store):
    simulator.latency = 60
    credentials, requests = simulator.credentials, boats("a", "b")
    batch = await asubmit_image_batch.fn(credentials, requests, store=store, **HERE)
    with pytest.raises(InvalidRequest, match=r"fetch_image_batch") as caught:
        await agenerate_images.fn(credentials, requests[0], store=store, retry_failed=True, **HERE)
    assert caught.value.key == batch.key
    with pytest.raises(InvalidRequest, match=r"requests\[1\] is in an image batch"):
        await asubmit_image_batch.fn(credentials, [*boats("c"), requests[1]], store=store, **HERE)
    with pytest.raises(InvalidRequest, match=r"requests\[0, 1\]"):
        await asubmit_image_batch.fn(credentials, requests[::-1], store=store, **HERE)
    assert await asubmit_image_batch.fn(credentials, requests, store=store, **HERE) == batch
    assert (len(simulator.batches), simulator.images) == (1, [])
    [free] = await agenerate_images.fn(credentials, boats("c")[0], store=store, **HERE)  # refused with the others
    simulator.batches[0].latency = 0
    assert all(each.asset for each in await afetch_image_batch.fn(credentials, batch, store=store))
    _, generations = await made(simulator, [*requests[::-1], *boats("c")], store)
    assert generations[2].asset == free
    assert len(simulator.images) == 3


async def test_what_is_being_bought_alone_at_the_moment_is_waited_for(simulator, tmp_path):
    place, requests = str(tmp_path), boats("a", "b")
    slow = Fault("POST", "/generations$", "hold_reply", seconds=1)
    simulator.faults.append(slow)
    alone = asyncio.create_task(agenerate_images.fn(simulator.credentials, requests[0], store=place, **HERE))
    assert await asyncio.to_thread(slow.wait, 20)
    _, generations = await made(simulator, requests, place)
    assert [generations[0].asset] == await alone
    assert [line["body"]["prompt"] for line in simulator.batches[0].lines] == ["b"]


async def test_what_can_not_be_stored_now_is_stored_by_the_next_fetch(simulator, tmp_path):
    credentials, place, requests = simulator.credentials, str(tmp_path), boats("a", "b", "explode")
    simulator.latency = 0
    batch = await asubmit_image_batch.fn(credentials, requests, store=place, **HERE)
    assert await aimage_batch_is_finished.fn(credentials, batch, store=place)
    file = simulator._state.uploads[simulator.batches[0].output]
    whole = file["content"]
    file["content"] = re.sub(rb'(?<="b64_json": ")[^"]+', base64.b64encode(b"no picture at all"), whole, count=1)
    a, b, broken = await afetch_image_batch.fn(
        credentials, batch, store=place
    )  # "b", as the file is the other way round
    assert a.asset
    assert isinstance(b.error, DownloadCorrupt)
    assert isinstance(broken.error, ProviderUnavailable)
    assert await states(tmp_path) == {"a": "done", "b": "submitted", "explode": "intent", "batch": "submitted"}
    file["content"] = whole
    a_again, b, _ = await afetch_image_batch.fn(credentials, batch, store=place)
    assert (a_again, (await states(tmp_path))["batch"]) == (a, "done")
    assert b.asset


async def test_failed_lines_sink_no_others_and_are_remembered_like_single_ones(simulator, tmp_path):
    place, requests = str(tmp_path), boats("fine", "forbidden", "explode")
    batch, [fine, rejected, broken] = await made(simulator, requests, place)
    assert fine.asset
    assert isinstance(rejected.error, ContentRejected)
    assert list(rejected.error.categories) == ["violence"]
    assert isinstance(broken.error, ProviderUnavailable)
    assert {**await states(tmp_path), "batch": "done"} == {
        "fine": "done",
        "forbidden": "failed",
        "explode": "intent",
        "batch": "done",
    }
    again = await afetch_image_batch.fn(simulator.credentials, batch, store=place)
    assert [str(each.error) for each in again] == [str(each.error) for each in (fine, rejected, broken)]

    with pytest.raises(ContentRejected):
        await agenerate_images.fn(simulator.credentials, requests[1], store=place, **HERE)
    await made(simulator, requests, place)
    assert [line["body"]["prompt"] for line in simulator.batches[1].lines] == ["explode"]
    await made(simulator, requests, place, retry_failed=True)
    assert {line["body"]["prompt"] for line in simulator.batches[2].lines} == {"explode", "forbidden"}
    assert len(simulator.images) == 1


async def test_what_expired_is_free_at_once_and_ordered_again_by_the_same_call(simulator, store):
    simulator.latency = 60
    credentials, requests = simulator.credentials, boats("a", "b", "c", "d")
    batch = await asubmit_image_batch.fn(credentials, requests, store=store, **HERE)
    simulator.batches[0].stops_after, simulator.batches[0].latency = 2, 0
    a, b, c, d = await afetch_image_batch.fn(credentials, batch, store=store)
    assert a.asset and b.asset
    assert isinstance(c.error, JobExpired) and isinstance(d.error, JobExpired)
    assert "nothing was paid" in str(c.error)
    alone = await agenerate_images.fn(credentials, requests[2], store=store, **HERE)
    simulator.latency = 0
    simulator.faults.append(Fault("POST", "/batches$", "answer", status=500))  # and the first batch is not the lost one
    second, generations = await made(simulator, requests, store)
    assert second.key == batch.key and second.id != batch.id
    assert [line["body"]["prompt"] for line in simulator.batches[1].lines] == ["d"]
    assert [each.asset for each in generations] == [a.asset, b.asset, alone[0], generations[3].asset]
    assert await afetch_image_batch.fn(credentials, batch, store=store) == generations, "the old value leads there too"
    assert sorted(image.prompt for image in simulator.images) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("how", ["cancelled", "refused"])
async def test_a_batch_that_came_to_nothing_says_why_and_leaves_all_free(simulator, tmp_path, how):
    simulator.latency = 60
    credentials, place, requests = simulator.credentials, str(tmp_path), boats("a", "b")
    batch = await asubmit_image_batch.fn(credentials, requests, store=place, **HERE)
    if how == "cancelled":
        simulator.batches[0].stops_after, simulator.batches[0].cancelled = 0, True
    else:
        complaint = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None}
        simulator.batches[0].complaints.append(complaint)
        simulator.batches[0].latency = 0
    assert await aimage_batch_is_finished.fn(credentials, batch, store=place)
    for each in await afetch_image_batch.fn(credentials, batch, store=place):
        assert isinstance(each.error, JobFailed)
        assert how in str(each.error)
        assert how == "cancelled" or "Enqueued token limit reached" in str(each.error)
    simulator.latency = 0
    assert all(each.asset for each in (await made(simulator, requests, place))[1])
    assert len(simulator.images) == 2


async def submitted_before(batch, place, age):
    """Put on record that a batch was submitted so long ago."""
    ledger = Ledger(storage_at(place))
    then = batch.model_copy(update={"submitted_at": batch.submitted_at - age})
    await ledger.swap(Claim(*await ledger.get(batch.key)), batch=then)


async def test_answers_that_are_gone_were_paid_and_are_bought_again_only_on_request(simulator, tmp_path):
    credentials, place, requests = simulator.credentials, str(tmp_path), boats("a")
    batch = await asubmit_image_batch.fn(credentials, requests, store=place, **HERE)
    simulator.faults.append(Fault("GET", "/content$", "answer", times=None, status=404))
    with pytest.raises(JobExpired, match="fetch it again later"):
        await afetch_image_batch.fn(credentials, batch, store=place)
    assert await states(tmp_path) == {"a": "submitted", "batch": "submitted"}, "it is too early for that"
    await submitted_before(batch, place, timedelta(days=31))
    [gone] = await afetch_image_batch.fn(credentials, batch, store=place)
    assert isinstance(gone.error, JobExpired)
    assert "retry_failed=True" in str(gone.error)
    del simulator.faults[:]
    assert (await asubmit_image_batch.fn(credentials, requests, store=place, **HERE)).id == batch.id
    _, [again] = await made(simulator, requests, place, retry_failed=True)
    assert again.asset
    assert len(simulator.batches) == 2


async def test_a_batch_that_the_account_does_not_know_stays_on_record(simulator, tmp_path):
    credentials, place = simulator.credentials, str(tmp_path)
    batch = await asubmit_image_batch.fn(credentials, boats("a"), store=place, **HERE)
    await submitted_before(batch, place, timedelta(hours=1))
    simulator.faults.append(Fault("GET", f"/batches/{batch.id}$", "answer", times=None, status=404))
    with pytest.raises(JobExpired, match=f"jobs forget {batch.key[:12]}"):
        await afetch_image_batch.fn(credentials, batch, store=place)
    assert await states(tmp_path) == {"a": "submitted", "batch": "submitted"}
    del simulator.faults[:]
    other = OpenAICredentials(base_url=simulator.url, api_key=SecretStr("sk-x"), organization="org-other")
    with pytest.raises(InvalidRequest, match="another organization"):
        await afetch_image_batch.fn(other, batch, store=place)
    await Ledger(storage_at(place)).forget(batch.key)
    _, [again] = await made(simulator, boats("a"), place)
    assert again.asset
    assert len(simulator.batches) == 2, "forgotten on purpose, it is ordered anew"


async def test_a_record_that_was_forgotten_is_ordered_again(simulator, tmp_path):
    place, requests = str(tmp_path), boats("a", "b")
    batch, _ = await made(simulator, requests, place)
    [key] = [record.key for record in await records(tmp_path) if record.request.get("prompt") == "a"]
    await Ledger(storage_at(place)).forget(key)
    a, b = await afetch_image_batch.fn(simulator.credentials, batch, store=place)
    assert "forgotten" in str(a.error) and b.asset
    await made(simulator, requests, place)
    assert [line["body"]["prompt"] for line in simulator.batches[1].lines] == ["a"]


async def test_a_slow_fetch_frees_nothing_that_is_in_the_next_batch(simulator, tmp_path):
    credentials, place, requests = simulator.credentials, str(tmp_path), boats("explode")
    batch = await asubmit_image_batch.fn(credentials, requests, store=place, **HERE)
    held = Fault("GET", "/content$", "hold_reply", seconds=1.5)
    simulator.faults.append(held)
    slow = asyncio.create_task(afetch_image_batch.fn(credentials, batch, store=place))
    assert await asyncio.to_thread(held.wait, 20)
    await afetch_image_batch.fn(credentials, batch, store=place)
    simulator.latency = 60
    second = await asubmit_image_batch.fn(credentials, requests, store=place, **HERE)
    await slow
    assert second.id == simulator.batches[1].id
    assert await states(tmp_path) == {"explode": "submitted", "batch": "submitted"}


# ---------------------------------------------------------------- lost replies and crashes


@pytest.mark.parametrize("action", ["lose_reply", "answer_after", "corrupt", "truncate"])
async def test_after_a_lost_reply_the_batch_is_found(simulator, store, action):
    simulator.faults.append(Fault("POST", "/batches$", action, status=502, nbytes=20))
    batch, generations = await made(simulator, boats("a", "b"), store)
    assert len(simulator.batches) == 1
    assert batch.id == simulator.batches[0].id
    assert all(each.asset for each in generations)
    assert sent(simulator) == ["/v1/files", "/v1/batches"]


async def test_a_batch_that_is_listed_late_is_found_all_the_same(simulator, tmp_path):
    simulator.faults.append(Fault("POST", "/batches$", "lose_reply"))
    empty = {"object": "list", "data": [], "has_more": False}
    simulator.faults.append(Fault("GET", "/batches$", "answer", times=3, status=200, body=empty))
    await made(simulator, boats("a"), str(tmp_path))
    assert len(simulator.batches) == 1


async def test_what_was_certainly_not_taken_is_sent_again_with_the_same_file(simulator, tmp_path):
    simulator.faults.append(Fault("POST", "/batches$", "answer", status=503, headers={"Retry-After": "0.1"}))
    simulator.faults.append(Fault("POST", "/batches$", "answer", status=500))
    _, [generation] = await made(simulator, boats("a"), str(tmp_path))
    assert generation.asset
    assert sent(simulator) == ["/v1/files", *["/v1/batches"] * 3]
    assert len(simulator.batches) == 1


async def test_a_list_that_can_not_be_read_is_a_doubt(simulator, tmp_path):
    credentials, place, requests = simulator.credentials, str(tmp_path), boats("a")
    simulator.faults.append(Fault("POST", "/batches$", "lose_reply"))
    first_look = Fault("GET", "/batches$", "drip", nbytes=1000, seconds=0)
    simulator.faults.extend([first_look, Fault("GET", "/batches$", "answer", times=None, status=404)])
    for _ in range(2):
        with pytest.raises(SubmissionInDoubt, match="dashboard"):
            await asubmit_image_batch.fn(credentials, requests, store=place, **HERE)
    with pytest.raises(InvalidRequest, match="is in an image batch"):
        await agenerate_images.fn(credentials, requests[0], store=place, **HERE)
    del simulator.faults[:]
    batch = await asubmit_image_batch.fn(credentials, requests, store=place, **HERE)
    assert [batch.id] == [each.id for each in simulator.batches]


async def test_a_doubt_can_be_overruled(simulator, tmp_path):
    simulator.faults.append(Fault("POST", "/batches$", "lose_reply"))
    simulator.faults.append(Fault("GET", "/batches$", "drip", nbytes=1000, seconds=0))
    simulator.faults.append(Fault("GET", "/batches$", "answer", times=None, status=404))
    _, [generation] = await made(simulator, boats("a"), str(tmp_path), on_doubt="resubmit")
    assert generation.asset
    assert len(simulator.batches) == 2


async def test_a_single_purchase_in_doubt_is_not_slipped_into_a_batch(simulator, tmp_path):
    credentials, place, requests = simulator.credentials, str(tmp_path), boats("a", "b")
    simulator.faults.append(Fault("POST", "/generations$", "lose_reply"))
    with pytest.raises(SubmissionInDoubt):
        await agenerate_images.fn(credentials, requests[1], store=place, **HERE)
    for _ in range(2):
        with pytest.raises(SubmissionInDoubt, match=r"requests\[1\] may have been made"):
            await asubmit_image_batch.fn(credentials, requests, store=place, **HERE)
    assert not simulator.batches
    assert (await states(tmp_path))["a"] == "intent", "the others are free"
    _, generations = await made(simulator, requests, place, on_doubt="resubmit")
    assert all(each.asset for each in generations)
    assert len(simulator.batches) == 1


async def test_what_a_killed_process_may_have_bought_alone_is_not_slipped_into_a_batch(nursery, simulator, tmp_path):
    place, requests = str(tmp_path), boats("a", "b")
    order = plan(simulator, storage_at(place), requests[1])
    assert nursery.start({**order, "die": "after the images"}).wait() == -signal.SIGKILL
    for _ in range(2):
        with pytest.raises(SubmissionInDoubt, match=r"requests\[1\] may have been made"):
            await batches.submit(connection(simulator), requests, storage_at(place), terms())
    assert not simulator.batches
    again = terms(on_doubt="resubmit")
    batch = await batches.submit(connection(simulator), requests, storage_at(place), again)
    assert all(each.asset for each in await afetch_image_batch.fn(simulator.credentials, batch, store=place))
    assert len(simulator.batches[0].lines) == 2


@pytest.mark.parametrize("status", [400, 401])
async def test_a_refused_batch_leaves_all_free(simulator, tmp_path, status):
    simulator.faults.append(Fault("POST", "/batches$", "answer", status=status))
    with pytest.raises(Exception, match=str(status)):
        await asubmit_image_batch.fn(simulator.credentials, boats("a"), store=str(tmp_path), **HERE)
    assert await states(tmp_path) == {"a": "intent", "batch": "intent"}
    await agenerate_images.fn(simulator.credentials, boats("a")[0], store=str(tmp_path), **HERE)
    batch, _ = await made(simulator, boats("a"), str(tmp_path))
    assert batch.id is None


@pytest.mark.parametrize(
    "point",
    [
        "before the batch",
        "after the batch",
        "while it is made",
        "before its first is on record",
        "with some on record",
        "before it is closed",
    ],
)
async def test_a_process_killed_at_this_point_has_bought_once(point, nursery, simulator, store):
    """SIGKILL at one exact line; the next process goes on, with one batch and every image once."""
    requests, storage = boats(*"abcdefgh"), store.storage()
    order = plan(simulator, storage, *requests, batch=True)
    assert nursery.start({**order, "die": point}).wait() == -signal.SIGKILL
    assert len(simulator.batches) == (0 if point == "before the batch" else 1)
    assert (await states(store))["batch"] != "done"

    assets = nursery.start(order).assets
    assert len(simulator.batches) == 1
    assert sorted(image.prompt for image in simulator.images) == list("abcdefgh")
    assert len({asset.uri for asset in assets}) == 8
    for asset in assets:
        assert asset.sha256 == hashlib.sha256(await asset.aread_bytes()).hexdigest()
    assert set((await states(store)).values()) == {"done"}
    keys = {storage.key_of(asset.uri) for asset in assets}
    assert {key async for key, _ in storage.list("media/")} == keys | {f"{key}.json" for key in keys}
    assert nursery.start(order).assets == assets
    for request, asset in zip(requests, assets, strict=True):
        assert await buy_images(connection(simulator), request, storage, terms()) == [asset]
    assert len(simulator.images) == 8


async def test_a_process_killed_before_the_reply_has_bought_once(nursery, simulator, store):
    """The provider has taken the batch, the buyer dies before it hears of it: the batch is found and adopted."""
    order = plan(simulator, store.storage(), *boats("a", "b"), batch=True)
    loop, born, pid = asyncio.get_running_loop(), asyncio.Event(), list[int]()

    def kill() -> None:
        asyncio.run_coroutine_threadsafe(born.wait(), loop).result()
        os.kill(pid[0], signal.SIGKILL)

    simulator.faults.append(Fault("POST", "/batches$", "hold_reply", seconds=30, after_accept=kill))
    first = nursery.start(order)
    pid.append(first.pid)
    born.set()
    assert await asyncio.to_thread(first.wait) == -signal.SIGKILL
    assert await states(store) == {"a": "submitted", "b": "submitted", "batch": "intent"}
    with pytest.raises(InvalidRequest, match="is in an image batch"):
        await buy_images(connection(simulator), boats("a")[0], store.storage(), terms())

    assets = await asyncio.to_thread(lambda: nursery.start(order).assets)
    assert [asset.source.batch_id for asset in assets] == [simulator.batches[0].id] * 2
    assert len(simulator.batches) == 1


async def test_several_processes_want_the_same(nursery, simulator, store):
    order = plan(simulator, store.storage(), *boats(*"abcd"), batch=True, lease_seconds=10)
    buyers = [nursery.start(order) for _ in range(4)]
    assets = [buyer.assets for buyer in buyers]
    assert all([asset.uri for asset in each] == [asset.uri for asset in assets[0]] for each in assets)
    assert len(simulator.batches) == 1
    assert len(simulator.images) == 4


async def test_a_process_that_slept_through_its_lease_does_not_pay(nursery, simulator, store):
    order = plan(simulator, store.storage(), *boats("a", "b"), batch=True)
    sleeper = nursery.start({**order, "die": "asleep with the batch"})
    assert sleeper.stopped.wait(20)
    assets = nursery.start(order).assets
    sleeper.signal(signal.SIGCONT)
    assert sleeper.assets == assets
    assert len(simulator.batches) == 1
    assert set((await states(store)).values()) == {"done"}


async def test_a_process_that_slept_and_then_fails_frees_nothing_of_the_others(nursery, simulator, tmp_path):
    simulator.latency, storage, requests = 60, storage_at(str(tmp_path)), boats("a", "b")
    sleeper = nursery.start({**plan(simulator, storage, *requests, batch=True), "die": "asleep with the batch"})
    assert sleeper.stopped.wait(20)
    batch = await batches.submit(connection(simulator), requests, storage, terms())
    refused = Fault("POST", "/files$", "answer", status=401)
    simulator.faults.append(refused)
    sleeper.signal(signal.SIGCONT)
    assert await asyncio.to_thread(refused.wait, 20)
    simulator.batches[0].latency = 0
    assert [asset.source.batch_id for asset in await asyncio.to_thread(lambda: sleeper.assets)] == [batch.id] * 2
    assert len(simulator.batches) == 1


async def test_eight_tasks_of_one_process_want_the_same(simulator, store):
    requests = boats("a", "b", "c")
    several = await asyncio.gather(*(made(simulator, requests, store) for _ in range(8)))
    assert len({tuple(each.asset.uri for each in generations) for _, generations in several}) == 1
    assert len(simulator.batches) == 1
    assert len(simulator.images) == 3


# ---------------------------------------------------------------- the answers, as they arrive


@pytest.mark.parametrize("action", ["truncate", "drip"])
async def test_answers_that_break_off_are_taken_up_where_they_broke(simulator, tmp_path, action):
    simulator.faults.append(Fault("GET", "/content$", action, nbytes=3000, seconds=0.01))
    _, generations = await made(simulator, boats(*"abcdef"), str(tmp_path))
    assert all(each.asset for each in generations)
    contents = [request for request in simulator.requests if request.path.endswith("/content")]
    assert [request.headers.get("range") for request in contents][1:] == (
        ["bytes=3000-"] if action == "truncate" else []
    )


async def test_answers_that_can_not_be_had_now_are_had_later(simulator, tmp_path):
    credentials, place = simulator.credentials, str(tmp_path)
    batch = await asubmit_image_batch.fn(credentials, boats("a", "b"), store=place, **HERE)
    simulator.faults.append(Fault("GET", "/content$", "answer", times=1, status=500))
    with pytest.raises(ProviderUnavailable):
        await afetch_image_batch.fn(credentials, batch, store=place)
    assert (await states(tmp_path))["batch"] == "submitted"
    assert all(each.asset for each in await afetch_image_batch.fn(credentials, batch, store=place))


async def test_looks_that_fail_do_not_fail_the_batch(simulator, tmp_path):
    batch = await asubmit_image_batch.fn(simulator.credentials, boats("a"), store=str(tmp_path), **HERE)
    simulator.faults.append(Fault("GET", f"/batches/{batch.id}$", "answer", times=3, status=500))
    simulator.faults.append(Fault("GET", f"/batches/{batch.id}$", "corrupt"))
    assert (await afetch_image_batch.fn(simulator.credentials, batch, store=str(tmp_path)))[0].asset


async def test_two_hundred_images_take_the_memory_of_a_few(nursery, tmp_path):
    """What a process grows by is a small part of what it stores."""
    with Simulator(latency=0) as simulator:
        storage, requests = storage_at(str(tmp_path)), boats(*(f"boat {number}" for number in range(200)))
        batch = await batches.submit(connection(simulator), requests, storage, terms())
        assert await aimage_batch_is_finished.fn(simulator.credentials, batch, store=str(tmp_path))
        file = simulator._state.uploads[simulator.batches[0].output]
        noise = io.BytesIO()
        Image.effect_noise((1000, 1000), 90).save(noise, "PNG")  # what the simulator draws is small
        picture = base64.b64encode(noise.getvalue())
        file["content"] = re.sub(rb'(?<="b64_json": ")[^"]+', picture, file["content"])
        assert len(file["content"]) > 200 * 2**20

        warm = plan(simulator, storage, *boats("warm"), batch=True)["requests"]
        buyer = nursery.start(plan(simulator, storage, *requests, batch=True, warm=warm))
        assets = await asyncio.to_thread(lambda: buyer.assets)
        assert len({asset.uri for asset in assets}) == 200
        assert {asset.size_bytes for asset in assets} == {len(noise.getvalue())}
        assert buyer.said()["grown_kib"] * 1024 < 60 * 2**20


async def test_a_line_that_can_not_be_read_is_that_lines_failure(simulator, tmp_path):
    credentials, place = simulator.credentials, str(tmp_path)
    simulator.latency = 0
    batch = await asubmit_image_batch.fn(credentials, boats("a", "b"), store=place, **HERE)
    assert await aimage_batch_is_finished.fn(credentials, batch, store=place)
    file = simulator._state.uploads[simulator.batches[0].output]
    file["content"] = file["content"].replace(b'"b64_json": "', b'"b64_json": "!', 1)  # of the last request
    a, b = await afetch_image_batch.fn(credentials, batch, store=place)
    assert a.asset
    assert isinstance(b.error, JobFailed)
    assert "retry_failed=True" in str(b.error)


# ---------------------------------------------------------------- input that can't work


OPENAI = OpenAICredentials(api_key=SecretStr("sk-x"))


@pytest.mark.parametrize(
    ("credentials", "requests", "said"),
    [
        (OPENAI, [], "requests is empty; pass at least one ImageRequest"),
        (OPENAI, iter([ImageRequest(prompt="a", model=DETAILED)]), "is a list_iterator; pass a list"),
        (OPENAI, ["a fox"], r"requests\[0\]: a str is not an ImageRequest"),
        (OPENAI, ImageRequest(prompt="a", model=DETAILED), "requests is one ImageRequest; pass several"),
        (
            AzureOpenAICredentials(base_url="https://me.openai.azure.com", api_key=SecretStr("k")),
            [ImageRequest(prompt="a", model=DETAILED)],
            "Azure lists text models only",
        ),
        (OPENAI, [ImageEditRequest(prompt="a", model=DETAILED, images=["x.png"])], r"requests\[0\]: an ImageEdit"),
        (OPENAI, [VideoRequest(prompt="a", model="x")], r"requests\[0\]: a VideoRequest is not an ImageRequest"),
        (
            OPENAI,
            [
                ImageRequest(prompt="a", model=DETAILED, quality="best"),
                ImageRequest(prompt="a", model=DETAILED),
                ImageRequest(prompt="a", model="dall-e-3"),
                ImageRequest(prompt="a", model=DETAILED, size="1000x1000"),
            ],
            r"3 of 4 requests.*\[0\]: .*best.*\[2\]: dall-e-3 was switched off.*\[3\]: .*1000x1000.*Nothing was sent$",
        ),
        (
            OPENAI,
            [ImageRequest(prompt="a", model=DETAILED), ImageRequest(prompt="a", model="gpt-image-2.6-flare")],
            r"one model, and these are for gpt-image-2 \(1\), gpt-image-2.6-flare \(1\); submit one for each",
        ),
    ],
)
async def test_what_can_not_work_is_said_before_anything_is_sent(tmp_path, credentials, requests, said):
    with pytest.raises(InvalidRequest, match=said):
        await asubmit_image_batch.fn(credentials, requests, store=str(tmp_path), **HERE)
    assert not list(tmp_path.rglob("*.json*")), "nothing was intended, so nothing is on the ledger"


@pytest.mark.parametrize(
    ("limit", "most", "said"), [("MOST_LINES", 2, "3 lines"), ("MOST_BYTES", 300, "submit several")]
)
async def test_more_than_a_batch_holds_is_several_batches(tmp_path, monkeypatch, limit, most, said):
    monkeypatch.setattr(wire, limit, most)
    with pytest.raises(InvalidRequest, match=said):
        await asubmit_image_batch.fn(
            OPENAI, boats("a", "b", "c", model=DETAILED, size=None), store=str(tmp_path), **HERE
        )
    assert not list(tmp_path.rglob("*.json*"))


async def test_a_server_without_batches_is_told_before_anything_is_on_its_way(tmp_path):
    with Simulator(profile="vllm-omni") as simulator:
        with pytest.raises(InvalidRequest, match=r"has no Batch API.*generate_images"):
            await asubmit_image_batch.fn(simulator.credentials, boats("a"), store=str(tmp_path), **HERE)
        assert sent(simulator) == []
        assert await agenerate_images.fn(simulator.credentials, boats("a")[0], store=str(tmp_path), **HERE)


async def test_the_key_goes_to_no_server_but_its_own_and_the_store_is_the_same(simulator, tmp_path):
    credentials = simulator.credentials
    batch = await asubmit_image_batch.fn(credentials, boats("a"), store=str(tmp_path / "one"), **HERE)
    stranger = OpenAICredentials(base_url="http://127.0.0.1:9/v1", api_key=SecretStr("sk-for-another-server"))
    for step in (afetch_image_batch, aimage_batch_is_finished):
        with pytest.raises(InvalidRequest, match=r"these credentials are for 127\.0\.0\.1:9"):
            await step.fn(stranger, batch, store=str(tmp_path / "one"))
        with pytest.raises(InvalidRequest, match="pass the store it was submitted with"):
            await step.fn(credentials, batch, store=str(tmp_path / "two"))


# ---------------------------------------------------------------- the command line


async def test_the_command_line_knows_batches(simulator, tmp_path):
    def jobs(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", "from prefect_media.cli import main; main()", "jobs", *arguments],
            env={
                **os.environ,
                "PREFECT_MEDIA_STORE": str(tmp_path),
                "OPENAI_BASE_URL": simulator.url,
                "OPENAI_API_KEY": "sk-simulated",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    batch = await asubmit_image_batch.fn(simulator.credentials, boats("a red boat", "b"), store=str(tmp_path), **HERE)
    listed = jobs("list").splitlines()
    assert [line for line in listed if batch.id in line and "image batch" in line and MODEL in line]
    assert [line for line in listed if "a red boat" in line and "submitted" in line]
    assert json.loads(jobs("show", batch.key[:12]))["batch"]["id"] == batch.id
    assert "done, 2 of 2 requests" in jobs("resume")
    assert set((await states(tmp_path)).values()) == {"done"}
    assert "Forgotten" in jobs("forget", batch.key[:12], "--yes")
