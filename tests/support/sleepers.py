"""Many flow runs that wait for videos, on a real worker with room for two: who is alive, what is asked, what is bought.

    python tests/support/sleepers.py --runs 40 --latency 180
    python tests/support/sleepers.py --runs 40 --latency 180 --wakers 2 --kills 10

Each flow run submits one video, sleeps until it is finished, and publishes it. While they sleep, no flow process is
alive, and the provider is asked by the wakers alone. With `--kills` the wakers are killed by SIGKILL at random moments
and started again.

The exit code is 1 unless every flow run is Completed, was woken once and has its video published, every video was
bought once, no record is left, and the provider was asked at most twice a minute by the wakers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from prefect_api import Prefect
from sleeping_flows import NAME, film

from prefect_media.cli.demo_servers import PrefectServer, stop_process
from prefect_media.simulator import Simulator

ROOM = 2
SAMPLES = 0.5
PATIENCE = 1800.0


@dataclass
class Watcher:
    """Looks twice a second at what is alive and what was asked."""

    simulator: Simulator
    began: float = field(default_factory=time.monotonic)
    asked: list[tuple[float, str, str]] = field(default_factory=list[tuple[float, str, str]])
    alive: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watcher:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._thread.join()

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    def _watch(self) -> None:
        while not self.over.wait(SAMPLES):
            for request in self.simulator.requests[len(self.asked) :]:
                self.asked.append((self.now, request.method, request.path))
            self.alive.append((self.now, len(flow_processes())))


def flow_processes() -> list[int]:
    """Processes that execute a flow run, by what Prefect puts into their environment."""
    alive: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is not ours to look at
            environment = (process / "environ").read_bytes().split(b"\0")
            if b"PREFECT__FLOW_RUN_ID" in {each.split(b"=")[0] for each in environment} and OURS in environment:
                alive.append(int(process.name))
    return alive


MARK = f"SLEEPERS={os.getpid()}"
OURS = MARK.encode()


class Wakers:
    """Wakers in processes of their own; some of them are killed and started again."""

    def __init__(self, count: int, kills: int, env: dict[str, str], log: Path, dice: random.Random) -> None:
        self._env, self._log, self._dice = env, log, dice
        self._left, self.killed = kills, 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._keep, daemon=True) for _ in range(count)]

    def __enter__(self) -> Wakers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _keep(self) -> None:
        while not self._over.is_set():
            with self._log.open("ab") as log:
                command = [sys.executable, "-m", "prefect_media", "wake", "--every", "60", "--store", NAME]
                process = subprocess.Popen(command, env=self._env, stdout=log, stderr=log)
                # The first seconds are its imports; its round comes then.
                if self._left > 0:
                    self._over.wait(self._dice.uniform(5, 45))
                else:
                    self._over.wait()
                mortal = self._left > 0 and not self._over.is_set()
                self._left -= mortal
                (process.kill if mortal else process.terminate)()
                process.wait(60)
                self.killed += mortal


def main() -> int:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--runs", type=int, default=40)
    asked.add_argument("--latency", type=float, default=180.0)
    asked.add_argument("--wakers", type=int, default=1)
    asked.add_argument("--kills", type=int, default=0)
    asked.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = asked.parse_args()

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(PrefectServer())
        simulator = stack.enter_context(Simulator(latency=options.latency))
        mark, value = MARK.split("=")
        env = {**server.env, "PYTHONPATH": str(Path(__file__).parent), "PREFECT_WORKER_QUERY_SECONDS": "1", mark: value}
        deployment = prepare(simulator, server, folder / "store")
        wakers = stack.enter_context(
            Wakers(options.wakers, options.kills, env, folder / "wakers.log", random.Random(options.seed))
        )
        log = stack.enter_context((folder / "worker.log").open("wb"))
        command = ["worker", "start", "--pool", NAME, "--type", "process", "--limit", str(ROOM)]
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command], env=env, stdout=log, stderr=log, start_new_session=True
        )
        stack.callback(stop_process, worker)
        heartbeat = folder / "store/ledger/wakers/last-round.json"
        while not heartbeat.exists():  # without a waker nobody sleeps
            time.sleep(0.1)

        watcher = stack.enter_context(Watcher(simulator))
        prefect = Prefect(server.api_url)
        runs: list[str] = []
        for number in range(options.runs):
            path, parameters = f"/deployments/{deployment}/create_flow_run", {"prompt": f"boat {number}"}
            runs.append(prefect.ask("POST", path, parameters=parameters)["id"])
        while prefect.states(runs)["Completed"] + prefect.states(runs)["Failed"] < options.runs:
            time.sleep(2)
            if watcher.now > PATIENCE:
                break
        time.sleep(2 * SAMPLES)
        left = after_a_round(folder / "store", env)
        problems = verdict(prefect, simulator, watcher, runs, folder / "store", left)
        problems += [f"{wakers.killed} kills instead of {options.kills}"] * (wakers.killed < options.kills)
        print(json.dumps(figures(simulator, watcher), indent=2))  # noqa: T201
    for problem in problems:
        print(problem)  # noqa: T201
    print(  # noqa: T201
        f"{options.runs} flow runs, {len(simulator.jobs)} videos bought, {wakers.killed} kills of {options.wakers} "
        f"wakers, {len(problems)} problems (seed {options.seed})"
    )
    return 1 if problems else 0


def prepare(simulator: Simulator, server: PrefectServer, store: Path) -> str:
    """Save the blocks and the deployment; its id."""
    os.environ.update({name: value for name, value in server.env.items() if name.startswith("PREFECT_")})
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect_media.blocks import MediaStore

    async def save() -> str:
        await simulator.credentials.asave(NAME, overwrite=True)
        await MediaStore(url=str(store)).asave(NAME, overwrite=True)
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name=NAME, type="process"))
            deployment = await client.create_deployment(
                flow_id=await client.create_flow(film),
                name="it",
                entrypoint="sleeping_flows.film",
                work_pool_name=NAME,
            )
        return str(deployment)

    with temporary_settings({PREFECT_API_URL: server.api_url}):
        return asyncio.run(save())


def after_a_round(store: Path, env: dict[str, str]) -> list[str]:
    """Waiting records that are left when a waker has looked once more."""
    command = [sys.executable, "-m", "prefect_media", "wake", "--store", NAME]
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=300)
    return [path.name for path in store.glob("ledger/waiting/*.json")]


def verdict(
    prefect: Prefect, simulator: Simulator, watcher: Watcher, runs: list[str], store: Path, left: list[str]
) -> list[str]:
    problems = [
        f"{count} flow runs ended as {name}" for name, count in prefect.states(runs).items() if name != "Completed"
    ]
    bought = Counter(job.prompt for job in simulator.jobs)
    for number, run in enumerate(runs):
        prompt = f"boat {number}"
        if (times := bought[f"{prompt}, clip 1"]) != 1:
            problems.append(f"{prompt} was bought {times} times")
        if len(list(store.glob(f"published/{prompt}/*.mp4"))) != 1:
            problems.append(f"{prompt} is not published")
        history = [each["name"] for each in prefect.history(run)]
        if history.count("Suspended") != 1 or history.count("Resuming") != 1:
            problems.append(f"{prompt} went through {history}")
    problems += [f"{name} is left" for name in left]
    if (most := most_in_a_minute(waking(watcher))) > 2:
        problems.append(f"wakers asked {most} times in a minute")
    return problems


def waking(watcher: Watcher) -> list[float]:
    """When wakers asked for the list of jobs; flow runs ask for their one job."""
    return [when for when, method, path in watcher.asked if method == "GET" and "/videos?" in path]


def most_in_a_minute(times: list[float]) -> int:
    return max((sum(start <= when < start + 60 - 2 * SAMPLES for when in times) for start in times), default=0)


def figures(simulator: Simulator, watcher: Watcher) -> dict[str, object]:
    submitted = sorted(job.started - watcher.began for job in simulator.jobs)
    asleep = [when for when, alive in watcher.alive if not alive and submitted[-1] < when]
    quiet: list[tuple[float, float]] = []
    for when in asleep:
        if quiet and when - quiet[-1][1] < 3 * SAMPLES:
            quiet[-1] = quiet[-1][0], when
        else:
            quiet.append((when, when))
    longest = max(quiet, key=lambda each: each[1] - each[0], default=(0.0, 0.0))
    meanwhile = [when for when, _, _ in watcher.asked if longest[0] < when < longest[1]]
    return {
        "submitted within s": round(submitted[-1], 1),
        "the first job began after s": round(submitted[0], 1),
        "no flow process alive, from s to s": [round(each, 1) for each in longest],
        "requests to the provider meanwhile": len(meanwhile),
        "all done after s": round(watcher.now, 1),
        "most flow processes at once": max(alive for _, alive in watcher.alive),
        "requests of wakers": len(waking(watcher)),
        "of wakers, most in a minute": most_in_a_minute(waking(watcher)),
        "requests to the provider": len(watcher.asked),
    }


if __name__ == "__main__":
    sys.exit(main())
