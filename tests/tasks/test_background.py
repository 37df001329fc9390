"""Tasks in the background, ordered by `.delay`: each is a purchase of its own, made once however often it is run."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from background_tasks import NAME, REQUEST, twice
from prefect import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.states import AwaitingRetry

from prefect_media import MediaStore, generate_video
from prefect_media.cli.demo_servers import stop_process
from prefect_media.simulator import Simulator

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def start_worker(prefect_server, family, tmp_path):
    """Starts a task worker, which ends with the test at the latest."""
    workers = []

    def start():
        env = {**prefect_server.env, **family.env, "PYTHONPATH": str(SUPPORT)}
        command = [sys.executable, "-c", "import background_tasks; background_tasks.work()"]
        with (tmp_path / "worker.log").open("a") as log:
            workers.append(
                subprocess.Popen(command, env=env, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
            )
        return workers[-1]

    yield start
    for worker in workers:
        stop_process(worker)


def until(condition):
    deadline = time.monotonic() + 180
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert condition()


def is_completed(client, task_run_id):
    state = client.read_task_run(task_run_id).state  # none for a moment, while the server replaces one by the next
    return state is not None and state.is_completed()


def test_a_worker_that_is_killed_buys_nothing_twice(prefect_server, start_worker, tmp_path):
    settings = {
        PREFECT_API_URL: prefect_server.api_url,
        PREFECT_LOCAL_STORAGE_PATH: prefect_server.home / "storage",  # where the worker looks for parameters
    }
    with Simulator(latency=600) as simulator, temporary_settings(settings), get_client(sync_client=True) as client:
        simulator.credentials.save(NAME, overwrite=True)
        MediaStore(url=str(tmp_path / "store")).save(NAME, overwrite=True)
        ordered = [generate_video.delay(NAME, REQUEST, store=NAME) for _ in range(2)] + [twice.delay()]
        states = [client.read_task_run(future.task_run_id).state for future in ordered]
        worker = start_worker()
        until(lambda: len(simulator.jobs) == 3)
        worker.kill()
        worker.wait()

        for future, state in zip(ordered, states, strict=True):
            details = {"deferred": True, "task_parameters_id": state.state_details.task_parameters_id}
            again = AwaitingRetry()
            again.state_details = again.state_details.model_copy(update=details)
            client.set_task_run_state(future.task_run_id, again, force=True)
        for job in simulator.jobs:
            job.latency = 0
        simulator.latency = 0
        start_worker()
        until(lambda: all(is_completed(client, future.task_run_id) for future in ordered))
        assert len(simulator.jobs) == 3, (
            "two for the two orders of one request, one for the task that asks for it twice"
        )
