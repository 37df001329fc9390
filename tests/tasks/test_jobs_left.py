"""Ctrl-C in a process that waits for jobs: one line says how many go on, and the command in it fetches them."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from prefect_media.simulator import Simulator

START = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with SIGINT ignored
from prefect import flow
from prefect_media import OpenAICredentials, VideoRequest, agather, generate_video
films, store = OpenAICredentials(base_url=sys.argv[1], api_key="k"), sys.argv[2]
shots = [VideoRequest(prompt=f"boat {n}", model="wan-2.2", seconds=5) for n in range(3)]
"""
FLOWS = {
    "sync": """
@flow
def film():
    generate_video(films, shots[0], store=store)
film()
""",
    "async": """
@flow
async def film():
    async for made in agather(films, shots, store=store):
        print(made)
asyncio.run(film())
""",
}


@pytest.mark.parametrize(("kind", "jobs"), [("sync", 1), ("async", 3)])
def test_one_line_says_what_goes_on_and_its_command_fetches_it(prefect_server, tmp_path, kind, jobs):
    env = {**os.environ, **prefect_server.env}
    with Simulator(latency=3600) as simulator:
        process = subprocess.Popen(
            [sys.executable, "-c", START + FLOWS[kind], simulator.url, str(tmp_path)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 120
        while len(simulator.jobs) < jobs and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        try:
            _, complaints = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode != 0
        lines = [line for line in complaints.splitlines() if "at the provider, paid for" in line]
        assert len(lines) == 1, complaints
        assert lines[0].startswith("1 job goes on" if jobs == 1 else f"{jobs} jobs go on")
        assert lines[0] == complaints.splitlines()[-1]

        for job in simulator.jobs:
            job.latency = 0
        command = shlex.split(re.search(r"prefect-media (.*)", lines[0])[1])
        command = [sys.executable, "-m", "prefect_media", *command]
        env |= {"OPENAI_BASE_URL": simulator.url, "OPENAI_API_KEY": "k"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout.count(": done, ")) == (0, jobs), done.stderr
        assert len(simulator.jobs) == jobs
