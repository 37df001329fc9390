"""What would pass a budget is not sent; what was bought is booked at its price."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from budgets import EACH, account, clip, still
from buyer import connection, plan, terms

from prefect_media import (
    Budget,
    ImageEditRequest,
    RemixRequest,
    VideoExtendRequest,
    VideoRequest,
)
from prefect_media.budget import FOLDER
from prefect_media.catalog.prices import quote
from prefect_media.cli.budgets import list_budgets
from prefect_media.errors import BudgetExceeded
from prefect_media.ledger.accounts import Account
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video, order_video
from prefect_media.settings import settings


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
        "this would cost 0.40 USD, but 0.80 USD of the budget of 1.00 USD are spent and 0.00 USD are reserved"
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


async def test_without_a_budget_nothing_is_asked_about_one(simulator, buckets):
    storage = buckets.storage()
    await buy_video(connection(simulator), clip(), storage, terms())
    buckets.asked.clear()
    await buy_video(connection(simulator), clip(), storage, terms())
    assert not [asked for asked in buckets.asked if FOLDER in asked.path]
