"""Many generations in one call that breaks off, is cancelled or is left early: nothing that was begun is lost."""

import asyncio
import contextlib
import time
from collections import Counter

import pytest
from many_requests import in_flow, motion, still, until
from prefect import flow

from prefect_media import agather, gather
from prefect_media.errors import ContentRejected, JobFailed
from prefect_media.runtime.sync import background_loop, run_sync

pytestmark = pytest.mark.usefixtures("prefect")


@pytest.mark.parametrize("leave", ["break", "raise"])
def test_a_shared_task_run_is_left_early(leave, media_simulator, tmp_path):
    async def body():
        on_error = "raise" if leave == "raise" else "collect"
        requests = [motion(0, "explode"), *(motion(number) for number in range(1, 9))]
        gathering = agather(
            media_simulator.credentials, requests, store=str(tmp_path), per_task_run=4, on_error=on_error
        )
        async with contextlib.aclosing(gathering):
            async for _ in gathering:
                if leave == "break":
                    break

    async def within():
        async with asyncio.timeout(120):
            await body()

    with pytest.raises(JobFailed) if leave == "raise" else contextlib.nullcontext():
        in_flow(within)


def test_raise_ends_it_and_loses_no_picture(media_simulator, tmp_path):
    """Videos stay on record, and images that are under way are let in: they can't be had again for nothing."""
    media_simulator.latency = 60
    taken = []

    def requests():
        for request in (motion(0), still(1), motion(2, "forbidden"), still(3), motion(4), *map(still, range(5, 50))):
            taken.append(request)
            yield request

    async def body():
        generations = agather(
            media_simulator.credentials, requests(), store=str(tmp_path), on_error="raise", concurrency=3
        )
        return [made async for made in generations]

    async def fail_the_one():
        await until(lambda: any(job.failure for job in media_simulator.jobs))
        [failing] = [job for job in media_simulator.jobs if job.failure]
        failing.latency = 0

    async def both():
        return await asyncio.gather(flow(body)(), fail_the_one())

    with pytest.raises(ContentRejected):
        asyncio.run(both())
    assert len(taken) < 50
    states = run_sync(_records(tmp_path))
    assert states["image", "done"] == len(media_simulator.images)
    assert states["image", "in_doubt"] == 0
    assert states["video", "submitted"] + states["video", "in_doubt"] >= 1


async def _records(folder):
    from prefect_media.ledger.ledger import Ledger
    from prefect_media.storage.store import storage_at

    return Counter([(record.kind, record.state) async for record in Ledger(storage_at(str(folder))).purchases()])


@pytest.mark.parametrize("ordered", [True, False])
def test_requests_that_break_off_lose_nothing_of_what_was_begun(ordered, media_simulator, tmp_path):
    def requests():
        yield motion(0)
        yield still(1)
        raise OSError("the list of shots is gone")

    landed = []

    async def body():
        async for made in agather(media_simulator.credentials, requests(), store=str(tmp_path), ordered=ordered):
            landed.append(made.asset.kind)

    with pytest.raises(OSError, match="the list of shots is gone"):
        in_flow(body)
    assert sorted(landed) == ["image", "video"]


def test_cancelled_it_leaves_the_jobs_on_record_and_the_next_run_resumes_them(media_simulator, tmp_path):
    media_simulator.latency = 60
    requests = [motion(number) for number in range(4)]

    async def body(**options):
        return [
            made
            async for made in agather(
                media_simulator.credentials, requests, store=str(tmp_path), scope="film", **options
            )
        ]

    async def cancelled():
        running = asyncio.create_task(flow(body)())
        await until(lambda: len(media_simulator.jobs) == 4)
        await asyncio.sleep(0.2)  # until they are on record
        assert await _left() != []
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return await _left()

    assert asyncio.run(cancelled()) == []
    for job in media_simulator.jobs:
        job.latency = 0
    made = in_flow(body)
    assert len(media_simulator.jobs) == 4
    assert {one.asset.source.job_id for one in made} == {job.id for job in media_simulator.jobs}


def test_left_early_it_cancels_the_rest(media_simulator, tmp_path):
    media_simulator.latency = 60
    requests = [still(0), *(motion(number) for number in range(1, 4))]

    def body():
        for made in gather(
            media_simulator.credentials, requests, store=str(tmp_path), scope="film", cancel_remote=True
        ):
            while len(media_simulator.jobs) < 3:
                time.sleep(0.01)
            time.sleep(0.3)
            return made

    assert flow(body)().asset.kind == "image"
    assert [job.deleted or job.status for job in media_simulator.jobs].count("completed") == 0
    deadline = time.monotonic() + 20
    while left := asyncio.run_coroutine_threadsafe(_left(), background_loop()).result(20):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


async def _left():
    """What `gather` has under way on this loop."""
    return [task for task in asyncio.all_tasks() if "Gathering." in repr(task)]
