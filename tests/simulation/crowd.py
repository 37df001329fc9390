"""Many processes that share one budget, on virtual time: how long reservations take, and how often they collide.

    cd tests && python -m simulation.crowd --processes 128 --purchases 5

The store answers after about as long as a bucket nearby; computing takes no time. The same seed is the same crowd.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from random import Random

from prefect_media.budget import Budget
from prefect_media.catalog.prices import Quote
from prefect_media.errors import BudgetExceeded, StoreError
from prefect_media.ledger.accounts import PricedPurchase, read, reserve, settle
from prefect_media.ledger.record import Record
from prefect_media.runtime import clock, per_loop
from prefect_media.storage.store import Storage

from .alone import say
from .alone import settle as settle_in
from .loop import Clocks, Machine, Process, VirtualLoop
from .surroundings import ByProcess

LATENCY = 0.02
"""Seconds between a request to the store and its answer."""

AT_ONCE, SECONDS = 5, 0.2
"""Purchases that a process makes at the same time, and how long one takes."""


@dataclass
class Crowd:
    """What came of it.

    Attributes:
        slowest: Seconds that the slowest reservation took.
        writes: Requests that write the account, for each change of it.
        given_up: Reservations and settlements that failed because the account changed before each try to write it.
        refused: Purchases that the budget had no room for.
        spent: USD on the account in the end.
        reserved: USD still reserved on it.
    """

    slowest: float = 0.0
    writes: float = 0.0
    given_up: int = 0
    refused: int = 0
    spent: float = 0.0
    reserved: float = 0.0


class OneAccount:
    """A place in which there is one object, for compare-and-swap by one process; `objects` are shared by all."""

    proved = True

    def __init__(self, objects: dict[str, tuple[bytes, str]], counts: Counter[str], dice: Random) -> None:
        self._objects, self._counts, self._dice = objects, counts, dice

    async def _pass(self) -> None:
        await asyncio.sleep(LATENCY / 2 * self._dice.uniform(0.8, 1.2))

    async def fetch(self, key: str) -> tuple[bytes, str] | None:
        await self._pass()
        found = self._objects.get(key)
        await self._pass()
        return found

    async def create(self, key: str, data: bytes) -> str | None:
        return await self._write(key, data, None)

    async def replace(self, key: str, data: bytes, version: str) -> str | None:
        return await self._write(key, data, version)

    async def _write(self, key: str, data: bytes, version: str | None) -> str | None:
        self._counts["writes"] += 1
        await self._pass()
        found = self._objects.get(key)
        new = None
        if (found and found[1]) == version:
            new = str(self._counts["writes"])
            self._objects[key] = bytes(data), new
        await self._pass()
        return new


def gather(processes: int, purchases: int, seed: int) -> Crowd:
    """Let so many processes make so many purchases each, of 1 USD, with a budget for three of four."""
    loop, dice = VirtualLoop(), Random(seed)
    objects: dict[str, tuple[bytes, str]] = {}
    counts: Counter[str] = Counter()
    crowd, changes = Crowd(), 0
    budget = Budget(usd=processes * purchases * 3 // 4, period="forever")

    async def buy(storage: Storage, key: str) -> None:
        nonlocal changes
        now = datetime(2026, 6, 1, tzinfo=UTC)
        record = Record(
            key=key, scope="crowd", kind="video", operation="generate", account={}, fingerprint="", request={},
            created_at=now, updated_at=now, state="done", cost_usd=1.0, budget=budget.path(None),
        )  # fmt: skip
        began = loop.moment
        changes += 1
        try:
            await reserve(storage, budget, [PricedPurchase(record, lambda: Quote(1.0, "list"))], run_id=None)
        except BudgetExceeded:
            crowd.refused += 1
            return
        except StoreError:
            crowd.given_up += 1
            return
        finally:
            crowd.slowest = max(crowd.slowest, loop.moment - began)
        await asyncio.sleep(SECONDS)
        changes += 1
        try:
            await settle(storage, record)
        except StoreError:
            crowd.given_up += 1

    async def work(process: Process) -> None:
        storage = Storage("s3://crowd")
        storage._opened = OneAccount(objects, counts, dice)
        keys = iter(f"{process.name}-{number}" for number in range(purchases))

        async def one_after_another() -> None:
            for key in keys:
                await buy(storage, key)

        await asyncio.sleep(0.3 * dice.random())
        await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))

    source, by_loop = clock.source, per_loop._by_loop
    clock.source, per_loop._by_loop = Clocks(loop, dice), ByProcess()
    workers: list[asyncio.Task[None]] = []
    try:
        for number in range(processes):
            process = Process(f"p{number}", Machine(f"m{number}", 0.0))
            workers.append(process.context.run(loop.create_task, work(process)))
        ended = loop.run(until=600.0, most_steps=50_000_000)
        assert ended == "idle", ended
        for worker in workers:
            worker.result()
    finally:
        clock.source, per_loop._by_loop = source, by_loop
    account = read(objects[budget.path(None)][0])
    crowd.writes = counts["writes"] / changes
    crowd.spent, crowd.reserved = account.spent_usd, account.reserved_usd
    return crowd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--purchases", type=int, default=25, help="of each process")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    say(json.dumps(asdict(gather(given.processes, given.purchases, given.seed))))


if __name__ == "__main__":
    settle_in("simulation.crowd")
    main()
