"""A request is bought once, in a batch or alone; what a batch did not make is free again."""

from __future__ import annotations

import asyncio
import base64
import re
from datetime import timedelta

import pytest
from boats import HERE, boats, made, records, states
from prefect_media.tasks import aimage_batch_is_finished
from pydantic import SecretStr

from prefect_media import OpenAICredentials, afetch_image_batch, agenerate_images, asubmit_image_batch
from prefect_media.errors import (
    ContentRejected,
    DownloadCorrupt,
    InvalidRequest,
    JobExpired,
    JobFailed,
    ProviderUnavailable,
)
from prefect_media.ledger.ledger import Claim, Ledger
from prefect_media.simulator import Fault
from prefect_media.storage.store import storage_at


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
