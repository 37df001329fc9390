"""Processes that are killed at the worst moments, and many that want the same at once: one job, nothing lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import urllib.request

import pytest
from buyer import MODEL, clip, connection, plan, terms

from prefect_media.assets import Asset
from prefect_media.ledger.ledger import Ledger
from prefect_media.ledger.record import Record
from prefect_media.purchases.sidecar import Sidecar
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest, RemixRequest
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import Storage


@pytest.fixture
def simulator():
    with Simulator(latency=0.25) as simulator:
        yield simulator


@pytest.fixture
def storage(store) -> Storage:
    return store.storage()


def served(simulator: Simulator, job_id: str) -> bytes:
    """The bytes of a job, asked for without any of our code."""
    address = f"{simulator.url}/videos/{job_id}/content"
    request = urllib.request.Request(address, headers={"Authorization": "Bearer sk-anybody"})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


async def purchases(storage: Storage) -> list[Record]:
    return [record async for record in Ledger(storage).purchases()]


async def bought_once_and_whole(simulator: Simulator, storage: Storage, asset: Asset) -> None:
    """One job at the provider; its bytes in the store, beside them only their sidecar; all of it on record."""
    [job] = simulator.jobs
    content = served(simulator, job.id)
    assert asset.sha256 == hashlib.sha256(content).hexdigest()
    assert await asset.aread_bytes() == content
    assert asset.source is not None
    assert asset.source.job_id == job.id
    [record] = await purchases(storage)
    assert (record.state, record.assets, record.lease, record.doubtful) == ("done", (asset,), None, False)
    assert record.job is not None
    assert record.job.id == job.id
    assert record.other_jobs == ()
    key = storage.key_of(asset.uri)
    assert sorted([found async for found, _ in storage.list("media/")]) == [key, f"{key}.json"]


@pytest.mark.parametrize(
    "point", ["before the request", "after the reply", "while polling", "within the download", "after the store"]
)
async def test_a_process_killed_at_this_point_has_bought_once(point, nursery, simulator, storage):
    """SIGKILL at one exact line; the next process finishes, with one job and the whole video."""
    if point == "within the download":
        simulator.faults.append(Fault("GET", "/content$", "drip", seconds=0.01, nbytes=1000))
    order = plan(simulator, storage, clip())
    assert nursery.start({**order, "die": point}).wait() == -signal.SIGKILL
    assert len(simulator.jobs) == (0 if point == "before the request" else 1)
    assert [record.state for record in await purchases(storage)] != ["done"]

    [asset] = nursery.start(order).assets
    await bought_once_and_whole(simulator, storage, asset)


async def test_a_process_killed_before_the_reply_has_bought_once(nursery, simulator, storage):
    """The server has taken the job, the buyer dies before it hears of it: the job is found and adopted."""
    order = plan(simulator, storage, clip())
    born = asyncio.Event()
    loop = asyncio.get_running_loop()
    pid: list[int] = []

    def kill() -> None:
        asyncio.run_coroutine_threadsafe(born.wait(), loop).result()
        os.kill(pid[0], signal.SIGKILL)

    simulator.faults.append(Fault("POST", "/videos$", "hold_reply", seconds=30, after_accept=kill))
    first = nursery.start(order)
    pid.append(first.pid)
    born.set()
    assert await asyncio.to_thread(first.wait) == -signal.SIGKILL
    assert len(simulator.jobs) == 1
    [record] = await purchases(storage)
    assert (record.state, record.job) == ("intent", None)

    [asset] = await asyncio.to_thread(lambda: nursery.start(order).assets)
    await bought_once_and_whole(simulator, storage, asset)


async def test_killed_at_every_point_in_turn(nursery, simulator, storage):
    """One purchase whose process dies again and again, each time further on."""
    simulator.latency = 5.0  # a machine may need a while until the next buyer looks
    order = plan(simulator, storage, clip())
    for point in ["after the reply", "while polling", "within the download", "after the store"]:
        assert nursery.start({**order, "die": point}).wait() == -signal.SIGKILL
    [asset] = nursery.start(order).assets
    await bought_once_and_whole(simulator, storage, asset)
    assert nursery.start(order).assets == [asset]  # and from now on it is only handed out
    assert len(simulator.jobs) == 1


async def test_a_remix_killed_after_the_reply_is_adopted(nursery, simulator, storage):
    """A remix says less about itself than a video does; it is found by what it was made from."""
    original = await buy_video(connection(simulator), clip(), storage, terms())
    assert original.source is not None
    order = plan(simulator, storage, RemixRequest(video=original, prompt="a paper boat"))
    assert nursery.start({**order, "die": "after the reply"}).wait() == -signal.SIGKILL
    [asset] = nursery.start(order).assets
    assert [job.operation for job in simulator.jobs] == ["generate", "remix"]
    assert asset.source is not None
    assert asset.source.job_id == simulator.jobs[1].id
    assert asset.source.remixed_from == original.source.job_id
    assert asset.sha256 == hashlib.sha256(served(simulator, simulator.jobs[1].id)).hexdigest()


async def test_eight_processes_want_the_same(nursery, simulator, storage):
    """Eight processes at once: one pays, all get the same asset."""
    order = plan(simulator, storage, clip(), lease_seconds=10)
    buyers = [nursery.start(order) for _ in range(8)]
    assets = [asset for buyer in buyers for asset in buyer.assets]
    assert len(assets) == 8
    assert len({(asset.uri, asset.sha256) for asset in assets}) == 1
    await bought_once_and_whole(simulator, storage, (await purchases(storage))[0].assets[0])


async def test_eight_processes_and_the_one_that_pays_is_killed(nursery, simulator, storage):
    """The one that submits dies with its request in the air; the seven that wait take over and pay nothing."""
    buyers = []
    loop = asyncio.get_running_loop()
    born = asyncio.Event()

    def kill() -> None:
        asyncio.run_coroutine_threadsafe(born.wait(), loop).result()
        buyers[0].signal()

    fault = Fault("POST", "/videos$", "hold_reply", seconds=30, after_accept=kill)
    simulator.faults.append(fault)
    order = plan(simulator, storage, clip(), lease_seconds=1)
    buyers.append(nursery.start(order))
    born.set()
    assert await asyncio.to_thread(fault.wait, 20)
    buyers += [nursery.start(order) for _ in range(7)]
    assert await asyncio.to_thread(buyers[0].wait) == -signal.SIGKILL
    assets = [asset for buyer in buyers[1:] for asset in await asyncio.to_thread(lambda b=buyer: b.assets)]
    assert len({(asset.uri, asset.sha256) for asset in assets}) == 1
    await bought_once_and_whole(simulator, storage, (await purchases(storage))[0].assets[0])


async def test_eight_tasks_of_one_process_want_the_same(simulator, storage):
    """The same inside one event loop."""
    assets = await asyncio.gather(*(buy_video(connection(simulator), clip(), storage, terms()) for _ in range(8)))
    assert len({asset.sha256 for asset in assets}) == 1
    await bought_once_and_whole(simulator, storage, (await purchases(storage))[0].assets[0])


async def test_a_process_that_slept_through_its_lease_does_not_pay(nursery, simulator, storage):
    """A laptop closed right before paying: another process buys meanwhile, and the sleeper takes what is there."""
    order = plan(simulator, storage, clip())
    sleeper = nursery.start({**order, "die": "asleep with the lease"})
    assert sleeper.stopped.wait(20)
    [asset] = nursery.start(order).assets
    sleeper.signal(signal.SIGCONT)
    assert [other.sha256 for other in sleeper.assets] == [asset.sha256]
    await bought_once_and_whole(simulator, storage, (await purchases(storage))[0].assets[0])


@pytest.mark.parametrize("point", ["before the images", "after the images"])
async def test_images_of_a_killed_process_are_a_doubt_and_never_bought_again_unasked(
    point, nursery, simulator, storage
):
    """A provider can't be asked for images again: that is said, and only on_doubt="resubmit" goes on."""
    still = ImageRequest(prompt="a paper boat", model=MODEL, size="64x64")
    order = plan(simulator, storage, still)
    paid = 0 if point == "before the images" else 1
    assert nursery.start({**order, "die": point}).wait() == -signal.SIGKILL
    for _ in range(2):
        buyer = nursery.start(order)
        assert buyer.wait() == 3
        assert buyer.report()["error"] == "SubmissionInDoubt"
        assert 'on_doubt="resubmit"' in buyer.report()["message"]
        assert len(simulator.images) == paid

    [asset] = nursery.start({**order, "on_doubt": "resubmit"}).assets
    assert len(simulator.images) == paid + 1
    assert asset.sha256 == hashlib.sha256(await asset.aread_bytes()).hexdigest()
    assert nursery.start(order).assets == [asset]
    assert len(simulator.images) == paid + 1


