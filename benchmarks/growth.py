"""What grows with the number of purchases, and what does not, on a bucket that takes 20 ms to answer.

    python benchmarks/growth.py                            with 1,000, 10,000 and 50,000 purchases on the ledger
    python benchmarks/growth.py --records 1000 --latency 0
    python benchmarks/growth.py --write docs/performance.md

The purchases are copies of one that was made before, put into the bucket (s3_sink.py) by itself. Each command of
`prefect-media` is a process of its own, whose memory, CPU and requests are counted; the budget is shared by sixteen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

from page import say, table, write
from servers import Server

from prefect_media.assets import Asset
from prefect_media.budget import Budget
from prefect_media.catalog.prices import Quote
from prefect_media.errors import BudgetExceeded
from prefect_media.ledger.accounts import PricedPurchase, read, reserve, settle
from prefect_media.ledger.ledger import Ledger
from prefect_media.ledger.record import Record
from prefect_media.providers.connection import Connection
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import VideoRequest
from prefect_media.runtime.hashing import sha256_of
from prefect_media.runtime.read_ahead import read_ahead
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import Storage, storage_at

STORE = "s3://bench"
OPTIONS = PurchaseOptions(scope="bench", timeout=60.0)
SIZES = (1_000, 10_000, 50_000)
PROCESSES, PURCHASES, AT_ONCE = 16, 25, 5
PUBLISHED = 1_000
BEGIN, END = "<!-- growth: begin -->", "<!-- growth: end -->"

LAUNCHER = """
import json, os, sys, time
began, output = time.perf_counter(), os.open(os.devnull, os.O_WRONLY)
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, output, 1)])
_, status, used = os.wait4(pid, 0)
print(json.dumps([time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6, status]))
"""
"""A process too small to be in the memory that is counted for the one it starts."""


@dataclass(frozen=True)
class Cost:
    """What something took: seconds, CPU seconds, the peak of memory in MB, and requests to the bucket."""

    wall: float
    requests: int
    cpu: float = 0.0
    peak: float = 0.0

    def __str__(self) -> str:
        process = f", {self.cpu:.1f} s of CPU, {self.peak:.0f} MB" if self.peak else ""
        return f"{self.wall:.1f} s, {self.requests:,} requests{process}"


class Bucket:
    """The bucket, and what it was asked."""

    def __init__(self, server: Server) -> None:
        self.url = server.url
        os.environ |= {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }

    @property
    def storage(self) -> Storage:
        return storage_at(STORE, StorageOptions(endpoint_url=self.url))

    def requests(self) -> dict[str, int]:
        """Requests so far, by kind."""
        with urllib.request.urlopen(f"{self.url}/_requests", timeout=60) as answer:
            return json.load(answer)

    def copy(self, source: str, to: str, count: int) -> list[str]:
        """Put many copies of an object, each with another hash for "HASH", and return their names."""
        query = urlencode({"of": f"bench/{source}", "to": f"bench/{to}", "count": count})
        urllib.request.urlopen(f"{self.url}/_copies?{query}", timeout=120).close()
        return [to.replace("HASH", sha256_of(str(number))) for number in range(count)]

    def command(self, *arguments: str) -> Cost:
        """Run `prefect-media` with these arguments, and the bucket as its store."""
        program = str(Path(sys.executable).with_name("prefect-media"))
        before = sum(self.requests().values())
        told = subprocess.check_output(
            [sys.executable, "-ISc", LAUNCHER, program, *arguments, "--store", STORE], text=True
        )
        wall, cpu, peak, status = json.loads(told)
        if status:
            raise SystemExit(f"prefect-media {' '.join(arguments)} failed")
        return Cost(wall, sum(self.requests().values()) - before, cpu, peak)


@contextmanager
def bucket(latency: float) -> Generator[Bucket]:
    with Server("s3_sink.py", "--latency", str(latency)) as server:
        yield Bucket(server)


def clip(prompt: str) -> VideoRequest:
    return VideoRequest(prompt=prompt, model="boats-1", seconds=1, size="64x64")


async def fill(sink: Bucket, storage: Storage, connection: Connection, count: int) -> str:
    """Put purchases on the ledger, and return the key of the one that was made."""
    await buy_video(connection, clip("a paper boat HASH"), storage, OPTIONS)
    record = await anext(Ledger(storage).purchases())
    assert record.job
    copied = record.model_copy(
        update={"key": "HASH", "job": record.job.model_copy(update={"id": "video_HASH", "purchase": "HASH"})}
    )
    await storage.create("template.json", copied.model_dump_json(indent=2).encode())
    for folder in ("purchases", "by-job", "by-prompt/of-another"):
        sink.copy("template.json", f"ledger/{folder}/HASH.json", count)
    return record.key


async def lose_a_reply(sink: Bucket, simulator: Simulator, connection: Connection, storage: Storage) -> Cost:
    """Buy a video whose reply is lost."""
    simulator.faults.append(Fault("POST", "/videos$", "lose_reply"))
    began, before = time.perf_counter(), sum(sink.requests().values())
    await buy_video(connection, clip("a lost boat"), storage, OPTIONS)
    assert len(simulator.jobs) == 2, "bought twice"
    return Cost(time.perf_counter() - began, sum(sink.requests().values()) - before)


async def grow(count: int, latency: float) -> dict[str, Cost]:
    """What a lost reply and the commands take with so many purchases on the ledger."""
    with bucket(latency) as sink, Simulator(latency=0.01) as simulator:
        storage = sink.storage
        connection = Connection(provider="openai", base_url=simulator.url, api_key="key")
        key = await fill(sink, storage, connection, count)
        return {
            "a purchase whose reply was lost": await lose_a_reply(sink, simulator, connection, storage),
            "`jobs list --limit 50`": sink.command("jobs", "list", "--limit", "50"),
            "`jobs list --json`": sink.command("jobs", "list", "--json"),
            "`jobs show KEY`": sink.command("jobs", "show", key),
            "`jobs show`, 12 letters of it": sink.command("jobs", "show", key[:12]),
            "`jobs resume` with nothing to do": sink.command("jobs", "resume"),
        }


def budget_of_all() -> Budget:
    return Budget(usd=PROCESSES * PURCHASES - 100, period="forever", name="bench")


async def use_budget(first: int) -> None:
    """What each of many processes does with the budget; prints the changes that it made and its slowest reservation."""
    storage, budget = storage_at(STORE), budget_of_all()
    now = datetime.now(UTC)
    slowest = 0.0
    await storage.fetch("anything")  # connected
    say("ready")
    sys.stdin.readline()

    async def buy(number: int) -> int:
        nonlocal slowest
        record = Record(
            key=f"{number}", scope="bench", kind="video", operation="generate", account={}, fingerprint="",
            request={}, created_at=now, updated_at=now, state="done", cost_usd=1.0, budget=budget.path(None),
        )  # fmt: skip
        began = time.perf_counter()
        try:
            await reserve(storage, budget, [PricedPurchase(record, lambda: Quote(1.0, "list"))], run_id=None)
        except BudgetExceeded:
            return 1
        finally:
            slowest = max(slowest, time.perf_counter() - began)
        await asyncio.sleep(0.2)
        await settle(storage, record)
        return 2

    changes = [each async for each in read_ahead(buy, range(first, first + PURCHASES), at_once=AT_ONCE)]
    say(json.dumps([sum(changes), slowest]))


def share_a_budget(latency: float) -> dict[str, str]:
    """Many processes, and a budget that is too small for all of what they buy."""
    with bucket(latency) as sink:
        starts = range(0, PROCESSES * PURCHASES, PURCHASES)
        command, pipe = [sys.executable, __file__, "--spend"], subprocess.PIPE
        workers = [subprocess.Popen([*command, str(first)], stdin=pipe, stdout=pipe, text=True) for first in starts]
        for worker in workers:  # none is to wait because others still import
            assert worker.stdout and worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = [json.loads(worker.communicate(timeout=600)[0]) for worker in workers]
        changes, slowest = sum(each[0] for each in told), max(each[1] for each in told)
        stored = asyncio.run(sink.storage.fetch(budget_of_all().path(None)))
        assert stored
        account = read(stored.data)
        assert account.spent_usd == account.purchases == budget_of_all().usd, "the limit was missed"
        assert not account.reserved
        return {
            "writes for each change": f"{sink.requests()['put'] / changes:.2f}",
            "slowest reservation": f"{slowest:.2f} s",
            "spent, of a limit of": f"{account.spent_usd:.0f} of {budget_of_all().usd:.0f} USD",
        }


async def publish_many(latency: float) -> Cost:
    """Publish assets from one place of the bucket to another."""
    from prefect_media.blocks import MediaStore
    from prefect_media.tasks import apublish

    with bucket(latency) as sink, Simulator(latency=0.01) as simulator:
        storage = sink.storage
        connection = Connection(provider="openai", base_url=simulator.url, api_key="key")
        one = await buy_video(connection, clip("a paper boat"), storage, OPTIONS)
        names = sink.copy(storage.key_of(one.uri) or "", "media/HASH.mp4", PUBLISHED)
        assets: list[Asset] = [one.model_copy(update={"uri": storage.uri(name)}) for name in names]
        began, before = time.perf_counter(), sum(sink.requests().values())
        manifest = await apublish.fn(assets, MediaStore(url=STORE, endpoint_url=sink.url), prefix="published")
        cost = Cost(time.perf_counter() - began, sum(sink.requests().values()) - before)
        assert len(manifest.assets) == PUBLISHED
        return cost


def report(grown: dict[int, dict[str, Cost]], budget: dict[str, str], published: Cost, latency: float) -> str:
    heads = ["with so many purchases", *(f"{count:,}" for count in grown)]
    names = next(iter(grown.values()))
    each = published.requests / PUBLISHED
    parts = [
        f"{1000 * latency:.0f} ms before each answer of the bucket.",
        table(heads, ([name, *(str(costs[name]) for costs in grown.values())] for name in names)),
        table(
            (f"a budget of {PROCESSES} processes with {PURCHASES} purchases each, {AT_ONCE} at a time", ""),
            budget.items(),
        ),
        f"`publish` of {PUBLISHED:,} assets in one bucket: {published}, {each:.2f} for each.",
    ]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, action="append", help="may be given several times")
    parser.add_argument("--latency", type=float, default=0.02, help="seconds before each answer of the bucket")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    parser.add_argument("--spend", type=int, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.spend is not None:
        asyncio.run(use_budget(wanted.spend))
        return
    grown = {count: asyncio.run(grow(count, wanted.latency)) for count in wanted.records or SIZES}
    budget = share_a_budget(wanted.latency)
    text = report(grown, budget, asyncio.run(publish_many(wanted.latency)), wanted.latency)
    say(text)
    if wanted.write:
        write(wanted.write, text, BEGIN, END)


if __name__ == "__main__":
    main()
