"""What was paid for survives a moment without the store, a cancellation and a guess; what was not sent is no doubt."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from buyer import MODEL, clip, connection, terms
from faulty_server import FaultyBuckets
from prefect_media.tasks.cancellation import cancel_jobs_of

from prefect_media.errors import InvalidRequest, JobFailed, StoreError, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.video_steps import cancel, submit
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.runtime.per_loop import shared
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import Storage, storage_at

SUBMIT, LIST = ("POST", "/videos$"), ("GET", "/videos$")
STILL = ImageRequest(prompt="a paper boat", model=MODEL, size="64x64")
RUN = "4b6f8a52-0000-4000-8000-000000000001"


@pytest.fixture
def simulator():
    with Simulator(latency=0.05) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def short_leases(short_pauses, configure):
    configure(lease_seconds=1)


async def states(storage):
    return sorted([record.state async for record in Ledger(storage).purchases()])


async def buy(kind, simulator, storage, **more):
    if kind == "image":
        return (await buy_images(connection(simulator), STILL, storage, terms(**more)))[0]
    return await buy_video(connection(simulator), clip(), storage, terms(**more))


class Flaky(Storage):
    """A folder whose `verb` fails as often as `failures` says."""

    verb, failures, then = "replace", 0, False

    def __init__(self, url):
        super().__init__(url)
        self.began = asyncio.Event()

    async def replace(self, key, data, version):
        return await self._perhaps("replace", super().replace(key, data, version))

    async def create(self, key, data):
        return await self._perhaps("create", super().create(key, data))

    async def _perhaps(self, verb, doing):
        if verb == self.verb:
            self.began.set()
        if verb != self.verb or not self.failures:
            return await doing
        self.failures -= 1
        if self.then:
            await doing
        else:
            doing.close()
        raise StoreError("the store is away")


# ---------------------------------------------------------------- the store


@pytest.mark.parametrize("kind", ["video", "image"])
async def test_what_was_bought_gets_on_record_when_one_request_to_the_bucket_is_lost(kind, s3):
    """One reset connection at the wrong moment: the job's id, or the images, are not thrown away over it."""
    buckets = FaultyBuckets(s3)
    storage, hits = buckets.storage(), []

    def once(asked):
        paid = simulator.jobs or simulator.images
        if paid and asked.method == "PUT" and "/purchases/" in asked.path and not hits:
            hits.append(asked)
            return ("reset",)
        return None

    buckets.fault = once
    with Simulator(latency=0.05, can_list=False) as simulator:
        asset = await buy(kind, simulator, storage)
        assert len(hits) == 1
        assert await buy(kind, simulator, storage) == asset
        assert len(simulator.jobs) + len(simulator.images) == 1
    buckets.close()


@pytest.mark.parametrize("kind", ["video", "image"])
@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_claim_that_arrived_and_whose_reply_was_lost_is_no_doubt(kind, cancelled, tmp_path):
    """Nothing was sent under it, so the next attempt may simply buy."""
    storage = Flaky(str(tmp_path))
    storage.verb, storage.failures, storage.then = "create", 1, True
    with Simulator(latency=0.05, can_list=False) as simulator:
        if cancelled:
            storage.failures = 0
            buying = asyncio.create_task(buy(kind, simulator, storage))
            await storage.began.wait()
            buying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await buying
        else:
            with pytest.raises(StoreError):
                await buy(kind, simulator, storage)
        await buy(kind, simulator, storage)
        assert len(simulator.jobs) + len(simulator.images) == 1


# ---------------------------------------------------------------- cancellation


