"""Kills paying processes at random moments and counts what was bought.

    python tests/chaos.py --kills 200 --store s3

Small flows (an image, a video that starts from it, a remix of that video) run in processes of their own, several at
once and some of them twice at the same time. Each process is killed by SIGKILL somewhere in its life and started
again, until the flow has come to its end. A provider can't be asked for images it made before, so a process killed
while an image was in the air leaves a doubt: it has to be said, and only then may the image be bought again.

All of it is bought on one budget, which has to know of every job and every image that the provider made.

The last line says how many jobs the provider has beyond one for each purchase (duplicates), and how many purchases
have no job, no record or no whole asset, or are not on the budget (lost). The exit code is 1 unless both are 0.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from buyer import MODEL, Buyer, Nursery, clip, plan

from prefect_media.assets import Asset
from prefect_media.budget import Budget
from prefect_media.ledger.accounts import Account, read
from prefect_media.ledger.ledger import Ledger
from prefect_media.ledger.record import Record
from prefect_media.requests import ImageRequest, RemixRequest
from prefect_media.simulator import Simulator
from prefect_media.simulator.drawing.film import shoot
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import Storage, storage_at

LIFE = 2.0
"""Seconds a flow takes when nobody kills it, about."""

SIDE_BY_SIDE = 4

BUDGET = Budget(usd=1_000_000, period="forever", unpriced_usd=1)
"""Everything costs a dollar, so what is booked is a number of purchases."""


@dataclass
class Count:
    """What happened."""

    kills: int = 0
    flows: int = 0
    doubts: Counter[str] = field(default_factory=Counter[str])
    assets: dict[str, list[Asset]] = field(default_factory=dict[str, list[Asset]])
    complaints: list[str] = field(default_factory=list[str])
    lock: threading.Lock = field(default_factory=threading.Lock)


class Chaos:
    """Flows that are killed until there were enough kills, and brought to their end."""

    def __init__(self, simulator: Simulator, storage: Storage, nursery: Nursery, kills: int, seed: int) -> None:
        self.simulator, self.storage, self.nursery, self.kills = simulator, storage, nursery, kills
        self.count = Count()
        self.dice = random.Random(seed)

    def run(self) -> None:
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            for done in [pool.submit(self._flows) for _ in range(SIDE_BY_SIDE)]:
                done.result()

    def _flows(self) -> None:
        while True:
            with self.count.lock:
                if self.count.kills >= self.kills or self.count.complaints:
                    return
                self.count.flows += 1
                name = f"flow {self.count.flows}"
                deaths = self.dice.randint(2, 10)
            self._flow(name, deaths)

    def _flow(self, name: str, deaths: int) -> None:
        order = plan(
            self.simulator,
            self.storage,
            ImageRequest(prompt=f"{name} still", model=MODEL, size="64x64"),
            clip(f"{name} moves", image="before"),
            RemixRequest(video="before", prompt=f"{name} at night"),
            scope=name,
            lease_seconds=0.5,
            budget=BUDGET.model_dump(),
        )
        doubt = False
        while True:
            with self.count.lock:
                twins = self.dice.random() < 0.2
                moments = [self.dice.uniform(0, LIFE) for _ in range(2)]
                mortal = deaths > 0 and self.count.kills < self.kills
            # One alone goes on after a doubt, and once: who dies again leaves a new doubt, which has to be said again.
            twins = twins and not doubt
            buyers = [self.nursery.start({**order, "resubmit_images": doubt}) for _ in range(2 if twins else 1)]
            doubt = False
            if mortal:
                deaths -= self._kill(buyers, moments)
            for buyer in buyers:
                if (code := buyer.wait(120)) == 0:
                    with self.count.lock:
                        self.count.assets[name] = buyer.assets
                elif code == 3 and "can't be asked for images" in buyer.report()["message"]:
                    doubt = True
                elif code != -9:
                    with self.count.lock:
                        self.count.complaints.append(f"{name}: {buyer.report() if code == 3 else code}")
                    return
            if doubt:
                with self.count.lock:
                    self.count.doubts[name] += 1
            if name in self.count.assets and not any(buyer.status for buyer in buyers):
                return

    def _kill(self, buyers: list[Buyer], moments: list[float]) -> int:
        began, killed = time.monotonic(), 0
        for moment, buyer in sorted(zip(moments, buyers, strict=False), key=lambda pair: pair[0]):
            if not buyer.ended.wait(max(0.0, began + moment - time.monotonic())):
                buyer.signal()
                killed += buyer.wait() == -9
        with self.count.lock:
            self.count.kills += killed
        return killed

    async def verdict(self) -> tuple[int, int]:
        """How many were bought twice, and how many were lost."""
        count, twice, lost = self.count, 0, len(self.count.complaints)
        records = {record.request["prompt"]: record async for record in Ledger(self.storage).purchases()}
        jobs = Counter(job.prompt for job in self.simulator.jobs)
        images = Counter(image.prompt for image in self.simulator.images)
        for name, assets in count.assets.items():
            still, moves, night = f"{name} still", f"{name} moves", f"{name} at night"
            twice += max(0, images[still] - 1 - count.doubts[name])
            twice += sum(max(0, jobs[prompt] - 1) for prompt in (moves, night))
            for prompt, asset in zip((still, moves, night), assets, strict=True):
                if problem := await self._problem(records.get(prompt), asset, jobs[prompt]):
                    count.complaints.append(f"{prompt}: {problem}")
                    lost += 1
        known = {job_id for record in records.values() for job_id in record.job_ids}
        for job in self.simulator.jobs:
            if job.id not in known:
                count.complaints.append(f"{job.prompt}: the job {job.id} is on no record")
                lost += 1
        booked = await self._booked()
        at_least = len(self.simulator.jobs) + len(self.simulator.images)
        if not at_least <= booked <= 3 * count.flows + sum(count.doubts.values()):
            count.complaints.append(f"{booked} purchases are on the budget, and the provider made {at_least}")
            lost += 1
        return twice, lost

    async def _booked(self) -> int:
        """How many purchases the budget knows of; one killed right at its end may still be reserved."""
        stored = await self.storage.fetch(BUDGET.path(None))
        account = read(stored.data) if stored else Account()
        return round(account.spent_usd + account.reserved_usd)

    async def _problem(self, record: Record | None, asset: Asset, jobs: int) -> str | None:
        content = await asset.aread_bytes()
        if record is None or record.state != "done" or record.assets != (asset,):
            return f"is on record as {record and record.state}"
        if hashlib.sha256(content).hexdigest() != asset.sha256:
            return "what is stored is not what is on record"
        if asset.kind == "image":
            return None
        if not jobs or record.job is None:
            return "was never bought"
        job = next(job for job in self.simulator.jobs if job.id == record.job.id)
        return None if shoot(job.film) == content else "is not the video of its job"


def main() -> int:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--kills", type=int, default=200)
    asked.add_argument("--store", choices=["folder", "s3"], default="folder")
    asked.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = asked.parse_args()

    began = time.monotonic()
    with ExitStack() as stack:
        if options.store == "folder":
            storage = storage_at(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            from prefect_media.cli.demo_servers import BucketServer

            server = stack.enter_context(BucketServer())
            server.create("chaos")
            storage = storage_at(
                "s3://chaos/some/prefix",
                StorageOptions(
                    endpoint_url=server.url,
                    region="us-east-1",
                    access_key_id=server.KEY,
                    secret_access_key=server.SECRET,
                ),
            )
        simulator = stack.enter_context(Simulator(latency=0.3, image_latency=0.1))
        nursery = stack.enter_context(Nursery())
        chaos = Chaos(simulator, storage, nursery, options.kills, options.seed)
        chaos.run()
        twice, lost = asyncio.run(chaos.verdict())

    count = chaos.count
    for complaint in count.complaints:
        sys.stdout.write(f"{complaint}\n")
    sys.stdout.write(
        f"{count.kills} kills, {3 * count.flows} purchases ({count.flows} of images), {len(simulator.jobs)} jobs and "
        f"{len(simulator.images)} images at the provider, {sum(count.doubts.values())} doubts about images, "
        f"{twice} duplicates, {lost} lost ({options.store}, seed {options.seed}, {time.monotonic() - began:.0f} s)\n"
    )
    return 0 if twice == lost == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
