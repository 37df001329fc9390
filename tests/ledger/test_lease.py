"""Leases: how long the owner of a purchase is waited for, and how it learns that somebody else took over."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from ledger_entries import job, order

from prefect_media.ledger.ledger import Ledger, Overtaken

pytestmark = pytest.mark.usefixtures("short_pauses")


async def test_a_living_lease_is_waited_for(storage, short_lease):
    """As long as the owner renews it, nobody else submits, however often the lease runs out on paper."""
    first = await Ledger(storage).claim(order())
    waiting = asyncio.ensure_future(Ledger(storage).claim(order()))
    async with Ledger(storage).keep_lease(first):
        await asyncio.sleep(short_lease * 3)
        assert not waiting.done()
        await Ledger(storage).move(first, state="submitted", job=job())
    second = await waiting
    assert (second.ours, second.record.state, second.record.job) == (False, "submitted", job())


async def test_a_dead_lease_is_taken_over_with_a_doubt(storage, short_lease):
    """Its owner may have paid, so whoever takes over has to ask the provider first."""
    dead = await Ledger(storage).claim(order())
    heir = await asyncio.wait_for(Ledger(storage).claim(order()), 10)
    assert heir.ours
    assert heir.record.doubtful
    assert heir.record.attempt == dead.record.attempt + 1


async def test_a_freed_purchase_is_taken_at_once_and_without_a_doubt(storage):
    """What the provider certainly did not take waits for nobody."""
    first = await Ledger(storage).claim(order())
    await Ledger(storage).move(first, state="intent")
    second = await asyncio.wait_for(Ledger(storage).claim(order()), 2)
    assert second.ours
    assert not second.record.doubtful


async def test_a_freed_purchase_keeps_its_doubt(storage):
    """An attempt that could not clear up a doubt hands it on."""
    first = await Ledger(storage).claim(order())
    first.doubt(True)
    await Ledger(storage).move(first, state="intent")
    assert (await Ledger(storage).claim(order())).record.doubtful


async def test_a_lost_lease_is_noticed_before_paying(storage, short_lease):
    """Right before the request goes out, the sleeper learns that somebody else has taken over."""
    ledger = Ledger(storage)
    sleeper = await ledger.claim(order())
    await ledger.confirm(sleeper)  # still fresh
    heir = await asyncio.wait_for(Ledger(storage).claim(order()), 10)
    with pytest.raises(Overtaken):
        await ledger.confirm(sleeper)
    await ledger.confirm(heir)


async def test_a_late_confirmation_renews_the_lease(storage, short_lease):
    """Late, but nobody came in between: the lease is prolonged, and the purchase goes on."""
    ledger = Ledger(storage)
    claim = await ledger.claim(order())
    await asyncio.sleep(short_lease)
    await ledger.confirm(claim)
    found, version = await ledger.get("k1")
    assert version == claim.version
    assert found.lease.until > datetime.now(UTC)


async def test_the_length_of_a_lease_is_its_owners(storage, short_lease):
    """A machine that has set a short lease waits as long as the owner of a longer one needs."""
    first = await Ledger(storage).claim(order())
    long = first.record.lease.model_copy(update={"seconds": 30.0, "until": datetime.now(UTC) + timedelta(seconds=30)})
    await storage.replace(
        "ledger/purchases/k1.json",
        first.record.model_copy(update={"lease": long}).model_dump_json().encode(),
        first.version,
    )
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(Ledger(storage).claim(order()), short_lease * 3)