@pytest.mark.parametrize("kind", ["video", "image"])
async def test_cancelled_while_it_gets_on_record_it_is_on_record(kind, store, monkeypatch):
    """The answer is here and is being written down: that is finished first."""
    storage, writing = store.storage(), asyncio.Event()
    replace = storage.replace

    async def slow(key, data, version):
        writing.set()
        await asyncio.sleep(0.2)
        return await replace(key, data, version)

    with Simulator(latency=0.05, can_list=False) as simulator:
        monkeypatch.setattr(storage, "replace", slow)
        buying = asyncio.create_task(buy(kind, simulator, storage))
        await writing.wait()
        buying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await buying
        monkeypatch.undo()
        await buy(kind, simulator, storage)
        assert len(simulator.jobs) + len(simulator.images) == 1


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_reply_that_is_about_to_come_is_let_in(how, store):
    """Cancelled with the request in the air, at a server without a list: its job's id is waited for, and resumed."""
    storage = store.storage()
    with Simulator(latency=0.05, can_list=False) as simulator:
        fault = Fault(*SUBMIT, "hold_reply", seconds=1)
        simulator.faults.append(fault)
        if how == "cancel":
            buying = asyncio.create_task(buy("video", simulator, storage))
            assert await asyncio.to_thread(fault.wait, 10)
            buying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await buying
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.7):
                    await buy("video", simulator, storage)
        assert await states(storage) == ["submitted"]
        assert (await buy("video", simulator, storage)).source.job_id == simulator.jobs[0].id
        assert len(simulator.jobs) == 1


async def test_images_that_are_being_stored_are_let_in(store, monkeypatch):
    """Cancelled with the picture in memory: it is stored and put on record first."""
    storage, storing = store.storage(), asyncio.Event()
    put = storage.put

    async def slow(*args, **kwargs):
        storing.set()
        await asyncio.sleep(0.3)
        return await put(*args, **kwargs)

    with Simulator() as simulator:
        monkeypatch.setattr(storage, "put", slow)
        buying = asyncio.create_task(buy("image", simulator, storage))
        await storing.wait()
        buying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await buying
        monkeypatch.setattr(storage, "put", put)
        assert await states(storage) == ["done"]
        assert await (await buy("image", simulator, storage)).aread_bytes()
        assert len(simulator.images) == 1


async def test_cancelled_images_are_in_doubt_only_where_they_were_sent(store):
    """A cancelled flow: those that still waited for their turn are bought by the next run without a question."""
    storage = store.storage()
    with Simulator(image_latency=5) as simulator:
        line = connection(simulator, max_concurrency=2)
        stills = [STILL.model_copy(update={"variant": number}) for number in range(6)]
        buying = [asyncio.create_task(buy_images(line, still, storage, terms())) for still in stills]
        async with asyncio.timeout(20):
            while len(simulator.images) < 2 or len(await states(storage)) < 6:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for each in buying:
            each.cancel()
        await asyncio.gather(*buying, return_exceptions=True)
        assert await states(storage) == ["in_doubt"] * 2 + ["intent"] * 4


async def test_a_doubt_outlives_a_resubmission_that_was_cancelled_before_it_was_sent(simulator, store):
    storage = store.storage()
    simulator.faults.append(Fault("POST", "/images", "lose_reply"))
    with pytest.raises(SubmissionInDoubt):
        await buy("image", simulator, storage)
    line = connection(simulator, max_concurrency=1)
    simulator.faults.append(Fault("POST", "/images", "hold_reply", seconds=1))
    other = asyncio.create_task(buy_images(line, STILL.model_copy(update={"variant": 1}), storage, terms()))
    await asyncio.sleep(0.3)
    again = asyncio.create_task(buy_images(line, STILL, storage, terms(on_doubt="resubmit")))
    await asyncio.sleep(0.3)
    again.cancel()
    with suppress(asyncio.CancelledError):
        await again
    with pytest.raises(SubmissionInDoubt):
        await buy("image", simulator, storage)
    await other


async def test_a_doubt_outlives_a_resubmission_that_was_cancelled_while_it_had_to_wait(simulator, store):
    """The doubt is of the same call: its first reply was lost, its second request was told to come back later."""
    storage = store.storage()
    later = Fault("POST", "/videos$", "answer", status=429, headers={"Retry-After": "30"})
    no_list = Fault("GET", r"/videos(\?|$)", "answer", times=None, status=404)
    simulator.faults.extend([no_list, Fault("POST", "/videos$", "lose_reply"), later])
    buying = asyncio.create_task(buy("video", simulator, storage, on_doubt="resubmit"))
    assert await asyncio.to_thread(later.wait, 30)
    await asyncio.sleep(0.3)
    buying.cancel()
    with suppress(asyncio.CancelledError):
        await buying
    with pytest.raises(SubmissionInDoubt):
        await buy("video", simulator, storage)
    assert len(simulator.jobs) == 1


