"""Kills flow runs that go to sleep and wake, and their wakers, at every step; counts what was bought and what is left.

    python tests/support/chaos_waiting.py --kills 20 --store s3

Each life of a flow run goes through all points: its process is killed by SIGKILL there, is reported as crashed, as a
worker does, and is scheduled again, as the automation of `prefect-media recover-crashed` does. Some that are killed
when they are suspended already are reported by nobody, as when the worker is lost with them. Wakers are killed, too.

The exit code is 1 unless every flow run came to its good end, each purchase was made once, each result is published,
and no waiting record is left.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import httpx
from buyer import Nursery
from prefect import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_media.blocks import MediaStore
from sleeping_flows import NAME, film, pick

from prefect_media.cli.demo_servers import BucketServer, PrefectServer
from prefect_media.simulator import Simulator
from prefect_media.storage.store import Storage
from prefect_media.waiting.records import FOLDER

CLIPS = 2
"""Videos of a film, and so the times it sleeps."""

TO_SLEEP = {
    "film": (
        "before the record",
        "after the record",
        "before the suspension",
        "after the suspension",
        "before the end of a film",
    ),
    "pick": (
        "before the record",
        "after the record",
        "before the suspension",
        "before the form",
        "before the end of a question",
    ),
}
SUSPENDED = {"after the suspension", "before the form", "before the end of a film", "before the end of a question"}
"""Points where Prefect's server has suspended the flow run already."""

FILM_ROUNDS = ("waker: records read", "waker: request noted", "waker: before the resume", "waker: after the resume")
FILM_AWAKE = ("before the start", "woken", "woken, without its record", "after the wait")
PICK_AWAKE = ("before the start", "answered", "before the answer is kept", "after the answer is kept")


class Wrong(Exception):
    """A flow run that took another way than it had to."""


class Chaos:
    """Flow runs, one after the other, each of which goes through all points."""

    def __init__(self, api_url: str, simulator: Simulator, nursery: Nursery, seed: int) -> None:
        self._client = httpx.Client(base_url=api_url, timeout=60)
        self._simulator, self._nursery = simulator, nursery
        self._dice = random.Random(seed)
        self._run = ""
        self.kills: Counter[str] = Counter()
        self.complaints: list[str] = []

    def live(self, flow: str, deployment: str, name: str) -> None:
        """One flow run, from its first process to its end."""
        parameters = {"prompt": name} | ({"clips": CLIPS} if flow == "film" else {})
        self._run = self._ask("POST", f"/deployments/{deployment}/create_flow_run", parameters=parameters)["id"]
        try:
            self._fall_asleep(TO_SLEEP[flow])
            (self._wake_film if flow == "film" else self._answer)(name)
            self._must_be("Completed")
        except Wrong as error:
            self.complaints.append(f"{name}: {error}")

    def round(self, die: str | None = None) -> None:
        """A round of a waker."""
        self._process({"store": NAME}, die)

    def _fall_asleep(self, points: tuple[str, ...]) -> None:
        asleep = False
        for left, point in zip(range(len(points) - 1, -1, -1), self._dice.sample(points, len(points)), strict=True):
            self._execute(point)
            reported = point not in SUSPENDED or self._dice.random() < 0.5
            if reported:
                self._crash()
            elif point == "before the form":  # nobody could answer: wakers know
                self.round()
                self._must_be("Resuming")
            elif left:
                self._crash()
            asleep = not reported and not left and point != "before the form"
            if self._dice.random() < 0.3:
                self.round()
        if not asleep:
            self._execute()
        self._must_be("Suspended")

    def _wake_film(self, name: str) -> None:
        self.round()
        self._must_be("Suspended")
        self._finish_jobs(name)
        for point in FILM_ROUNDS:
            self.round(point)
        self._must_be("Resuming")
        for point in self._dice.sample(FILM_AWAKE, len(FILM_AWAKE)):
            self._execute(point)
            self._crash()
        self._execute()
        self._must_be("Suspended")  # for the second clip
        self._finish_jobs(name)
        self.round("waker: record removed")
        self._must_be("Resuming")
        self._execute()

    def _answer(self, name: str) -> None:
        self.round("waker: records read")
        self._must_be("Suspended")
        answer = self._ask("POST", f"/flow_runs/{self._run}/resume", run_input={"choice": "2", "notes": name})
        if answer["status"] != "ACCEPT":
            raise Wrong(f"the answer was not taken: {answer}")
        for point in PICK_AWAKE:
            self._execute(point)
            self._crash()
        self._execute()

    def _finish_jobs(self, name: str) -> None:
        for job in self._simulator.jobs:
            if job.prompt.startswith(f"{name}, "):
                job.latency = 0

    def _execute(self, die: str | None = None) -> None:
        """Execute the flow run, as a worker does."""
        self._set_state("PENDING", "Pending")
        self._process({"flow_run": self._run}, die)

    def _crash(self) -> None:
        """What a worker says of a process that was killed, and what the automation does then."""
        self._set_state("CRASHED", "Crashed")
        self._set_state("SCHEDULED", "AwaitingRetry", force=True)

    def _process(self, order: dict[str, Any], die: str | None) -> None:
        code = self._nursery.start({**order, "die": die}).wait(300)
        if code != (-9 if die else 0):
            raise Wrong(f"{die or 'a whole'} {'flow run' if 'flow_run' in order else 'round'} ended with {code}")
        if die:
            self.kills[die] += 1

    def _set_state(self, type: str, name: str, *, force: bool = False) -> None:
        answer = self._ask("POST", f"/flow_runs/{self._run}/set_state", state={"type": type, "name": name}, force=force)
        if answer["status"] != "ACCEPT":
            raise Wrong(f"{name} was not accepted: {answer}")

    def _must_be(self, name: str) -> None:
        state = self._ask("GET", f"/flow_runs/{self._run}")["state"]
        if state["name"] != name:
            raise Wrong(f"is {state['name']} and not {name}: {state['message']}; kills so far: {dict(self.kills)}")

    def _ask(self, method: str, path: str, **body: object) -> Any:
        for _ in range(60):
            answer = self._client.request(method, path, json=body or None)
            if answer.status_code != 503:  # so the server says that its database is busy
                break
            time.sleep(0.5)
        return answer.raise_for_status().json()


