"""What a purchase, a look or a command asks of the bucket does not grow with the number of records in it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from buyer import clip, connection, terms
from prefect_media.flows.model_watch import model_watch
from prefect_media.tasks.cancellation import cancel_jobs_of
from watched_bucket import WatchedBuckets

from prefect_media import Budget
from prefect_media.catalog.prices import Quote
from prefect_media.cli.jobs import resume_purchases, show_purchase
from prefect_media.cli.jobs_list import list_purchases
from prefect_media.errors import BudgetExceeded
from prefect_media.ledger.accounts import PricedPurchase, read, reserve, settle
from prefect_media.ledger.ledger import Ledger
from prefect_media.ledger.record import Record
from prefect_media.ledger.records import json_of, path_of
from prefect_media.purchases.videos import buy_video
from prefect_media.runtime.read_ahead import AT_ONCE, read_ahead
from prefect_media.simulator import Fault, Simulator

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def buckets(s3):
    watched = WatchedBuckets(s3)
    yield watched
    watched.close()


@pytest.fixture
def simulator():
    with Simulator(latency=0.01, models=["boats-1"]) as simulator:
        yield simulator


async def grow(buckets, storage, count):
    """Put copies of a video on record beside it, as other purchases with prompts of their own."""
    record = await anext(Ledger(storage).purchases())
    bucket, _, prefix = storage.url.removeprefix("s3://").partition("/")

    def put(number):
        copy = record.model_copy(
            update={
                "key": f"{number:064x}",
                "request": {**record.request, "prompt": f"boat {number}"},
                "job": record.job and record.job.model_copy(update={"id": f"video_of_another_{number}"}),
            }
        )
        path = f"{prefix}/{path_of(copy.key)}".lstrip("/")
        buckets.client.put_object(Bucket=bucket, Key=path, Body=json_of(copy))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(count)))


async def lose_a_reply(buckets, simulator, storage):
    """Buy a video whose reply is lost, and return how many requests that took."""
    simulator.faults.append(Fault("POST", "/videos$", "lose_reply"))
    before = len(buckets.requests)
    asset = await buy_video(connection(simulator), clip(f"lost {len(simulator.jobs)}"), storage, terms())
    assert simulator.jobs[-1].id == asset.source.job_id
    return len(buckets.requests) - before


async def test_a_lost_reply_costs_the_same_in_a_larger_ledger(buckets, simulator):
    storage = buckets.store("grown").storage()
    await buy_video(connection(simulator), clip(), storage, terms())
    small = await lose_a_reply(buckets, simulator, storage)
    await grow(buckets, storage, 200)
    assert await lose_a_reply(buckets, simulator, storage) == small <= 60
    assert len(simulator.jobs) == 3


async def test_many_purchases_at_once_look_at_a_new_ledger_once(buckets, simulator):
    storage = buckets.store("new").storage()
    await asyncio.gather(
        *(buy_video(connection(simulator), clip(f"boat {number}"), storage, terms()) for number in range(8))
    )
    looks = [asked.method for asked in buckets.requests if asked.path.endswith("/by-prompt/complete.json")]
    assert looks == ["GET", "PUT"]


async def test_a_ledger_of_before_is_indexed_once(buckets, simulator):
    """Jobs of records without indexes are not adopted, and only the first lost reply reads all records."""
    storage = buckets.store("before").storage()
    first = await buy_video(connection(simulator), clip("lost 2"), storage, terms("of before"))
    await grow(buckets, storage, 50)
    await buy_video(connection(simulator), clip("lost 1", variant=1), storage, terms())
    for folder in ("by-job", "by-prompt"):
        async for path, _ in storage.list(f"ledger/{folder}/"):
            await storage.delete(path)
    once = await lose_a_reply(buckets, simulator, storage)
    again = await lose_a_reply(buckets, simulator, storage)
    assert once > 52 > again
    records = [record async for record in Ledger(storage).purchases() if record.request["prompt"].startswith("lost")]
    assert len(simulator.jobs) == len({record.job.id for record in records}) == 4
    assert first.source.job_id == next(record.job.id for record in records if record.scope == "of before")


async def test_one_purchase_is_shown_by_its_key(buckets, simulator, monkeypatch, capsys):
    monkeypatch.setattr("prefect_media.cli.jobs.storage_of_name", lambda _: of_name(storage))
    storage = buckets.store("shown").storage()
    await buy_video(connection(simulator), clip(), storage, terms())
    key = (await anext(Ledger(storage).purchases())).key
    await grow(buckets, storage, 1100)
    for name, most in ((key, 1), (key[:12], 3)):
        buckets.requests.clear()
        await asyncio.to_thread(show_purchase, name)
        assert json.loads(capsys.readouterr().out)["key"] == key
        assert len(buckets.requests) <= most


@pytest.mark.parametrize(("page", "lists"), [(1000, 1), (50, 1 + 16)], ids=["small", "large"])
async def test_the_last_purchases_are_listed_without_a_look_at_all(
    page, lists, buckets, simulator, monkeypatch, capsys
):
    """Those of a large ledger by their first letters, at once."""
    monkeypatch.setattr("prefect_media.ledger.records.PAGE", page)
    monkeypatch.setattr("prefect_media.cli.jobs_list.storage_of_name", lambda _: of_name(storage))
    storage = buckets.store("listed").storage()
    await buy_video(connection(simulator), clip("the first"), storage, terms())
    await grow(buckets, storage, 200)
    await asyncio.sleep(1.1)  # a bucket's list tells seconds
    await buy_video(connection(simulator), clip("the last"), storage, terms("mine"))
    buckets.requests.clear()
    assert await listed(capsys, limit=5) == 5
    assert len(buckets.requests) <= lists + 5 + AT_ONCE
    assert await listed(capsys) == 202
    assert await listed(capsys, limit=1) == await listed(capsys, scope="mine") == 1
    assert await listed(capsys, since=datetime.now() + timedelta(days=1)) == 0


async def listed(capsys, **options):
    """How many purchases `jobs list` prints as JSON; the last to change is always among them."""
    await asyncio.to_thread(partial(list_purchases, as_json=True, **options))
    records = json.loads(capsys.readouterr().out)
    assert not records or records[-1]["request"]["prompt"] == "the last"
    return len(records)


async def of_name(storage):
    return storage


@pytest.mark.parametrize("reader", ["resume", "cancel_remote_jobs", "model_watch"])
async def test_records_are_read_many_at_once_and_once_each(reader, buckets, simulator, monkeypatch):
    storage, count = (store := buckets.store("read")).storage(), 60
    await buy_video(connection(simulator), clip("of a run"), storage, terms(flow_run_id="a run"))
    await grow(buckets, storage, count)
    bucket, _, prefix = storage.url.removeprefix("s3://").partition("/")
    for number in range(count):
        buckets.client.put_object(Bucket=bucket, Key=f"{prefix}/ledger/by-run/a run/{number:064x}", Body=b"{}")
    reading, most, lock = 0, 0, threading.Lock()

    def count_in(asked):
        nonlocal reading, most
        with lock:
            reading += 1
            most = max(most, reading)
        time.sleep(0.05)

    def count_out(asked):
        nonlocal reading
        with lock:
            reading -= 1

    buckets.refuse, buckets.meddle = count_in, count_out
    buckets.requests.clear()
    match reader:
        case "resume":
            monkeypatch.setattr("prefect_media.cli.jobs.storage_of_name", lambda _: of_name(storage))
            await asyncio.to_thread(resume_purchases)
        case "cancel_remote_jobs":
            assert await cancel_jobs_of("a run", simulator.credentials, store) == []
        case _:
            assert await model_watch.fn(simulator.credentials, store=store) == []
    records = [asked.path for asked in buckets.requests if "/ledger/purchases/" in asked.path]
    assert len(records) == len(set(records)) == count + 1
    assert len(buckets.requests) <= count + 1 + 3
    assert AT_ONCE // 4 < most <= AT_ONCE, "many, though a busy machine sends few of them within the same 50 ms"


PROCESSES, PURCHASES = 16, 25


async def test_a_budget_of_many_processes_takes_few_writes_and_is_never_passed(buckets):
    """Each thread stands for a process: it has an event loop of its own, so nothing is combined across them."""
    store = buckets.store("budget")
    record = Record(
        key="", scope="test", kind="video", operation="generate", account={}, fingerprint="", request={},
        created_at=datetime.now(UTC), updated_at=datetime.now(UTC), state="done", cost_usd=1.0,
    )  # fmt: skip
    budget = Budget(usd=PROCESSES * PURCHASES - 100, period="forever")
    storage = store.storage()

    async def buy(number):
        one = record.model_copy(update={"key": f"{number}", "budget": budget.path(None)})
        try:
            await reserve(storage, budget, [PricedPurchase(one, lambda: Quote(1.0, "list"))], run_id=None)
        except BudgetExceeded:
            return 1
        await asyncio.sleep(0.2)
        await settle(storage, one)
        return 2

    async def process(first):
        return sum([changes async for changes in read_ahead(buy, range(first, first + PURCHASES), at_once=5)])

    with ThreadPoolExecutor(PROCESSES) as pool:
        starts = range(0, PROCESSES * PURCHASES, PURCHASES)
        changes = sum(pool.map(lambda first: asyncio.run(process(first)), starts))
    found = await storage.fetch(budget.path(None))
    account = read(found.data)
    assert account.purchases == account.spent_usd == budget.usd and not account.reserved
    assert changes == 2 * PROCESSES * PURCHASES - 100
    assert len(buckets.asked("PUT")) <= 1.5 * changes