# ---------------------------------------------------------------- leases and doubts


async def test_a_lease_that_was_lost_while_it_waited_for_its_turn_is_noticed(simulator, tmp_path):
    """All the connection's turns are taken, the store is away for longer than the lease, and another machine buys."""
    line, ours = connection(simulator, max_concurrency=1), Flaky(str(tmp_path))
    hold = Fault(*SUBMIT, "hold_reply", seconds=4)
    simulator.faults.append(hold)
    first = asyncio.create_task(buy_video(line, clip("another"), storage_at(str(tmp_path)), terms()))
    assert await asyncio.to_thread(hold.wait, 10)
    waiting = asyncio.create_task(buy_video(line, clip(), ours, terms()))
    await asyncio.sleep(0.2)
    ours.failures = 100
    asset = await buy_video(connection(simulator, api_key="sk-elsewhere"), clip(), storage_at(str(tmp_path)), terms())
    ours.failures = 0
    assert (await waiting).sha256 == asset.sha256
    await first
    assert [job.prompt for job in simulator.jobs] == ["another", "a paper boat"]


async def test_a_server_that_loses_every_reply_is_paid_on_a_guess_only_once(store):
    """on_doubt="resubmit" may pay twice. Not ten times, and it does not say that nothing was bought."""
    with Simulator(can_list=False) as simulator:
        simulator.faults.append(Fault(*SUBMIT, "answer_after", times=None, status=504, body=""))
        with pytest.raises(SubmissionInDoubt) as caught:
            await buy("video", simulator, store.storage(), on_doubt="resubmit")
        assert not caught.value.transient
        assert len(simulator.jobs) == 2
        assert await states(store.storage()) == ["in_doubt"]


async def test_a_provider_whose_clock_is_behind_is_understood(simulator, store):
    """Its jobs seem to be older than the purchase; its answers say what time it thinks it is."""
    behind = timedelta(minutes=5)

    def taken():
        job = simulator.jobs[0]
        job.created -= behind.total_seconds()
        simulator.faults.append(
            Fault(
                *LIST,
                "answer",
                status=200,
                headers={"Date": format_datetime(datetime.now(UTC) - behind, usegmt=True)},
                body={"object": "list", "data": [job.resource()], "has_more": False},
            )
        )

    simulator.faults.append(Fault(*SUBMIT, "lose_reply", after_accept=taken))
    asset = await buy("video", simulator, store.storage())
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]


async def test_a_living_lease_of_a_machine_whose_clock_is_behind_is_waited_for(simulator, tmp_path):
    """Five minutes behind: by our clock its lease is long over, but it is alive, and its request is in the air."""
    storage = storage_at(str(tmp_path))
    slow = Fault(*SUBMIT, "hold", seconds=0.6)
    simulator.faults.append(slow)
    theirs = asyncio.create_task(buy("video", simulator, storage))
    assert await asyncio.to_thread(slow.wait, 10)
    ledger = Ledger(storage)
    [record] = [record async for record in ledger.purchases()]
    found = await storage.fetch(f"ledger/purchases/{record.key}.json")
    behind = record.lease.model_copy(update={"until": record.lease.until - timedelta(minutes=5)})
    text = record.model_copy(update={"lease": behind}).model_dump_json().encode()
    assert await storage.replace(f"ledger/purchases/{record.key}.json", text, found.version)
    assets = await asyncio.gather(theirs, buy("video", simulator, storage))
    assert len({asset.uri for asset in assets}) == 1
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize("told", ["a paper boat\n", " a  paper boat", "a paper\r\nboat"])
async def test_a_server_that_trims_prompts_is_understood(told, simulator, store):
    """The job of a lost reply is listed with the same words, and other blanks between them."""

    def taken():
        simulator.jobs[0].prompt = "a paper boat"

    simulator.faults.append(Fault(*SUBMIT, "lose_reply", after_accept=taken))
    await buy_video(connection(simulator), clip(told), store.storage(), terms())
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize("data", [5, {"a": 1}, "x", [1, None, "x"], None])
async def test_a_list_that_makes_no_sense_fails_no_wait(data, simulator, store):
    """Nothing that a server answers is a TypeError for those who wait for paid jobs."""
    simulator.latency = 0.5
    simulator.faults.append(Fault(*LIST, "answer", times=None, status=200, body={"data": data}))
    storage = store.storage()
    await asyncio.gather(*(buy_video(connection(simulator), clip(f"{n}"), storage, terms()) for n in range(3)))