async def prepare(simulator: Simulator, store: MediaStore) -> dict[str, str]:
    """Save the blocks and the deployments; their ids."""
    await simulator.credentials.asave(NAME, overwrite=True)
    await store.asave(NAME, overwrite=True)
    ids: dict[str, str] = {}
    async with get_client() as client:
        for flow in (film, pick):
            flow_id = await client.create_flow(flow)
            entrypoint = f"sleeping_flows.{flow.name}"
            ids[flow.name] = str(await client.create_deployment(flow_id, "chaos", entrypoint=entrypoint))
    return ids


async def verdict(simulator: Simulator, storage: Storage, names: dict[str, str]) -> list[str]:
    """What is wrong with what was bought and with what is left."""
    problems: list[str] = []
    bought = Counter([*(job.prompt for job in simulator.jobs), *(image.prompt for image in simulator.images)])
    prompts = [name for name, flow in names.items() if flow == "pick"]
    prompts += [f"{name}, clip {clip + 1}" for name, flow in names.items() for clip in range(CLIPS) if flow == "film"]
    problems += [f"{prompt} was bought {bought[prompt]} times" for prompt in prompts if bought[prompt] != 1]
    for name, flow in names.items():
        media = [path async for path, _ in storage.list(f"published/{name}/") if not path.endswith(".json")]
        if len(media) != (CLIPS if flow == "film" else 1):
            problems.append(f"{name}: published are {media}")
    return problems + [f"{path} is left" async for path, _ in storage.list(FOLDER)]


def main() -> int:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--kills", type=int, default=20, help="kills at each point")
    asked.add_argument("--store", choices=["folder", "s3"], default="folder")
    asked.add_argument("--flows", nargs="+", choices=[*TO_SLEEP], default=[*TO_SLEEP])
    asked.add_argument("--seconds", type=float, default=7200, help="after which no other flow run is begun")
    asked.add_argument("--api-url", help="a Prefect server that is there; by default one is started")
    asked.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = asked.parse_args()

    began = time.monotonic()
    with ExitStack() as stack:
        api_url = options.api_url or stack.enter_context(PrefectServer()).api_url
        if options.store == "folder":
            store = MediaStore(url=stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            buckets = stack.enter_context(BucketServer())
            buckets.create("chaos")
            store = MediaStore(
                url="s3://chaos/some/prefix",
                endpoint_url=buckets.url,
                region="us-east-1",
                aws_access_key_id=buckets.KEY,
                aws_secret_access_key=buckets.SECRET,
            )
        simulator = stack.enter_context(Simulator(latency=3600))
        home = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ["PREFECT_HOME"] = home
        env = {"PREFECT_API_URL": api_url, "PREFECT_HOME": home, "PREFECT_LOGGING_TO_API_ENABLED": "false"}
        env |= {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        nursery = stack.enter_context(Nursery(str(Path(__file__).with_name("sleeper.py")), env))
        with temporary_settings({PREFECT_API_URL: api_url}):
            deployments = asyncio.run(prepare(simulator, store))
        chaos = Chaos(api_url, simulator, nursery, options.seed)
        names: dict[str, str] = {}
        chaos.round()  # without a waker nobody sleeps
        for number, flow in product(range(options.kills), options.flows):
            if time.monotonic() < began + options.seconds:
                names[f"{flow} {number}"] = flow
                chaos.live(flow, deployments[flow], f"{flow} {number}")
        chaos.round()
        problems = chaos.complaints + asyncio.run(verdict(simulator, store.storage(), names))

    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    for point, count in sorted(chaos.kills.items()):
        sys.stdout.write(f"{count:4} {point}\n")
    sys.stdout.write(
        f"{chaos.kills.total()} kills, {len(names)} flow runs, {len(simulator.jobs)} jobs and {len(simulator.images)} "
        f"image requests at the provider, {len(problems)} problems ({options.store}, seed {options.seed}, "
        f"{time.monotonic() - began:.0f} s)\n"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
