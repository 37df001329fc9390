"""Retries, restarts, suspensions and crashes of real flow runs: each video is bought once."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import boto3
import httpx
import pytest
from buyer import clip
from prefect import flow, task

from prefect_media import Asset, VideoRequest, agenerate_video, generate_video
from prefect_media.cli.demo_servers import ServerFailed
from prefect_media.simulator import Fault, Simulator


@pytest.fixture
def folder(store):
    return store  # a folder once, a bucket once


class Lines(logging.Handler):
    """What runs have logged."""

    def __init__(self):
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@pytest.fixture
def lines():
    lines = Lines()
    runs = logging.getLogger("prefect.task_runs")
    runs.addHandler(lines)
    yield lines.said
    runs.removeHandler(lines)


pytestmark = pytest.mark.usefixtures("prefect")


def test_a_flow_that_is_retried_pays_once(media_simulator, folder):
    """A later step fails twice; the flow is run from its top three times."""
    attempts: list[Asset] = []

    @task
    def later() -> None:
        if len(attempts) < 3:
            raise RuntimeError("not yet")

    @flow(retries=2)
    def make() -> Asset:
        attempts.append(generate_video(media_simulator.credentials, clip(), store=folder))
        later()
        return attempts[-1]

    make()
    assert len(attempts) == 3
    assert len(set(attempt.uri for attempt in attempts)) == 1
    assert len(media_simulator.jobs) == 1


async def test_an_async_flow_that_is_retried_pays_once(media_simulator, folder):
    attempts: list[Asset] = []

    @flow(retries=1)
    async def make() -> None:
        attempts.append(await agenerate_video(media_simulator.credentials, clip(), store=folder))
        if len(attempts) < 2:
            raise RuntimeError("not yet")

    await make()
    assert attempts[0] == attempts[1]
    assert len(media_simulator.jobs) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", "/content$", "truncate", nbytes=500),
        Fault("GET", "/content$", "corrupt"),
        Fault("POST", "/videos$", "lose_reply"),
        Fault("POST", "/videos$", "answer", status=429),
    ],
    ids=["cut download", "page of HTML", "lost reply", "busy"],
)
def test_a_task_that_is_retried_pays_once(fault, media_simulator, folder):
    """What passes by itself is tried again by Prefect, from the top of the task."""
    media_simulator.faults.append(fault)

    @flow
    def make() -> Asset:
        return generate_video.with_options(retry_delay_seconds=0)(media_simulator.credentials, clip(), store=folder)

    asset = make()
    assert fault.hits == 1
    assert [job.id for job in media_simulator.jobs] == [asset.source and asset.source.job_id]


def test_a_subflow_that_is_retried_pays_once(media_simulator, folder):
    """A restarted subflow has a run id of its own, but is part of the same outermost run."""
    attempts: list[Asset] = []

    @flow
    def inner() -> None:
        attempts.append(generate_video(media_simulator.credentials, clip(), store=folder))
        if len(attempts) < 3:
            raise RuntimeError("not yet")

    @flow(retries=1)
    def outer() -> None:
        try:
            inner()
        except RuntimeError:
            inner.with_options(retries=0)()

    outer()
    assert len(attempts) == 3
    assert len(media_simulator.jobs) == 1


@pytest.mark.parametrize(("scope", "jobs"), [("run", 2), ("forever", 1), ("campaign 7", 1)])
def test_two_runs_pay_as_their_scope_says(scope, jobs, media_simulator, folder):
    @flow
    def make() -> Asset:
        return generate_video(media_simulator.credentials, clip(), store=folder, scope=scope)

    first, second = make(), make()
    assert len(media_simulator.jobs) == jobs
    assert (first.uri == second.uri) == (jobs == 1)


def test_asking_twice_in_one_flow_is_said_in_the_log(media_simulator, folder, lines):
    """One line for the one that was not paid, and none for the one that was."""

    @flow
    def make(request: VideoRequest) -> None:
        generate_video(media_simulator.credentials, request, store=folder)
        assert not [line for line in lines if "Bought before" in line]
        generate_video(media_simulator.credentials, request, store=folder)

    make(clip())
    assert [line for line in lines if "Bought before" in line] == [
        "Bought before in this scope (generate video, done); variant=1 makes another"
    ]
    assert len(media_simulator.jobs) == 1


# ---------------------------------------------------------------- with a worker, where processes come and go

FLOWS = """
import os
from pathlib import Path
from prefect import flow
from prefect.flow_runs import suspend_flow_run
from prefect_media import OpenAICredentials, RemixRequest, VideoRequest, agenerate_video, aremix_video

REQUEST = VideoRequest(prompt="waves", model="boats-1", seconds=1, size="64x64")

