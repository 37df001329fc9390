"""Purchases that fail, processes that die and accounts that can not be written: what was spent is booked once."""

import asyncio
import signal

import pytest
from budgets import EACH, account, clip, still
from buyer import connection, plan, terms

from prefect_media import Budget
from prefect_media.budget import FOLDER
from prefect_media.errors import ContentRejected, InvalidRequest, JobFailed, StoreError
from prefect_media.ledger.accounts import Account
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.settings import settings
from prefect_media.simulator import Fault, Simulator


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

    refuse_accounts(buckets, after=1)  # to reserve, but not to settle
    first = await buy()
    assert (await account(storage, budget)).reserved
    buckets.fault = lambda asked: None
    for _ in range(2):
        assert await buy() == first
        booked = await account(storage, budget)
        assert (booked.reserved, booked.purchases) == ({}, 1)
        assert booked.spent_usd > 0


async def test_a_failure_is_booked_before_it_is_bought_again(simulator, buckets):
    """retry_failed takes the place of what is still reserved: the job that failed counts as well."""
    storage, budget, line = buckets.storage(), Budget(usd=1), connection(simulator)
    refuse_accounts(buckets, after=1)
    with pytest.raises(JobFailed):
        await buy_video(line, clip("explode"), storage, terms(budget=budget))
    buckets.fault = lambda asked: None
    with pytest.raises(JobFailed):
        await buy_video(line, clip("explode"), storage, terms(budget=budget, retry_failed=True))
    assert await account(storage, budget) == Account(spent_usd=2 * EACH, purchases=2)


def test_a_late_settlement_leaves_the_next_attempt_alone():
    """Who still sees the first attempt as failed can't book what is reserved for the second."""
    account = Account().reserve("a", 0.4, attempt=2, paid_before=False, limit=1)
    assert account.settle("a", bought=True, attempt=1) is account
    assert account.settle("a", bought=True, attempt=2).spent_usd == 0.4


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
