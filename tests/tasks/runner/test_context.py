"""The context in which submitted tasks run, and what Prefect's server has of them."""

import asyncio

import pytest
from plain_tasks import both, double, in_flow, read_task_run
from prefect import tags, task
from prefect.context import FlowRunContext, TaskRunContext
from prefect.logging import get_run_logger
from prefect.runtime import task_run

from prefect_media.runtime.sync import run_sync

pytestmark = pytest.mark.usefixtures("prefect")


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
    [run] = run_sync(read_task_run(parent_id))
    assert run.state.is_completed()
    assert {name: [one.id for one in inputs] for name, inputs in run.task_inputs.items()} == {
        "number": [upstream_id],
        "wait_for": [upstream_id],
    }
