"""A flow run whose process is killed is run again by the automation, and what it paid for is not paid again."""

import json
import os
import signal
import subprocess
import sys
import time

import prefect
from packaging.version import Version
from prefect_api import Prefect

from prefect_media.simulator import Fault, Simulator

LOSES_EVENTS = Version(prefect.__version__) < Version("3.9.1")
"""Whether Prefect's server on SQLite begins to write an automation's state after it has read it, and so fails often."""

MOST_RUNS = 1 if LOSES_EVENTS else 3
"""How many flow runs are killed at most until an automation runs one again by itself."""

LOST = "will be moved to the dead letter queue"
"""What the server logs of an event that it gave up."""

FLOW = """
import os, pathlib
from prefect import flow
from prefect_media import VideoRequest, generate_video

@flow
def one_clip(server: str, folder: str):
    from prefect_media import OpenAICredentials
    (pathlib.Path(folder) / "pid").write_text(str(os.getpid()))
    request = VideoRequest(prompt="waves", model="sora-2", seconds=4, size="1280x720")
    generate_video(OpenAICredentials(base_url=server), request, store=folder)
"""


def test_a_killed_flow_run_is_run_again_and_buys_nothing_twice(prefect_server, tmp_path):
    (tmp_path / "one_clip.py").write_text(FLOW)
    prefect_server.run("work-pool", "create", "recovery", "--type", "process")
    prefect_server.run("deploy", "one_clip.py:one_clip", "-n", "it", "-p", "recovery", cwd=tmp_path)
    created = subprocess.run(
        [sys.executable, "-m", "prefect_media", "recover-crashed", "--flow", "one-clip"],
        env=prefect_server.env,
        capture_output=True,
        text=True,
    )
    assert "Saved the automation" in created.stdout, created.stderr

    with (
        Simulator(latency=60) as simulator,
        (tmp_path / "worker.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "recovery"],
            env=prefect_server.env,
            stdout=log,
            stderr=log,
        ) as worker,
    ):
        try:
            runs = (killed_and_completed(prefect_server, simulator, tmp_path / str(n)) for n in range(MOST_RUNS))
            assert any(runs) or has_lost_an_event(prefect_server), prefect_server.log.read_text()[-20_000:]
            assert "crashed" in (tmp_path / "worker.log").read_text()
        finally:
            end(worker)


def killed_and_completed(prefect_server, simulator, folder):
    """Kill a flow run that waits for its video, and see it completed with that one video; whether by the automation.

    A server on SQLite whose database is busy loses the event or the action now and then, before Prefect 3.9.1 mostly.
    `recover` helps then, as docs/recovery.md tells.
    """
    folder.mkdir()
    jobs_before = len(simulator.jobs)
    looked = Fault("GET", "/videos/video_", "hold", seconds=0)
    simulator.faults.append(looked)
    parameters = json.dumps({"server": simulator.url, "folder": str(folder)})
    prefect_server.run("deployment", "run", "one-clip/it", "--params", parameters)
    assert looked.wait(180), (folder.parent / "worker.log").read_text()
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    [job] = simulator.jobs[jobs_before:]
    job.latency = 0
    by_itself = last_state(prefect_server, seconds=30) == "COMPLETED"  # `recover` leaves what crashed just now alone
    if not by_itself and not has_lost_an_event(prefect_server):
        by_itself = last_state(prefect_server, seconds=60) == "COMPLETED"
    if not by_itself:
        again = [sys.executable, "-m", "prefect_media", "recover", "--stuck", "60s", "--flow", "one-clip"]
        subprocess.run(again, env=prefect_server.env, check=True, timeout=120)
        assert last_state(prefect_server) == "COMPLETED", (folder.parent / "worker.log").read_text()
    assert simulator.jobs[jobs_before:] == [job]
    assert len(list(folder.rglob("*.mp4"))) == 1
    return by_itself


def has_lost_an_event(prefect_server):
    """Whether the server has given up an event, and is one that does so often."""
    return LOSES_EVENTS and LOST in prefect_server.log.read_text()


def end(worker):
    """Stop a worker, by force where it waits for a flow run that is not going to end."""
    worker.terminate()
    try:
        worker.wait(20)
    except subprocess.TimeoutExpired:
        worker.kill()


def last_state(prefect_server, seconds=90):
    """State of the newest run: COMPLETED as soon as it is, or what it is at the end."""
    newest = {"flows": {"name": {"any_": ["one-clip"]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
    api = Prefect(prefect_server.api_url)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        [run] = api.ask("POST", "/flow_runs/filter", **newest)
        if run["state_type"] == "COMPLETED":
            break
        time.sleep(0.5)
    return run["state_type"]