# ---------------------------------------------------------------- ending jobs


async def test_a_finished_video_is_not_deleted_when_its_task_is_cancelled(simulator, store):
    """cancel_remote ends jobs; one that is finished and on its way to the store is paid for."""
    storage = store.storage()
    content = Fault("GET", "/content$", "drip", seconds=0.05, nbytes=500)
    simulator.faults.append(content)
    buying = asyncio.create_task(buy("video", simulator, storage, cancel_remote=True))
    assert await asyncio.to_thread(content.wait, 10)
    buying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await buying
    assert not simulator.jobs[0].deleted
    assert (await buy("video", simulator, storage)).source.job_id == simulator.jobs[0].id


async def test_a_job_whose_answer_comes_after_the_cancellation_is_ended(store):
    """cancel_remote ends it as it ends those that are waited for; it is on record, and a new try is a new purchase."""
    storage = store.storage()
    with Simulator(latency=60, can_cancel=True) as simulator:
        fault = Fault(*SUBMIT, "hold_reply", seconds=1)
        simulator.faults.append(fault)
        buying = asyncio.create_task(buy("video", simulator, storage, cancel_remote=True))
        assert await asyncio.to_thread(fault.wait, 10)
        buying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await buying
        [job] = simulator.jobs
        assert job.deleted
        assert await states(storage) == ["failed"]
        with pytest.raises(JobFailed, match=f"job {job.id} was cancelled"):
            await buy("video", simulator, storage)


async def test_the_hook_leaves_finished_videos_alone(simulator, store):
    storage = store.storage()
    job = await submit(connection(simulator), clip(), storage, terms(flow_run_id=RUN))
    await asyncio.sleep(0.1)
    assert await cancel_jobs_of(RUN, simulator.credentials, store) == []
    with pytest.raises(InvalidRequest, match="finished"):
        await cancel(connection(simulator), job, storage)
    assert not simulator.jobs[0].deleted
    await buy("video", simulator, storage)
    assert len(simulator.jobs) == 1


async def test_a_job_that_can_not_be_ended_does_not_swallow_the_cancellation(store):
    """The server refuses: the job goes on, and whoever cancelled sees a cancelled task."""
    with Simulator(latency=60) as simulator:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await buy("video", simulator, store.storage(), cancel_remote=True)
        assert await states(store.storage()) == ["submitted"]


# ---------------------------------------------------------------- what a bucket says while a film is measured


async def test_a_bucket_that_fails_while_a_film_is_measured_is_an_error_that_passes(simulator, s3, monkeypatch):
    """The index of a film may lie at its end, and is read from the store; that may be tried again as all else."""
    monkeypatch.setattr("prefect_media.purchases.store_video.indexed_facts", lambda head: None)
    buckets = FaultyBuckets(s3)
    storage = buckets.storage()
    buckets.fault = lambda asked: (503, "SlowDown") if asked.method == "GET" and "/media/" in asked.path else None
    with pytest.raises(StoreError) as caught:
        await buy("video", simulator, storage)
    assert caught.value.transient
    buckets.fault = lambda asked: None
    await buy("video", simulator, storage)
    assert len(simulator.jobs) == 1
    buckets.close()


def test_making_one_shared_thing_may_ask_for_another():
    """As it does on a loop with eager tasks, which run when they are made (Python 3.12 and later)."""
    found = []

    async def main():
        found.append(shared("outer", lambda: shared("inner", lambda: "both")))

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    thread.join(20)
    assert found == ["both"]
