"""What may be spent: set aside before it is sent, booked when it is done, kept to by everybody at once."""

import asyncio
import json
import signal
from datetime import UTC, datetime

import pytest
from buyer import connection, plan, terms
from faulty_server import FaultyBuckets
from prefect import flow
from prefect_media.tasks import (
    agather,
    agenerate_images,
    agenerate_video,
    asubmit_video,
    fetch_image_batch,
    gather,
    generate_video,
    submit_image_batch,
)
from prefect_media.tasks.video_steps import afetch_video
from pydantic import ValidationError

from prefect_media import (
    Budget,
    ImageEditRequest,
    ImageRequest,
    MediaStore,
    RemixRequest,
    VideoExtendRequest,
    VideoRequest,
)
from prefect_media.budget import FOLDER
from prefect_media.catalog.prices import estimate, quote
from prefect_media.cli.budgets import list_budgets
from prefect_media.errors import BudgetExceeded, ContentRejected, InvalidRequest, JobFailed, StoreError
from prefect_media.ledger.accounts import Account, read
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases import batch_fetch as batch_results
from prefect_media.purchases.batch_submit import submit
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video, order_video
from prefect_media.settings import settings
from prefect_media.simulator import Fault, Simulator

EACH = 0.4
"""USD for a video of 4 s, and for an image that no formula is known of."""


@pytest.fixture
def simulator():
    with Simulator(latency=0.05) as simulator:
        yield simulator


@pytest.fixture
def storage(store):
    return store.storage()


