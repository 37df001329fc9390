"""The task runner in Prefect's real engine: one loop for all that is submitted, and all that futures promise."""

import asyncio
import threading
import time
from uuid import UUID

import cloudpickle
import pytest
from prefect import allow_failure, flow, get_client, tags, task, unmapped
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import CancelledRun, CrashedRun
from prefect.futures import as_completed, wait
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect_media.tasks.retried import worth_retrying

from prefect_media import (
    ImageRequest,
    MediaTaskRunner,
    VideoRequest,
    agenerate_images,
    agenerate_video,
    generate_images,
    generate_video,
)
from prefect_media.errors import ContentRejected, RateLimited
from prefect_media.runtime import per_loop
from prefect_media.runtime.sync import background_loop, run_sync
from prefect_media.simulator import Fault

pytestmark = pytest.mark.usefixtures("prefect")

STILL = ImageRequest(prompt="a paper boat", model="gpt-image-2", size="1024x1024")
MOTION = VideoRequest(prompt="it sails", model="sora-2", seconds=4, size="1280x720")


@task
async def double(number):
    await asyncio.sleep(0)
    return 2 * number


@task
async def where():
    return asyncio.get_running_loop()


@task
async def fail(message="no"):
    raise ValueError(message)


@task
async def show(value):
    return repr(value)


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


# Results.


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


# Failures, retries, dependencies.


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


# Context.


@both
def test_the_context_of_the_flow_and_of_the_task(sync, caplog):
    @task
    async def context():
        get_run_logger().info("from within %s", task_run.name)
        await asyncio.sleep(0)
        return FlowRunContext.get().flow_run.id, TaskRunContext.get().task_run

    def body():
        with tags("gallery"):
            future = context.submit()
        flow_run_id, run = future.result()
        assert run.id == future.task_run_id
        assert run.flow_run_id == flow_run_id == FlowRunContext.get().flow_run.id
        assert context.submit().result()[1].tags == []
        return run

    run = in_flow(body, sync=sync)
    assert run.tags == ["gallery"]
    assert run.name.startswith("context-")
    assert f"from within {run.name}" in caplog.text


def test_inputs_and_parents_are_on_record_at_the_server():
    @task
    async def child(number):
        return number

    @task
    async def parent(number):
        return str(task_run.id), await child.submit(number).aresult()

    def body():
        upstream = double.submit(1)
        future = parent.submit(upstream, wait_for=[upstream])
        return upstream.task_run_id, future.task_run_id, *future.result()

    upstream_id, parent_id, said_id, result = in_flow(body, sync=True)
    assert (str(parent_id), result) == (said_id, 2)
    [run] = run_sync(_recorded(parent_id))
    assert run.state.is_completed()
    assert {name: [one.id for one in inputs] for name, inputs in run.task_inputs.items()} == {
        "number": [upstream_id],
        "wait_for": [upstream_id],
    }


async def _recorded(run_id):
    """The server hears of task runs by events, a moment later."""
    async with get_client() as client:
        for _ in range(200):
            runs = await client.read_task_runs(task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=[run_id])))
            if runs and runs[0].state and runs[0].state.is_final():
                break
            await asyncio.sleep(0.1)
        return runs


# Bounds, nesting, and what would wait for itself.


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


# The end of a flow.


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


class Interrupted(BaseException):
    pass


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


# Our own tasks.


@pytest.mark.parametrize("twin", [agenerate_images, generate_images], ids=["async", "sync twin"])
@both
def test_fifty_submitted_tasks_share_one_client_and_its_connections(sync, twin, media_simulator, tmp_path):
    requests = [STILL.model_copy(update={"variant": number}) for number in range(50)]
    threads = set()

    def body():
        futures = [twin.submit(media_simulator.credentials, one, store=str(tmp_path)) for one in requests]
        threads.update(thread.name for thread in threading.enumerate())
        return [asset for future in futures for asset in future.result()]

    before = threading.active_count()
    assets = in_flow(body, sync=sync)
    assert len({asset.uri for asset in assets}) == 50
    assert len(media_simulator.images) == 50
    connection = media_simulator.credentials.connection()
    loops = [loop for loop, things in per_loop._by_loop.items() if ("wire", connection) in things]
    assert loops == [background_loop()]
    assert len(threads) < before + 20, "no thread for each"


def test_sync_twins_and_direct_calls_and_submitted_tasks_share_what_they_use(media_simulator, tmp_path):
    here = {"store": str(tmp_path)}

    def body():
        future = agenerate_video.submit(media_simulator.credentials, MOTION, **here)
        twin = generate_video.submit(media_simulator.credentials, MOTION.model_copy(update={"variant": 1}), **here)
        direct = generate_video(media_simulator.credentials, MOTION.model_copy(update={"variant": 2}), **here)
        return [future.result(), twin.result(), direct]

    videos = in_flow(body, sync=True)
    assert {video.kind for video in videos} == {"video"}
    assert len(media_simulator.jobs) == 3
    connection = media_simulator.credentials.connection()
    assert [loop for loop, things in per_loop._by_loop.items() if ("wire", connection) in things] == [background_loop()]


def test_a_twin_keeps_its_options_when_it_runs_as_its_original(media_simulator, tmp_path):
    busy = Fault("POST", "/images", "answer", times=2, status=429, body={"error": {"message": "slow down"}})
    media_simulator.faults.append(busy)
    hurried = generate_images.with_options(retry_delay_seconds=0.01, task_run_name="hurried", tags=["x"])

    def body():
        future = hurried.submit(media_simulator.credentials, STILL, store=str(tmp_path))
        return future.result(), future.task_run_id

    [_], run_id = in_flow(body, sync=True)
    assert busy.hits == 2
    [run] = run_sync(_recorded(run_id))
    assert run.name == "hurried"
    assert run.tags == ["x"]
    assert run.run_count == 3
    assert not asyncio.iscoroutinefunction(generate_images.fn), "the twin itself is as it was"
    assert not generate_images.isasync


def test_errors_come_out_of_a_twin_as_they_are(media_simulator, tmp_path):
    forbidden = STILL.model_copy(update={"prompt": "forbidden"})
    with pytest.raises(ContentRejected):
        in_flow(
            lambda: generate_images.submit(media_simulator.credentials, forbidden, store=str(tmp_path)).result(),
            sync=True,
        )


def test_a_job_of_an_interrupted_flow_is_resumed_by_the_next(media_simulator, tmp_path):
    media_simulator.latency = 60

    def body():
        future = generate_video.submit(media_simulator.credentials, MOTION, store=str(tmp_path), scope="forever")
        deadline = time.monotonic() + 20
        while not media_simulator.jobs and time.monotonic() < deadline:
            time.sleep(0.01)
        raise Interrupted(future)

    with pytest.raises(Interrupted):
        in_flow(body, sync=True)
    media_simulator.jobs[0].latency = 0
    again = in_flow(
        lambda: generate_video.submit(
            media_simulator.credentials, MOTION, store=str(tmp_path), scope="forever"
        ).result(),
        sync=True,
    )
    assert len(media_simulator.jobs) == 1
    assert again.source.job_id == media_simulator.jobs[0].id
