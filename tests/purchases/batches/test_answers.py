"""The answers of a batch as they arrive: broken off, late, large, unreadable."""

from __future__ import annotations

import asyncio
import base64
import io
import re

import pytest
from boats import HERE, boats, made, states
from buyer import connection, plan, terms
from PIL import Image
from prefect_media.tasks import aimage_batch_is_finished

from prefect_media import afetch_image_batch, asubmit_image_batch
from prefect_media.errors import JobFailed, ProviderUnavailable
from prefect_media.purchases.batch_submit import submit
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at


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
        batch = await submit(connection(simulator), requests, storage, terms())
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
        assert buyer.report()["grown_kib"] * 1024 < 60 * 2**20


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


@pytest.mark.parametrize("reason", [b'{"code": null, "message": null}', b'{"code": null, "message": ""}'])
async def test_a_line_that_failed_for_no_reason_quotes_none(simulator, tmp_path, reason):
    credentials, place = simulator.credentials, str(tmp_path)
    simulator.latency = 0
    batch = await asubmit_image_batch.fn(credentials, boats("a"), store=place, **HERE)
    simulator.batches[0].stops_after = 0  # at its window's end nothing was made
    assert await aimage_batch_is_finished.fn(credentials, batch, store=place)
    file = simulator._state.uploads[simulator.batches[0].errors]
    file["content"] = re.sub(rb'\{"code": "batch_expired".*?\}', reason, file["content"])
    (a,) = await afetch_image_batch.fn(credentials, batch, store=place)
    assert isinstance(a.error, JobFailed) and a.error.provider_message is None
    assert "provider says" not in str(a.error) and "None" not in str(a.error)