@pytest.fixture
def folder(tmp_path):
    return MediaStore(url=str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def prices(tmp_path, configure, short_pauses):
    """0.10 USD a second for the model that films."""
    path = tmp_path / "prices.toml"
    path.write_text('[prices."boats-1"]\nper_second = 0.1\n')
    configure(prices=path)
    return path


def clip(prompt="a paper boat", **fields):
    return VideoRequest(**{"prompt": prompt, "model": "boats-1", "seconds": 4, "size": "64x64", **fields})


def still(prompt="a paper boat", **fields):
    return ImageRequest(**{"prompt": prompt, "model": "gpt-image-2", "size": "1024x1024", "quality": "low", **fields})


async def account(storage, budget, run=None):
    found = await storage.fetch(budget.path(run))
    return read(found.data) if found else Account()


# The budget itself.


@pytest.mark.parametrize(
    "fields",
    [
        {"usd": -1},
        {"usd": float("nan")},
        {"usd": float("inf")},
        {},
        {"usd": 1, "period": "week"},
        {"usd": 1, "name": "../ads"},
        {"usd": 1, "name": ""},
        {"usd": 1, "unpriced_usd": -0.1},
        {"usd": 1, "limit": 2},
    ],
)
def test_budgets_that_make_no_sense(fields):
    with pytest.raises(ValidationError):
        Budget(**fields)


def test_each_period_has_an_account_of_its_own():
    new_year = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    paths = [
        Budget(usd=1, name="ads", period=period).path("1234", new_year) for period in ("run", "day", "month", "forever")
    ]
    assert [path.removeprefix(f"{FOLDER}ads/") for path in paths] == [
        "run-1234.json",
        "2026-12-31.json",
        "2026-12.json",
        "forever.json",
    ]
    outside = Budget(usd=1).path(None)
    assert outside == Budget(usd=2).path(None)
    assert "process-" in outside


def test_amounts_add_up_to_the_last_cent():
    """0.1 + 0.2 is not more than 0.3."""
    account = Account()
    for key, usd in {"a": 0.1, "b": 0.2}.items():
        account = account.reserve(key, usd, attempt=1, paid_before=False, limit=0.3)
    assert account.reserved_usd == 0.3
    for key in "ab":
        account = account.settle(key, bought=True)
    assert (account.spent_usd, account.purchases, account.reserved) == (0.3, 2, {})


def test_an_earlier_attempt_that_may_have_been_paid_stays_counted():
    account = Account().reserve("a", 1, attempt=1, paid_before=False, limit=5)
    known = account.reserve("a", 1, attempt=2, paid_before=False, limit=5)
    assert known.reserved_usd == 1
    doubtful = account.reserve("a", 1.5, attempt=2, paid_before=True, limit=5)
    assert doubtful.reserved_usd == 2.5
    assert doubtful.reserve("a", 1.5, attempt=2, paid_before=True, limit=5) is doubtful
    assert doubtful.settle("a", bought=True, usd=1.2).spent_usd == 2.2
    assert doubtful.settle("a", bought=False).spent_usd == 1
    with pytest.raises(BudgetExceeded, match=r"would cost 1\.50 USD"):
        account.reserve("a", 1.5, attempt=2, paid_before=True, limit=2.4)


# Purchases.


async def test_what_would_pass_it_is_not_sent(simulator, storage):
    budget = Budget(usd=1)
    line = connection(simulator)
    for prompt in ("one", "two"):
        await buy_video(line, clip(prompt), storage, terms(budget=budget))
    with pytest.raises(BudgetExceeded) as refused:
        await buy_video(line, clip("three"), storage, terms(budget=budget))
    error = refused.value
    assert len(simulator.jobs) == 2
    assert (error.limit_usd, error.spent_usd, error.reserved_usd, error.needed_usd) == (1, 0.8, 0, EACH)
    assert not error.transient
    assert str(error).startswith(
        "this would cost 0.40 USD, and of the budget of 1.00 USD 0.80 USD are spent and 0.00 USD set aside"
    )
    # shorter, it fits; and with a larger budget the refused one is simply bought
    await buy_video(line, clip("three", seconds=2), storage, terms(budget=budget))
    await buy_video(line, clip("three"), storage, terms(budget=Budget(usd=2)))
    assert await account(storage, budget) == Account(spent_usd=1.4, purchases=4)
    assert len(simulator.jobs) == 4


async def test_what_was_bought_before_costs_nothing(simulator, storage):
    line = connection(simulator)
    asset = await buy_video(line, clip(), storage, terms())
    image = await buy_images(line, still(), storage, terms())
    nothing = terms(budget=Budget(usd=0))
    assert await buy_video(line, clip(), storage, nothing) == asset
    assert await buy_images(line, still(), storage, nothing) == image
    with pytest.raises(BudgetExceeded):
        await buy_images(line, still("another"), storage, nothing)
    assert len(simulator.jobs) == len(simulator.images) == 1
    assert await account(storage, nothing.budget) == Account()


async def test_what_it_did_cost_takes_the_place_of_the_estimate(simulator, storage):
    budget = Budget(usd=10, unpriced_usd=EACH)
    line = connection(simulator)
    [image] = await buy_images(line, still(), storage, terms(budget=budget))
    [edited] = await buy_images(
        line, ImageEditRequest(prompt="x", model="gpt-image-2", images=[image]), storage, terms(budget=budget)
    )
    paid = image.source.cost_usd + edited.source.cost_usd
    assert 0 < paid < EACH
    assert (await account(storage, budget)).spent_usd == pytest.approx(paid)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (still(model="gpt-image-2.6-flare"), "no price per image is published"),
        (still(quality=None), "left to the model"),
        (clip(seconds=None), "it depends on the seconds"),
        (clip(model="other-boats"), "no price of other-boats is known"),
    ],
)
async def test_without_a_price_a_budget_can_not_be_kept(request_, why, simulator, storage):
    buy = buy_video if isinstance(request_, VideoRequest) else buy_images
    with pytest.raises(BudgetExceeded, match=f"{why}.*nothing was sent.*unpriced_usd=.*PREFECT_MEDIA_PRICES"):
        await buy(connection(simulator, api_key="sk-secret"), request_, storage, terms(budget=Budget(usd=100)))
    assert (simulator.jobs, simulator.images) == ([], [])
    budget = Budget(usd=1, unpriced_usd=0.7)
    await buy(connection(simulator), request_, storage, terms(budget=budget))
    with pytest.raises(BudgetExceeded, match=r"would cost 0\.70 USD"):
        await buy(
            connection(simulator),
            request_.model_copy(update={"variant": 1}),
            storage,
            terms(budget=Budget(usd=0.69, unpriced_usd=0.7)),
        )
    assert len(simulator.jobs) + len(simulator.images) == 1