@pytest.mark.parametrize(
    ("count", "point"),
    [(1, "after storing the images"), (3, "after storing the third image"), (1, "after the sidecars")],
)
async def test_images_that_were_all_stored_are_found_again(count, point, nursery, simulator, storage):
    """The process died before it could put them on record; nobody has to be asked, and nothing is bought."""
    order = plan(simulator, storage, ImageRequest(prompt="a paper boat", model=MODEL, size="64x64", n=count))
    assert nursery.start({**order, "die": point}).wait() == -signal.SIGKILL
    before = {key: size async for key, size in storage.list("media/") if not key.endswith(".json")}
    assets = nursery.start(order).assets
    assert len(simulator.images) == 1
    assert {storage.key_of(asset.uri): asset.size_bytes for asset in assets} == before
    for asset in assets:
        assert asset.sha256 == hashlib.sha256(await asset.aread_bytes()).hexdigest()
        assert (asset.width, asset.source.model) == (64, MODEL)
        assert Sidecar.model_validate_json(await storage.read(f"{storage.key_of(asset.uri)}.json")).asset == asset
    [record] = await purchases(storage)
    assert (record.state, record.assets) == ("done", tuple(assets))


async def test_images_that_were_stored_in_part_are_a_doubt(nursery, simulator, storage):
    order = plan(simulator, storage, ImageRequest(prompt="a paper boat", model=MODEL, size="64x64", n=3))
    assert nursery.start({**order, "die": "after storing the images"}).wait() == -signal.SIGKILL
    buyer = nursery.start(order)
    assert buyer.wait() == 3
    assert buyer.report()["error"] == "SubmissionInDoubt"
    assert len(simulator.images) == 1
