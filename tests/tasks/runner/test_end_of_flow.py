"""The end of a flow, and of a task runner: what has begun is waited for, the rest is cancelled."""

import asyncio
import threading

import cloudpickle
import pytest
from plain_tasks import Interrupted, both, double, in_flow
from prefect import task
from prefect.exceptions import CancelledRun, CrashedRun

from prefect_media import MediaTaskRunner

pytestmark = pytest.mark.usefixtures("prefect")


@both
def test_what_has_begun_is_waited_for_and_the_rest_is_cancelled(sync, caplog):
    ended, begun, left = [], threading.Event(), []

    @task
    async def slow():
        begun.set()
        for _ in range(2000):  # until the end of the flow has cancelled the other one
            if left and left[0].wrapped_future.done():
                break
            await asyncio.sleep(0.01)
        ended.append(1)

    def body():
        first = slow.submit()
        left.extend((slow.submit(wait_for=[first]), first))
        begun.wait(20)

    in_flow(body, sync=sync)
    assert ended == [1]
    late, first = left
    assert first.result() is None
    with pytest.raises(CancelledRun):
        late.result()
    assert "1 submitted tasks had not begun" in caplog.text


@both
def test_an_interrupted_flow_cancels_what_it_submitted(sync):
    said, begun, left = [], threading.Event(), []

    @task
    async def endless():
        try:
            begun.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)  # the time to put something on record
            said.append("cleaned up")
            raise

    def body():
        left.append(endless.submit())
        begun.wait(20)
        raise Interrupted

    with pytest.raises(Interrupted):
        in_flow(body, sync=sync)
    assert said == ["cleaned up"]
    assert left[0].state.is_crashed()
    with pytest.raises(CrashedRun, match="cancelled"):
        left[0].result()


def test_a_runner_by_itself():
    runner = MediaTaskRunner(max_concurrency=2)
    with pytest.raises(RuntimeError, match="not started"):
        runner.submit(double, {"number": 1})
    with runner:
        assert runner.submit(double, {"number": 1}).result() == 2
        assert runner.map(double, {"number": [1, 2]}).result() == [2, 4]
    with pytest.raises(RuntimeError, match="not started"):
        runner.submit(double, {"number": 1})


def test_a_runner_as_a_value():
    runner = MediaTaskRunner(max_concurrency=2)
    assert runner.duplicate() == runner != MediaTaskRunner()
    assert runner.duplicate() is not runner
    assert cloudpickle.loads(cloudpickle.dumps(runner)) == runner
    assert runner.name == "media"
    with pytest.raises(ValueError, match="max_concurrency=0 is not possible"):
        MediaTaskRunner(0)