async def test_variations_cost_what_their_video_does(simulator, storage):
    line, budget = connection(simulator), Budget(usd=1.1)
    asset = await buy_video(line, clip(), storage, terms(budget=budget))
    assert quote(RemixRequest(video=asset, prompt="at night"), "other").usd == EACH
    assert quote(VideoExtendRequest(video=asset, prompt="on", seconds=4), "other").usd == 2 * EACH
    assert quote(RemixRequest(video="video_1", prompt="at night"), "other").usd is None
    await buy_video(line, RemixRequest(video=asset, prompt="at night"), storage, terms(budget=budget))
    with pytest.raises(BudgetExceeded):
        await buy_video(line, RemixRequest(video=asset, prompt="at noon"), storage, terms(budget=budget))
    assert (await account(storage, budget)).spent_usd == 2 * EACH


async def test_all_at_once_they_do_not_pass_it(simulator, storage):
    """Forty want 0.40 each of 4.00, at the same moment: ten get it."""
    budget = Budget(usd=4)
    line = connection(simulator)
    made = await asyncio.gather(
        *(buy_video(line, clip(f"boat {number}"), storage, terms(budget=budget)) for number in range(40)),
        return_exceptions=True,
    )
    assert len([each for each in made if isinstance(each, BudgetExceeded)]) == 30
    assert len(simulator.jobs) == 10
    assert await account(storage, budget) == Account(spent_usd=4, purchases=10)


async def test_several_processes_keep_to_it_together(simulator, storage, nursery):
    budget = Budget(usd=2, name="ads", period="forever")
    orders = [
        plan(
            simulator,
            storage,
            *(clip(f"boat {process} {number}") for number in range(3)),
            budget=budget.model_dump(),
            prices=settings().prices,
        )
        for process in range(4)
    ]
    buyers = [nursery.start(order) for order in orders]
    codes = [await asyncio.to_thread(buyer.wait) for buyer in buyers]
    assert all(code in (0, 3) for code in codes)
    assert len(simulator.jobs) == 5
    assert await account(storage, budget) == Account(spent_usd=2, purchases=5)


# When something goes wrong.


async def test_what_was_not_taken_is_given_back(simulator, storage):
    budget = Budget(usd=EACH)
    simulator.faults.append(Fault("POST", "/videos$", "answer", status=400, body={"error": {"message": "no"}}))
    with pytest.raises(InvalidRequest):
        await buy_video(connection(simulator), clip(), storage, terms(budget=budget))
    assert await account(storage, budget) == Account()
    await buy_video(connection(simulator), clip("another"), storage, terms(budget=budget))
    assert (await account(storage, budget)).spent_usd == EACH


async def test_a_refused_prompt_is_given_back(simulator, storage):
    budget = Budget(usd=EACH)
    with pytest.raises(ContentRejected):
        await buy_images(connection(simulator), still("forbidden"), storage, terms(budget=budget))
    assert await account(storage, budget) == Account()


@pytest.mark.parametrize("prompt", ["explode", "forbidden"])
async def test_a_job_that_failed_counts_as_nobody_says_that_it_was_not_billed(prompt, simulator, storage):
    budget = Budget(usd=1)
    with pytest.raises((JobFailed, ContentRejected)):
        await buy_video(connection(simulator), clip(prompt), storage, terms(budget=budget))
    assert await account(storage, budget) == Account(spent_usd=EACH, purchases=1)


@pytest.mark.parametrize(("cost", "spent"), [(0, 0), (0.3, EACH)])
async def test_a_job_that_failed_where_the_provider_says_what_it_cost(cost, spent, storage):
    budget = Budget(usd=1, unpriced_usd=EACH)
    with Simulator(latency=0.05, profile="openrouter") as simulator:
        taken = {"id": "x", "status": "pending"}
        simulator.faults.append(Fault("POST", "/videos$", "answer_after", status=202, body=taken))
        failed = {"id": "x", "status": "failed", "error": "no", "usage": {"cost": cost}}
        simulator.faults.append(Fault("GET", "/videos/[^/]+$", "answer", None, status=200, body=failed))
        with pytest.raises(JobFailed) as failure:
            line = connection(simulator, dialect="openrouter")
            await buy_video(line, clip(model="other-boats", size="1280x720"), storage, terms(budget=budget))
    assert failure.value.billed is bool(cost)
    assert (await account(storage, budget)).spent_usd == spent


