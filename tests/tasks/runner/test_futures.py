"""What is submitted to the task runner, in Prefect's real engine: its futures, results and states."""

import asyncio
import threading
import time
from uuid import UUID

import pytest
from plain_tasks import both, double, fail, halve, in_flow
from prefect import flow, task, unmapped
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import CrashedRun
from prefect.futures import as_completed, wait

from prefect_media import MediaTaskRunner
from prefect_media.runtime.sync import background_loop

pytestmark = pytest.mark.usefixtures("prefect")


@task
async def where():
    return asyncio.get_running_loop()


@both
def test_results_in_order_all_made_on_one_loop(sync):
    def body():
        loops = [where.submit() for _ in range(5)]
        return double.map(range(20)).result(), double.submit(21).result(timeout=20), [loop.result() for loop in loops]

    doubled, more, loops = in_flow(body, sync=sync)
    assert doubled == [2 * number for number in range(20)]
    assert more == 42
    assert set(loops) == {background_loop()}


@both
def test_sync_tasks_run_in_threads(sync):
    half, thread = in_flow(lambda: halve.submit(5).result(), sync=sync)
    assert half == 2.5
    assert thread not in (threading.main_thread(), threading.current_thread())
    assert thread.name != "prefect-media"


@both
def test_futures_among_the_inputs_are_resolved(sync):
    """In whatever they are nested, and between async tasks and sync ones."""

    @task
    async def total(numbers, *, more):
        return sum(numbers["a"]) + more

    @task
    def negative(number):
        return -number

    def body():
        first, second = double.submit(1), negative.submit(double.submit(2))
        chained = double.submit(double.submit(double.submit(5)))
        return total.submit({"a": [first, second, chained]}, more=negative.submit(1)).result()

    assert in_flow(body, sync=sync) == 2 - 4 + 40 - 1


@both
def test_a_sync_task_takes_the_future_of_an_async_one_that_runs(sync):
    """Prefect asks the future for its state then, and links the two task runs by what the state says."""
    begun, go_on = threading.Event(), threading.Event()

    @task
    async def patient():
        begun.set()
        await asyncio.to_thread(go_on.wait, 20)
        return 5

    @task
    def half(number):
        return number / 2, TaskRunContext.get().task_run.task_inputs["number"]

    def body():
        upstream = patient.submit()
        assert begun.wait(20)
        running = upstream.state
        downstream = half.submit(upstream)
        time.sleep(0.1)  # its thread has begun, and waits for the number
        go_on.set()
        result, inputs = downstream.result()
        return (
            result,
            running.is_running(),
            {
                running.state_details.task_run_id,
                upstream.state.state_details.task_run_id,
                *(one.id for one in inputs),
            }
            == {upstream.task_run_id},
        )

    assert in_flow(body, sync=sync) == (2.5, True, True)


def test_waiting_for_others_blocks_nobody():
    """A chain submitted backwards, through one slot: whoever waits for an input holds none."""
    order = []

    @task
    async def step(name, _=None):
        order.append(name)
        return name

    def body():
        gate = halve.submit(1)
        late = step.submit("late", wait_for=[step.submit("middle", gate)])
        early = step.submit("early")
        return [future.result() for future in (late, early)]

    assert in_flow(body, sync=True, max_concurrency=1) == ["late", "early"]
    assert order.index("middle") < order.index("late")


def test_mapping_with_all_that_belongs_to_it():
    @task
    async def add(one, other, *, more=0):
        return one + other + more

    def body():
        ones = double.map([1, 2, 3])
        return add.map(ones, unmapped(10), more=[100, 200, 300]).result()

    assert in_flow(body, sync=False) == [112, 214, 316]


@both
def test_as_completed_and_wait(sync):
    @task
    async def after(seconds):
        await asyncio.sleep(seconds)
        return seconds

    def body():
        slow, quick = after.submit(0.3), after.submit(0)
        order = [future.result() for future in as_completed([slow, quick])]
        endless = after.submit(60)
        done, not_done = wait([slow, quick, endless], timeout=0.01)
        with pytest.raises(TimeoutError, match="did not complete within"):
            endless.result(timeout=0.01)
        endless.wait(timeout=0.01)
        assert not endless.state.is_final()
        FlowRunContext.get().task_runner.cancel_all()
        with pytest.raises(CrashedRun):
            endless.result()
        return order, len(done), len(not_done)

    assert in_flow(body, sync=sync) == ([0, 0.3], 2, 1)


def test_states_and_callbacks():
    called, go_on = threading.Event(), threading.Event()

    @task
    async def patient():
        await asyncio.to_thread(go_on.wait, 20)

    def body():
        future = patient.submit()
        late = double.submit(1, wait_for=[future])
        states = [late.state.is_pending()]
        future.add_done_callback(lambda ended: called.set() if ended is future else None)
        while not future.state.is_running():
            time.sleep(0.001)
        states += [late.state.is_pending(), called.is_set()]
        go_on.set()
        late.wait()
        states += [late.state.is_completed(), future.state.is_completed(), called.is_set()]
        called.clear()
        future.add_done_callback(lambda _: called.set())  # after the end it is called at once
        return [*states, called.is_set(), isinstance(future.task_run_id, UUID)]

    assert in_flow(body, sync=True) == [True, True, False, True, True, True, True, True]


def test_return_state():
    assert in_flow(lambda: double.submit(1, return_state=True).is_completed(), sync=True)
    assert in_flow(lambda: fail.submit(return_state=True).is_failed(), sync=True)


async def test_awaited_in_an_async_flow_nothing_blocks():
    @flow(task_runner=MediaTaskRunner())
    async def body():
        with pytest.raises(TimeoutError):
            await waits.submit().aresult(timeout=0.01)
        with pytest.raises(ValueError, match="no"):
            await fail.submit().aresult()
        error = await fail.submit().aresult(raise_on_failure=False)
        results = await asyncio.gather(*(double.submit(number).aresult() for number in range(5)))
        return results, str(error)

    @task
    async def waits():
        await asyncio.sleep(0.2)

    assert await body() == ([0, 2, 4, 6, 8], "no")
