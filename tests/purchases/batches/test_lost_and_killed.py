"""A batch is paid once, whatever dies or gets lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal

import pytest
from boats import HERE, boats, made, records, sent, states
from buyer import connection, plan, terms

from prefect_media import afetch_image_batch, agenerate_images, asubmit_image_batch
from prefect_media.errors import InvalidRequest, RateLimited, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.batch_submit import submit
from prefect_media.purchases.images import buy_images
from prefect_media.simulator import Fault
from prefect_media.storage.store import storage_at


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


async def test_a_forgotten_batch_is_not_adopted(simulator, tmp_path):
    """Ordered anew, it has the same key at the provider; after a lost reply the new one is found."""
    place, requests = str(tmp_path), boats("a")
    batch, _ = await made(simulator, requests, place)
    for record in await records(tmp_path):
        await Ledger(storage_at(place)).forget(record.key)
    simulator.faults.append(Fault("POST", "/batches$", "lose_reply"))
    again, [generation] = await made(simulator, requests, place)
    assert generation.asset
    assert [batch.id, again.id] == [each.id for each in simulator.batches]


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


async def test_a_batch_that_is_refused_after_a_lost_reply_does_not_take_the_lines_from_the_first(simulator, tmp_path):
    """It was ordered in spite of the doubt; then the first batch turns up, with all that was paid for."""
    no_list = Fault("GET", "/batches$", "answer", times=None, status=404)
    simulator.faults.extend(
        [
            Fault("POST", "/batches$", "lose_reply"),
            Fault("POST", "/batches$", "answer", status=429),
            Fault("GET", "/batches$", "drip", nbytes=1000, seconds=0),
            no_list,
        ]
    )
    with pytest.raises(RateLimited):
        await made(simulator, boats("a", "b"), str(tmp_path), on_doubt="resubmit")
    simulator.faults.remove(no_list)
    _, generations = await made(simulator, boats("a", "b"), str(tmp_path))
    assert [bool(each.asset) for each in generations] == [True, True]
    assert len(simulator.batches) == 1
    assert set((await states(tmp_path)).values()) == {"done"}


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
            await submit(connection(simulator), requests, storage_at(place), terms())
    assert not simulator.batches
    again = terms(on_doubt="resubmit")
    batch = await submit(connection(simulator), requests, storage_at(place), again)
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
    batch = await submit(connection(simulator), requests, storage, terms())
    refused = Fault("POST", "/files$", "answer", status=401)
    simulator.faults.append(refused)
    sleeper.signal(signal.SIGCONT)
    assert await asyncio.to_thread(refused.wait, 20)
    simulator.batches[0].latency = 0
    assert [asset.source.batch_id for asset in await asyncio.to_thread(lambda: sleeper.assets)] == [batch.id] * 2
    assert len(simulator.batches) == 1


async def test_a_process_that_slept_puts_nothing_in_doubt_that_another_ordered(nursery, simulator, store):
    """It found a line that was enlisted in spite of a doubt, by a process that died; another then orders that line."""
    storage, requests = store.storage(), boats("a")
    simulator.faults.append(Fault("POST", "/images/generations$", "lose_reply"))
    with pytest.raises(SubmissionInDoubt):
        await buy_images(connection(simulator), requests[0], storage, terms())
    order = plan(simulator, storage, *requests, batch=True)
    died = nursery.start({**order, "on_doubt": "resubmit", "die": "before the batch"})
    assert await asyncio.to_thread(died.wait) == -signal.SIGKILL
    sleeper = nursery.start({**order, "die": "asleep with a line of the batch"})
    assert await asyncio.to_thread(sleeper.stopped.wait, 20)
    simulator.latency = 60
    batch = await submit(connection(simulator), requests, storage, terms(on_doubt="resubmit"))
    sleeper.signal(signal.SIGCONT)
    simulator.batches[0].latency = 0
    assert [asset.source.batch_id for asset in await asyncio.to_thread(lambda: sleeper.assets)] == [batch.id]
    assert await states(store) == {"a": "done", "batch": "done"}
    assert len(simulator.batches) == 1


async def test_eight_tasks_of_one_process_want_the_same(simulator, store):
    requests = boats("a", "b", "c")
    several = await asyncio.gather(*(made(simulator, requests, store) for _ in range(8)))
    assert len({tuple(each.asset.uri for each in generations) for _, generations in several}) == 1
    assert len(simulator.batches) == 1
    assert len(simulator.images) == 3