async def test_a_store_that_can_not_keep_the_account_stops_the_purchase(simulator, storage):
    budget = Budget(usd=10)
    await storage.put(budget.path(None), b"not json", content_type="application/json")
    made = await asyncio.gather(
        *(buy_video(connection(simulator), clip(f"{n}"), storage, terms(budget=budget)) for n in range(5)),
        return_exceptions=True,
    )
    assert {type(each) for each in made} == {StoreError}
    assert "can't be read" in str(made[0])
    assert simulator.jobs == []
    await storage.delete(budget.path(None))
    await buy_video(connection(simulator), clip("1"), storage, terms(budget=budget))


async def test_a_cancelled_wait_keeps_nobody_else_from_the_account(simulator, storage):
    """Whoever writes the account for others may be cancelled in the middle of it."""
    budget = Budget(usd=10)

    def order(number):
        return asyncio.create_task(buy_video(connection(simulator), clip(f"{number}"), storage, terms(budget=budget)))

    for steps in range(0, 60, 3):
        tasks = [order(number) for number in range(3)]
        for _ in range(steps):
            await asyncio.sleep(0)
        tasks[0].cancel()
        made = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        assert not [each for each in made[1:] if isinstance(each, BaseException)]


@pytest.mark.parametrize("point", ["before the request", "after the reply", "while polling", "after the store"])
async def test_a_process_that_was_killed_has_spent_it_once(point, simulator, storage, nursery):
    simulator.latency = 0.5
    budget = Budget(usd=EACH, period="forever")
    order = plan(simulator, storage, clip(), budget=budget.model_dump(), prices=settings().prices)
    assert nursery.start({**order, "die": point}).wait() == -signal.SIGKILL
    kept = await account(storage, budget)
    assert (kept.spent_usd, kept.reserved_usd) == (0, EACH)
    [asset] = await asyncio.to_thread(lambda: nursery.start(order).assets)
    assert await account(storage, budget) == Account(spent_usd=EACH, purchases=1)
    assert asset.source.cost_usd == EACH
    assert len(simulator.jobs) == 1


async def test_images_that_may_be_paid_twice_are_counted_twice(simulator, storage, nursery):
    budget = Budget(usd=1, period="forever")
    order = plan(simulator, storage, still(), budget=budget.model_dump(), resubmit_images=True)
    assert nursery.start({**order, "die": "after the images"}).wait() == -signal.SIGKILL
    kept = (await account(storage, budget)).reserved_usd
    [asset] = await asyncio.to_thread(lambda: nursery.start(order).assets)
    assert len(simulator.images) == 2
    assert (await account(storage, budget)).spent_usd == pytest.approx(kept + asset.source.cost_usd)


# In flows.


@pytest.mark.usefixtures("prefect")
async def test_in_a_flow_it_is_for_the_run_and_its_subflows(simulator, folder):
    @flow
    async def inner(prompt):
        return await agenerate_video(simulator.credentials, clip(prompt), store=folder, budget=0.8)

    @flow
    async def outer():
        await agenerate_video(simulator.credentials, clip("one"), store=folder, budget=0.8)
        await inner("two")
        with pytest.raises(BudgetExceeded):
            await agenerate_images(simulator.credentials, still(), store=folder, budget=Budget(usd=0.8))
        with pytest.raises(InvalidRequest, match="budget='much' is not possible"):
            await agenerate_images(simulator.credentials, still(), store=folder, budget="much")

    await outer()
    await outer()  # another run has a budget of its own
    assert len(simulator.jobs) == 4
    assert simulator.images == []
    storage = folder.storage()
    accounts = [read((await storage.fetch(path)).data) async for path, _ in storage.list(FOLDER)]
    assert [each.spent_usd for each in accounts] == [0.8, 0.8]


@pytest.mark.usefixtures("prefect")
@pytest.mark.parametrize("sync", [True, False], ids=["gather", "agather"])
def test_many_at_once_share_it(sync, simulator, folder):
    shots = [clip(f"boat {number}") for number in range(6)]
    options = {"store": folder, "budget": 1.2, "ordered": True, "concurrency": 2}

    @flow
    def shoot():
        return list(gather(simulator.credentials, shots, **options))

    @flow
    async def ashoot():
        return [made async for made in agather(simulator.credentials, shots, **options)]

    made = shoot() if sync else asyncio.run(ashoot())
    assert len([each for each in made if each.assets]) == 3
    assert {type(each.error) for each in made if each.error} == {BudgetExceeded}
    assert len(simulator.jobs) == 3


