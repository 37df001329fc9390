"""Submitted tasks that fail, are retried, take too long or crash."""

import asyncio

import pytest
from plain_tasks import both, double, fail, in_flow
from prefect import allow_failure, task
from prefect.exceptions import CrashedRun
from prefect.runtime import task_run
from prefect_media.tasks.retried import worth_retrying

from prefect_media.errors import RateLimited

pytestmark = pytest.mark.usefixtures("prefect")


@task
async def show(value):
    return repr(value)


@both
def test_failures(sync):
    def body():
        failed = fail.submit("broken")
        dependent, tolerant = double.submit(failed), show.submit(allow_failure(failed))
        with pytest.raises(ValueError, match="broken"):
            failed.result()
        dependent.wait()
        assert dependent.state.name == "NotReady"
        with pytest.raises(ValueError, match="broken"):
            fail.map(["broken", "broken"]).result()
        return isinstance(failed.result(raise_on_failure=False), ValueError), tolerant.result()

    assert in_flow(body, sync=sync) == (True, "ValueError('broken')")


@pytest.mark.parametrize("passes", [True, False])
def test_retries(passes):
    counts = []

    @task(retries=3, retry_delay_seconds=0.01, retry_condition_fn=worth_retrying)
    async def flaky():
        counts.append(task_run.run_count)
        if len(counts) < 3:
            raise RateLimited("slow down") if passes else ValueError("for good")
        return counts

    def body():
        return flaky.submit().result()

    if passes:
        assert in_flow(body, sync=True) == [1, 2, 3]
    else:
        with pytest.raises(ValueError, match="for good"):
            in_flow(body, sync=True)
        assert counts == [1]


def test_timeouts():
    @task(timeout_seconds=0.05)
    async def endless():
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        in_flow(lambda: endless.submit().result(), sync=True)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_task_that_wants_to_end_the_process_crashes_alone(error):
    @task
    async def leave():
        raise error

    def body():
        with pytest.raises(CrashedRun, match="aborted"):
            leave.submit().result()
        return double.submit(1).result()

    assert in_flow(body, sync=True) == 2
