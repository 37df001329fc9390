"""What the live page costs a flow: 300 jobs with it and without, in turns, against a real Prefect server.

Prints the ratios of wall and of client CPU, each of the least of several runs, and the requests for pages per 2 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prefect_media.cli.demo_servers import PrefectServer
from prefect_media.simulator import Simulator

INTERVAL = 2.0
"""Seconds in which at most one request may go to Prefect for pages."""


def one_run(url: str, folder: str, jobs: int) -> dict[str, float]:
    """Buy videos in a flow of this process, and measure it without its imports."""
    import httpx
    from prefect import flow

    from prefect_media import OpenAICredentials, VideoRequest, agather

    films = OpenAICredentials(base_url=url, api_key="key", max_concurrency=64)  # pyright: ignore[reportArgumentType]
    mark = Path(folder).name  # a lost reply finds its own job, not one of an earlier run
    requests = [
        VideoRequest(prompt=f"boat {n} of {mark}", model="boats-1", seconds=1, size="64x64") for n in range(jobs)
    ]
    pages = 0
    send = httpx.Client.send

    def counted(self: httpx.Client, request: httpx.Request, **more: object) -> httpx.Response:
        nonlocal pages
        pages += "/artifacts/" in request.url.path
        return send(self, request, **more)  # pyright: ignore[reportArgumentType]

    httpx.Client.send = counted

    @flow(name="benchmark-reporting")
    async def shots() -> int:
        return len([made async for made in agather(films, requests, store=folder, concurrency=100) if made.asset])

    began, cpu = time.monotonic(), _cpu()
    made = asyncio.run(shots())
    assert made == jobs, made
    return {"wall": time.monotonic() - began, "cpu": _cpu() - cpu, "pages": pages}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def compare(jobs: int, repeat: int, latency: float) -> None:
    """Run with and without pages in turns, each in a process of its own, and print the ratios."""
    runs: dict[str, list[dict[str, float]]] = {"0": [], "1": []}
    with PrefectServer() as server, Simulator(latency=latency) as simulator:
        for _ in range(repeat):
            for show, results in runs.items():
                with tempfile.TemporaryDirectory() as folder:
                    arguments = ["--url", simulator.url, "--folder", folder, "--jobs", str(jobs)]
                    env = {**os.environ, **server.env, "PREFECT_MEDIA_SHOW": show, "PREFECT_LOGGING_LEVEL": "WARNING"}
                    command = [sys.executable, __file__, *arguments]
                    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
                    if done.returncode:
                        raise SystemExit(done.stderr)
                    results.append(json.loads(done.stdout.splitlines()[-1]))
                    _say(f"pages {'on ' if show == '1' else 'off'}: {results[-1]}")
    least = {
        show: {name: min(run[name] for run in results) for name in ("wall", "cpu")} for show, results in runs.items()
    }
    rate = max(run["pages"] / run["wall"] * INTERVAL for run in runs["1"])
    _say(f"{jobs} jobs, least of {repeat}: wall {least['1']['wall'] / least['0']['wall']:.3f} x")
    _say(f"client CPU {least['1']['cpu'] / least['0']['cpu']:.3f} x, {rate:.2f} requests for pages in {INTERVAL:g} s")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--latency", type=float, default=5.0, help="seconds that a job takes")
    parser.add_argument("--url", help="of the provider, for one run in this process")
    parser.add_argument("--folder", default="", help="of the store, for one run in this process")
    given = parser.parse_args()
    if given.url:
        _say(json.dumps(one_run(given.url, str(Path(given.folder)), given.jobs)))
    else:
        compare(given.jobs, given.repeat, given.latency)


if __name__ == "__main__":
    main()