@pytest.mark.usefixtures("prefect")
def test_an_order_sets_it_aside_and_its_fetching_books_it(simulator, folder):
    budget = Budget(usd=EACH, period="month")

    @flow
    async def order():
        job = await asubmit_video(simulator.credentials, clip(), store=folder, scope="x", budget=budget)
        return job, await account(folder.storage(), budget)

    @flow
    async def fetch(job):
        await afetch_video(simulator.credentials, job, store=folder)
        return await account(folder.storage(), budget)

    @flow
    def more():
        with pytest.raises(BudgetExceeded):
            generate_video(simulator.credentials, clip("another"), store=folder, budget=budget)

    job, kept = asyncio.run(order())
    assert (kept.spent_usd, kept.reserved_usd) == (0, EACH)
    more()
    assert asyncio.run(fetch(job)) == Account(spent_usd=EACH, purchases=1)


async def test_orders_of_the_same_moment_are_written_together(simulator, folder):
    storage, budget = folder.storage(), Budget(usd=1000)
    ledger, written = Ledger(storage), []
    replace = storage.replace

    async def counted(key, data, version):
        written.append(key)
        return await replace(key, data, version)

    storage.replace = counted
    await asyncio.gather(
        *(order_video(connection(simulator), clip(f"{n}"), ledger, terms(budget=budget)) for n in range(50))
    )
    assert len((await account(storage, budget)).reserved) == 50
    assert len([key for key in written if key.startswith(FOLDER)]) < 25


async def test_the_command_line_tells_what_was_spent(simulator, storage, capsys, monkeypatch):
    monkeypatch.setattr("prefect_media.cli.budgets.storage_of_name", lambda _: asyncio.sleep(0, storage))
    await asyncio.to_thread(list_budgets, None)
    assert capsys.readouterr().out.startswith("No budgets in ")
    await buy_video(connection(simulator), clip(), storage, terms(budget=Budget(usd=1, name="ads", period="forever")))
    await order_video(connection(simulator), clip("2"), Ledger(storage), terms(budget=Budget(usd=1, period="day")))
    await asyncio.to_thread(list_budgets, None)
    _, ads, default = (line.split() for line in capsys.readouterr().out.splitlines())
    assert ads == ["ads", "forever", "0.400", "1", "0.000", "0"]
    assert default == ["default", f"{datetime.now(UTC):%Y-%m-%d}", "0.000", "0", "0.400", "1"]
    await asyncio.to_thread(list_budgets, None, as_json=True)
    fields = ("budget", "period", "spent_usd", "purchases", "reserved_usd", "under_way")
    rows = (("ads", "forever", 0.4, 1, 0.0, 0), ("default", default[1], 0.0, 0, 0.4, 1))
    assert json.loads(capsys.readouterr().out) == [dict(zip(fields, row, strict=True)) for row in rows]


# Batches.


async def test_a_batch_is_bought_as_a_whole_or_not_at_all(simulator, storage):
    requests = [still(f"boat {number}") for number in range(4)]
    half = estimate(requests[0]) / 2
    line = connection(simulator)
    with pytest.raises(BudgetExceeded):
        await submit(line, requests, storage, terms(budget=Budget(usd=3.5 * half)))
    assert simulator.batches == []
    assert await account(storage, Budget(usd=1)) == Account()

    budget = Budget(usd=4 * half)
    batch = await submit(line, requests, storage, terms(budget=budget))
    assert (await account(storage, budget)).reserved_usd == pytest.approx(4 * half)
    with pytest.raises(BudgetExceeded):
        await buy_images(line, still("another"), storage, terms(budget=budget))
    made = await batch_results.fetch(line, batch, storage, terms())
    paid = sum(asset.source.cost_usd for each in made for asset in each.assets)
    kept = await account(storage, budget)
    assert (kept.spent_usd, kept.purchases, kept.reserved) == (pytest.approx(paid), 4, {})


async def test_what_a_batch_did_not_make_is_given_back(simulator, storage):
    budget = Budget(usd=1)
    line = connection(simulator)
    batch = await submit(line, [still("forbidden"), still("fine")], storage, terms(budget=budget))
    refused, fine = await batch_results.fetch(line, batch, storage, terms())
    assert isinstance(refused.error, ContentRejected)
    assert await account(storage, budget) == Account(spent_usd=fine.assets[0].source.cost_usd, purchases=1)


