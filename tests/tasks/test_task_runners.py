"""Our tasks on each of Prefect's task runners, whose workers are threads, processes, or other machines.

`make test-runners` installs Dask and Ray as well, and writes the table of docs/scaling.md.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_api import Prefect
from prefect_media.blocks import MediaStore
from prefect_media.tasks.cancellation import cancel_jobs_of

from prefect_media.simulator import Simulator

SCRIPT = Path(__file__).parents[1] / "support/runner_checks.py"
NEEDS = {"DaskTaskRunner": "prefect_dask", "RayTaskRunner": "prefect_ray"}
RUNNERS = ["ThreadPoolTaskRunner", "ProcessPoolTaskRunner", "MediaTaskRunner", *NEEDS]
MANY = 40

GRACE = 3
"""Seconds until a process that is asked to end is killed; tasks in threads can't be interrupted."""

CLIPS = ["the same", "red", "green", "blue", "by value", "it moves", "forbidden"]


@pytest.fixture
def runners(prefect_server, tmp_path):
    """Blocks that are named "runners", at a provider and a store of our own."""
    store = MediaStore(url=str(tmp_path / "store"))
    with Simulator(can_cancel=True) as simulator, temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        simulator.credentials.save("runners", overwrite=True)
        store.save("runners", overwrite=True)
        yield simulator, store


@pytest.mark.parametrize("runner", RUNNERS)
def test_tasks_on_a_runner(runner, runners, prefect_server, family, tmp_path):
    if (package := NEEDS.get(runner)) and not find_spec(package):
        pytest.skip(f"{package} is not installed; make test-runners installs it")
    simulator, store = runners
    log = tmp_path / "log"
    with (
        log.open("w") as file,
        subprocess.Popen(
            [sys.executable, str(SCRIPT), runner],
            env=prefect_server.env | family.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        if not (line := process.stdout.readline()):
            pytest.fail(log.read_text()[-8000:])
        row = json.loads(line)
        jobs = {job.prompt: job.id for job in simulator.jobs}
        assert Counter(job.prompt for job in simulator.jobs) == Counter(CLIPS), "each was bought once"
        assert row["equal"] == 1, "equal requests have one video"
        assert row["mapped"] == [jobs[colour] for colour in ("red", "green", "blue")]
        assert row["by_value"] == jobs["by value"]
        assert row["from_future"], "the picture of a future became the first frame"
        assert row["rejection"] == "output", "an error arrives whole"
        assert row["pictures"] == len(simulator.images) - 1 == MANY
        assert_logged(prefect_server, row["flow_run_id"], *CLIPS[:-1])

        simulator.latency = 600
        process.stdin.write("go on\n")
        process.stdin.flush()
        cancelled = json.loads(process.stdout.readline())
        try:
            wait_until(lambda: len(simulator.jobs) == len(CLIPS) + 2)
            endless, watching = sorted(simulator.jobs[len(CLIPS) :], key=lambda job: job.prompt)
            state = {"type": "CANCELLING", "name": "Cancelling"}
            Prefect(prefect_server.api_url).ask("POST", f"/flow_runs/{cancelled}/set_state", state=state, force=True)
            wait_until(lambda: watching.deleted, seconds=30)
            assert not endless.deleted
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):  # as a worker does when a flow run is cancelled
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
    assert family.gone(30), family.members()
    ended = asyncio.run(cancel_jobs_of(cancelled, simulator.credentials, store))
    assert ended == [endless.id]
    report(runner, row)


def assert_logged(prefect_server, flow_run_id, *prompts):
    """The log of the flow run, at Prefect's server, says of each video that it was made."""
    api = Prefect(prefect_server.api_url)

    def messages():
        rows = api.ask("POST", "/logs/filter", logs={"flow_run_id": {"any_": [flow_run_id]}}, limit=200)
        return [row["message"] for row in rows]

    wait_until(lambda: all(any(f"Made video '{prompt}'" in each for each in messages()) for prompt in prompts))


def wait_until(is_so, seconds=120):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


def report(runner, row):
    """A row of the table of docs/scaling.md, in the file that `make test-runners` names."""
    if path := os.environ.get("TEST_RUNNERS_ROWS"):
        with Path(path).open("a") as rows:
            rows.write(json.dumps({"runner": runner, **row}) + "\n")
