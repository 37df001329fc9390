"""A flow run whose process is killed is run again by the automation, and what it paid for is not paid again."""

import json
import os
import signal
import subprocess
import sys
import time

import httpx

from prefect_media.simulator import Fault, Simulator

ACTION_FAILED = "prefect.automation.action.failed"

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
            looked = Fault("GET", "/videos/video_", "hold", seconds=0)
            simulator.faults.append(looked)
            parameters = json.dumps({"server": simulator.url, "folder": str(tmp_path)})
            prefect_server.run("deployment", "run", "one-clip/it", "--params", parameters)
            assert looked.wait(180), (tmp_path / "worker.log").read_text()
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
            [job] = simulator.jobs
            job.latency = 0
            assert final_state(prefect_server) == "COMPLETED", (tmp_path / "worker.log").read_text()
            assert "crashed" in (tmp_path / "worker.log").read_text()
            assert simulator.jobs == [job]
            assert len(list(tmp_path.rglob("*.mp4"))) == 1
        finally:
            end(worker)


def end(worker):
    """Stop a worker, by force where it waits for a flow run that is not going to end."""
    worker.terminate()
    try:
        worker.wait(20)
    except subprocess.TimeoutExpired:
        worker.kill()


def final_state(prefect_server):
    """The run's last state, COMPLETED if it comes.

    The action of an automation is tried once and fails while the server's database is busy. Only then, and the server
    has to say so, is `recover` asked to help, as docs/recovery.md tells.
    """
    if (state := state_within(120, prefect_server)) == "CRASHED":
        assert post(prefect_server, "/events/filter", {"filter": {"event": {"name": [ACTION_FAILED]}}})["events"]
        again = [sys.executable, "-m", "prefect_media", "recover", "--stuck", "60s", "--flow", "one-clip"]
        subprocess.run(again, env=prefect_server.env, check=True, timeout=120)
        state = state_within(120, prefect_server)
    return state


def state_within(seconds, prefect_server):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        [run] = post(prefect_server, "/flow_runs/filter", {"flows": {"name": {"any_": ["one-clip"]}}})
        if run["state_type"] == "COMPLETED":
            break
        time.sleep(0.5)
    return run["state_type"]


def post(prefect_server, path, body):
    for _ in range(20):
        answer = httpx.post(f"{prefect_server.api_url}{path}", json=body, timeout=60)
        if answer.status_code != 503:  # so the server says that its database is busy
            break
        time.sleep(0.5)
    answer.raise_for_status()
    return answer.json()