@pytest.mark.usefixtures("prefect")
def test_a_batch_of_a_flow_on_a_budget(simulator, folder):
    @flow
    def order():
        with pytest.raises(BudgetExceeded):
            submit_image_batch(simulator.credentials, [still()], store=folder, scope="x", budget=0.001)
        return submit_image_batch(simulator.credentials, [still()], store=folder, scope="x", budget=1)

    [made] = fetch_image_batch(simulator.credentials, order(), store=folder)
    assert made.asset.source.batch_id == simulator.batches[0].id


# An account that could not be written at the end of a purchase.


@pytest.fixture
def buckets(s3):
    buckets = FaultyBuckets(s3)
    yield buckets
    buckets.close()


def refuse_accounts(buckets, after):
    """The account can be written so many times, and then no more."""
    writes = []

    def fault(asked):
        if asked.method == "PUT" and FOLDER in asked.path:
            writes.append(asked)
            return (403, "AccessDenied") if len(writes) > after else None
        return None

    buckets.fault = fault


@pytest.mark.parametrize("kind", ["video", "image", "failed"])
async def test_whoever_finds_it_done_or_failed_settles_it(kind, simulator, buckets):
    """The settlement fails right after `done`: the same again books it, and does so once."""
    storage, budget, line = buckets.storage(), Budget(usd=1), connection(simulator)

    async def buy():
        if kind == "image":
            return await buy_images(line, still(), storage, terms(budget=budget))
        try:
            return await buy_video(
                line, clip("explode" if kind == "failed" else "a kite"), storage, terms(budget=budget)
            )
        except JobFailed as error:
            return str(error)

    refuse_accounts(buckets, after=1)  # to set aside, but not to settle
    first = await buy()
    assert (await account(storage, budget)).reserved
    buckets.fault = lambda asked: None
    for _ in range(2):
        assert await buy() == first
        booked = await account(storage, budget)
        assert (booked.reserved, booked.purchases) == ({}, 1)
        assert booked.spent_usd > 0


async def test_a_failure_is_booked_before_it_is_bought_again(simulator, buckets):
    """retry_failed takes the place of what is still set aside: the job that failed counts as well."""
    storage, budget, line = buckets.storage(), Budget(usd=1), connection(simulator)
    refuse_accounts(buckets, after=1)
    with pytest.raises(JobFailed):
        await buy_video(line, clip("explode"), storage, terms(budget=budget))
    buckets.fault = lambda asked: None
    with pytest.raises(JobFailed):
        await buy_video(line, clip("explode"), storage, terms(budget=budget, retry_failed=True))
    assert await account(storage, budget) == Account(spent_usd=2 * EACH, purchases=2)


def test_a_late_settlement_leaves_the_next_attempt_alone():
    """Who still sees the first attempt as failed can't book what is set aside for the second."""
    account = Account().reserve("a", 0.4, attempt=2, paid_before=False, limit=1)
    assert account.settle("a", bought=True, attempt=1) is account
    assert account.settle("a", bought=True, attempt=2).spent_usd == 0.4


async def test_without_a_budget_nothing_is_asked_about_one(simulator, buckets):
    storage = buckets.storage()
    await buy_video(connection(simulator), clip(), storage, terms())
    buckets.asked.clear()
    await buy_video(connection(simulator), clip(), storage, terms())
    assert not [asked for asked in buckets.asked if FOLDER in asked.path]


async def test_an_account_that_never_agrees_is_an_error(simulator, buckets, configure):
    """A store whose If-Match never matches: no loop for ever, and nothing is sent."""
    configure(conflict_tries=4)
    storage, budget = buckets.storage(), Budget(usd=1)
    await buy_video(connection(simulator), clip(), storage, terms(budget=budget))
    buckets.fault = lambda asked: (
        (412, "PreconditionFailed") if FOLDER in asked.path and "if-match" in asked.headers else None
    )
    with pytest.raises(StoreError, match="may not honour If-Match"):
        await buy_video(connection(simulator), clip("another"), storage, terms(budget=budget))
    assert len(simulator.jobs) == 1
