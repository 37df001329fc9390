"""Tasks of one line, and a flow on the task runner to run them in."""

import asyncio
import threading

import pytest
from prefect import flow, get_client, task
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId

from prefect_media import MediaTaskRunner


@task
async def double(number):
    await asyncio.sleep(0)
    return 2 * number


@task
async def fail(message="no"):
    raise ValueError(message)


@task
def halve(number):
    return number / 2, threading.current_thread()


def in_flow(body, *, sync, **runner):
    """Run `body` in a flow on our runner. An async flow has a loop of its own."""
    if sync:
        return flow(body, task_runner=MediaTaskRunner(**runner))()

    async def abody():
        return body()

    return asyncio.run(flow(abody, task_runner=MediaTaskRunner(**runner))())


both = pytest.mark.parametrize("sync", [True, False], ids=["sync flow", "async flow"])


async def read_task_run(run_id):
    """The server hears of task runs by events, a moment later."""
    async with get_client() as client:
        for _ in range(200):
            runs = await client.read_task_runs(task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=[run_id])))
            if runs and runs[0].state and runs[0].state.is_final():
                break
            await asyncio.sleep(0.1)
        return runs


class Interrupted(BaseException):
    pass
