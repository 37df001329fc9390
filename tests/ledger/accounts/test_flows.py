"""Budgets in flows and their subflows."""

import asyncio

import pytest
from budgets import EACH, account, clip, still
from buyer import connection, terms
from prefect import flow
from prefect_media.tasks import (
    agather,
    agenerate_images,
    agenerate_video,
    asubmit_video,
    gather,
    generate_video,
)
from prefect_media.tasks.video_steps import afetch_video

from prefect_media import Budget
from prefect_media.budget import FOLDER
from prefect_media.errors import BudgetExceeded, InvalidRequest
from prefect_media.ledger.accounts import Account, read
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.videos import order_video


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
def test_an_order_reserves_it_and_its_fetching_books_it(simulator, folder):
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