@flow(persist_result=False)
async def storm(server: str, folder: str, store: str, approval: bool):
    Path(folder, "pid").write_text(str(os.getpid()))
    credentials = OpenAICredentials(base_url=server)
    clip = await agenerate_video(credentials, REQUEST, store=store)
    if approval:
        await suspend_flow_run(timeout=600)
    await aremix_video(credentials, RemixRequest(video=clip, prompt="at night"), store=store)
"""


def _client(s3):
    session = boto3.Session(aws_access_key_id=s3.key, aws_secret_access_key=s3.secret, region_name="us-east-1")
    return session.client("s3", endpoint_url=s3.url)


class Worker:
    """A process worker with one deployment, and what its runs come to."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        (folder / "storm.py").write_text(FLOWS)
        server.run("work-pool", "create", "stormy", "--type", "process")
        server.run("deploy", "storm.py:storm", "-n", "it", "-p", "stormy", cwd=folder)
        self.deployment = self.ask("get", "/deployments/name/storm/it")["id"]
        self.log = folder / "worker.log"

    def ask(self, method, path, **body):
        for _ in range(20):
            answer = httpx.request(method, f"{self.server.api_url}{path}", json=body or None, timeout=30)
            if answer.status_code != 503:  # so the server says that its database is busy
                break
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json()

    def start(self, simulator, folder, store, approval):
        folder.mkdir()
        parameters = {"server": simulator.url, "folder": str(folder), "store": store, "approval": approval}
        return self.ask("post", f"/deployments/{self.deployment}/create_flow_run", parameters=parameters)["id"]

    def wait(self, run, *states, within=180.0):
        """Until the run is in one of these states."""
        deadline = time.monotonic() + within
        while (state := self.ask("get", f"/flow_runs/{run}")["state"])["name"].upper() not in states:
            assert time.monotonic() < deadline, f"{json.dumps(state)}\n{self.log.read_text()[-5000:]}"
            time.sleep(0.2)
        return state["name"].upper()


@pytest.fixture(scope="module")
def worker(prefect_server, s3, tmp_path_factory):
    worker = Worker(prefect_server, tmp_path_factory.mktemp("worker"))
    with (
        worker.log.open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "stormy", "--name", "w"],
            env={**prefect_server.env, **s3.env, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        yield worker
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:  # now and then Prefect's worker does not listen
            process.kill()


@pytest.fixture(scope="module", params=["folder", "s3"])
def storms(request, worker, s3, tmp_path_factory):
    """Two runs, started together to save time: one that will be killed, and one that waits for approval."""
    looked = Fault("GET", "/videos/video_", "hold", seconds=0)
    folder = tmp_path_factory.mktemp("storms")

    def store(name):
        return f"s3://{s3.bucket()}/{name}" if request.param == "s3" else str(folder / name / "store")

    with Simulator(latency=60) as slow, Simulator() as quick:
        slow.faults.append(looked)
        killed, suspended = store("killed"), store("suspended")
        yield {
            "killed": (slow, worker.start(slow, folder / "killed", killed, False), looked, folder / "killed", killed),
            "suspended": (quick, worker.start(quick, folder / "suspended", suspended, True)),
        }


def test_a_flow_run_whose_process_was_killed_pays_once(worker, storms, s3):
    """SIGKILL to the flow's process while the job runs: crashed, run again by hand, one job."""
    simulator, run, looked, folder, store = storms["killed"]
    assert looked.wait(180), worker.log.read_text()
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    worker.wait(run, "CRASHED")
    [job] = simulator.jobs
    job.latency = simulator.latency = 0.1
    # Prefect notices a death twice; its second report comes seconds later and can undo a retry, or be undone by one
    # between this look and the next retry, which is then refused as the run goes on.
    for _ in range(5):
        if worker.wait(run, "COMPLETED", "CRASHED", within=180) == "COMPLETED":
            break
        with suppress(ServerFailed):
            worker.server.run("flow-run", "retry", run)
    worker.wait(run, "COMPLETED")
    assert [(made.operation, made.source_id) for made in simulator.jobs] == [("generate", None), ("remix", job.id)]
    if store.startswith("s3:"):
        listed = _client(s3).list_objects_v2(Bucket=store.split("/")[2])["Contents"]
        assert len([row for row in listed if row["Key"].endswith(".mp4")]) == 2
    else:
        assert len(list(folder.rglob("*.mp4"))) == 2


def test_a_flow_run_that_was_suspended_pays_once(worker, storms):
    """A person approves: the process ends meanwhile, and another begins the flow from its top."""
    simulator, run = storms["suspended"]
    worker.wait(run, "SUSPENDED")
    [job] = simulator.jobs
    worker.ask("post", f"/flow_runs/{run}/resume")
    worker.wait(run, "COMPLETED")
    assert simulator.jobs[0] is job
    assert [(made.operation, made.source_id) for made in simulator.jobs] == [("generate", None), ("remix", job.id)]
