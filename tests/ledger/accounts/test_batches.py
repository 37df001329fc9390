"""A batch is bought as a whole, or not at all."""

import pytest
from budgets import account, still
from buyer import connection, terms
from prefect import flow
from prefect_media.tasks import (
    fetch_image_batch,
    submit_image_batch,
)

from prefect_media import Budget
from prefect_media.catalog.prices import estimate
from prefect_media.errors import BudgetExceeded, ContentRejected, SubmissionInDoubt
from prefect_media.ledger.accounts import Account
from prefect_media.purchases import batch_fetch as batch_results
from prefect_media.purchases.batch_submit import submit
from prefect_media.purchases.images import buy_images
from prefect_media.simulator import Fault


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


@pytest.mark.parametrize("at_once", [True, False], ids=["by the same call", "by the next call"])
async def test_a_batch_that_is_ordered_in_spite_of_a_doubt_counts_once_more(simulator, storage, at_once):
    """The one in doubt may be made and paid for as well, so it has to fit into the budget beside it."""
    requests, line = [still("one boat"), still("two boats")], connection(simulator)
    price = sum(map(estimate, requests)) / 2  # a batch costs half
    simulator.faults.append(Fault("POST", "/batches$", "lose_reply"))
    simulator.faults.append(Fault("GET", "/batches$", "drip", nbytes=1000, seconds=0))
    simulator.faults.append(Fault("GET", "/batches$", "answer", times=None, status=404))
    scarce, enough = (terms(on_doubt="resubmit", budget=Budget(usd=room * price)) for room in (1.8, 2.01))
    if not at_once:
        with pytest.raises(SubmissionInDoubt):
            await submit(line, requests, storage, terms(budget=scarce.budget))
    with pytest.raises(BudgetExceeded):
        await submit(line, requests, storage, scarce)
    assert len(simulator.batches) == 1

    await submit(line, requests, storage, enough)
    assert len(simulator.batches) == 2
    assert (await account(storage, enough.budget)).reserved_usd == pytest.approx(2 * price)


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
