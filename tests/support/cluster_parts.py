"""The parts of the cluster of `cluster.py`, and how each of them is lost."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster_servers import ClusterServer, Kept, Postgres
from outage import Door

from prefect_media.simulator import Simulator


@dataclass
class Cluster:
    """The parts, and what happens to them."""

    server: ClusterServer
    database: Postgres
    workers: list[Kept]
    bucket: Door
    simulator: Simulator
    runs: dict[str, str]
    """The prompt of each flow run."""

    lost: dict[str, float] = field(default_factory=dict[str, float])
    """Flow runs of the worker that was killed, with the time of its death."""

    frozen: set[str] = field(default_factory=set[str])
    figures: dict[str, float] = field(default_factory=dict[str, float])

    def kill_a_worker(self) -> None:
        worker = self._worker_that_submits()
        runs = worker.flow_runs()
        worker.kill()
        self.lost = dict.fromkeys(runs, time.time())
        say(f"{worker.name} is killed with {len(runs)} flow runs")

    def freeze_a_worker(self, seconds: float) -> threading.Thread:
        worker = self._worker_that_submits()
        worker.freeze()
        self.frozen = worker.flow_runs()
        say(f"{worker.name} is frozen with {len(self.frozen)} flow runs for {seconds:g} s")

        def thaw() -> None:
            time.sleep(seconds)
            worker.thaw()
            say(f"{worker.name} is thawed")

        thread = threading.Thread(target=thaw, daemon=True)
        thread.start()
        return thread

    def restart(self, what: str, restart: Callable[[], None]) -> None:
        began = time.monotonic()
        restart()
        self.figures[f"{what} was away for s"] = round(time.monotonic() - began, 1)
        say(f"{what} was restarted")

    def shut_the_bucket(self, seconds: float) -> None:
        self.bucket.shut()
        time.sleep(seconds)
        self.bucket.open()
        say(f"the bucket was away for {seconds:g} s")

    def _worker_that_submits(self) -> Kept:
        """A living worker with a flow run whose video the provider has just accepted, and not answered yet."""
        deadline, jobs = time.monotonic() + 300, len(self.simulator.jobs)
        while time.monotonic() < deadline:
            if len(self.simulator.jobs) > jobs:
                jobs = len(self.simulator.jobs)
                prompt = self.simulator.jobs[-1].prompt
                submitting = {run for run, bought in self.runs.items() if bought == prompt}
                for worker in self.workers:
                    if worker.is_whole and submitting & worker.flow_runs():
                        return worker
            time.sleep(0.02)
        raise TimeoutError("no worker submits anything")

    def wait_until_bought(self, share: float) -> None:
        """Return when so much of all purchases was made."""
        count, deadline = share * len(set(self.runs.values())), time.monotonic() + 600
        while len(self.simulator.jobs) < count and time.monotonic() < deadline:
            time.sleep(0.1)


def say(words: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {words}\n")
    sys.stdout.flush()
