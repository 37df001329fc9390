"""How many submitted tasks run at once, tasks within tasks, and waits that would never end."""

import asyncio
import threading

import pytest
from plain_tasks import double, halve, in_flow
from prefect import flow, task
from prefect.futures import as_completed, wait

from prefect_media import MediaTaskRunner

pytestmark = pytest.mark.usefixtures("prefect")


def test_no_more_at_once_than_asked_for():
    now, most = 0, 0

    @task
    async def busy():
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    in_flow(lambda: [future.result() for future in [busy.submit() for _ in range(12)]], sync=True, max_concurrency=3)
    assert most == 3


def test_tasks_that_wait_for_tasks_they_submitted_need_no_second_slot():
    @task
    async def nested(depth):
        return depth if not depth else await nested.submit(depth - 1).aresult() + 1

    assert in_flow(lambda: nested.submit(4).result(), sync=True, max_concurrency=1) == 4


@pytest.mark.parametrize(
    "block",
    [
        lambda futures: futures[0].result(),
        lambda futures: futures[0].wait(),
        lambda futures: futures.result(),
        lambda futures: list(as_completed(futures)),
        lambda futures: wait(futures, timeout=5),
        lambda futures: wait(futures),
    ],
)
def test_waiting_on_the_loop_itself_is_refused(block):
    @task
    async def blocks():
        futures = double.map([1, 2])
        with pytest.raises(RuntimeError, match=r"await future\.aresult\(\)"):
            block(futures)
        results = await asyncio.gather(*(future.aresult() for future in futures))
        return results, futures.result(), futures[0].result()  # nothing to wait for any more

    assert in_flow(lambda: blocks.submit().result(), sync=True) == ([2, 4], [2, 4], 2)


def test_a_flow_within_a_task():
    """It runs on the loop, and so can't wait for it: what it has begun goes on."""
    begun, ended = asyncio.Event(), threading.Event()

    @task
    async def slow():
        begun.set()
        await asyncio.sleep(0.05)
        ended.set()

    @flow(task_runner=MediaTaskRunner())
    async def inner():
        slow.submit()
        await begun.wait()
        halve.submit(4)
        return await double.submit(4).aresult()

    @task
    async def outer():
        return await inner()

    assert in_flow(lambda: outer.submit().result(), sync=True) == 8
    assert ended.wait(20)
