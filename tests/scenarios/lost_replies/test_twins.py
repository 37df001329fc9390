"""Purchases that look the same on the provider's list, their replies lost: each takes a job of its own."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from buyer import clip, connection, terms
from lost_replies import LIST, SUBMIT, other_job

from prefect_media.errors import ProviderUnavailable, SubmissionInDoubt
from prefect_media.ledger.ledger import Claim, Ledger
from prefect_media.ledger.record import Lease
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault

pytestmark = pytest.mark.usefixtures("short_pauses")


async def test_variants_in_parallel_each_keep_their_own_job(simulator, storage):
    """Four variants at once look alike at the provider; a lost reply does not take a sibling's job."""
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    simulator.faults.append(Fault(*SUBMIT, "hold_reply", times=2, seconds=0.4))
    assets = await asyncio.gather(
        *(buy_video(connection(simulator), clip(variant=number), storage, terms()) for number in range(4))
    )
    assert len({asset.source.job_id for asset in assets}) == 4
    assert {job.id for job in simulator.jobs} == {asset.source.job_id for asset in assets}


async def test_a_siblings_job_is_not_taken_for_ones_own(simulator, storage):
    """One variant was never taken, the other's job is on the list before it is on record: it is not adopted."""
    simulator.faults.append(Fault(*SUBMIT, "refuse"))
    simulator.faults.append(Fault(*SUBMIT, "hold_reply", seconds=0.6))
    first, second = await asyncio.gather(
        *(buy_video(connection(simulator), clip(variant=number), storage, terms()) for number in range(2))
    )
    assert {job.id for job in simulator.jobs} == {first.source.job_id, second.source.job_id}
    assert len(simulator.jobs) == 2


async def in_doubt_together(simulator, storage, requests, *, scopes=None):
    """Purchases whose replies are all lost, by buyers that can't ask the server afterwards."""
    scopes = scopes or ["test"] * len(requests)
    simulator.faults.append(Fault(*SUBMIT, "lose_reply", times=len(requests)))
    simulator.faults.append(Fault(*LIST, "refuse", times=None))
    for request, scope in zip(requests, scopes, strict=True):
        with pytest.raises(ProviderUnavailable):
            await buy_video(connection(simulator), request, storage, terms(scope))
    simulator.faults.clear()


@pytest.mark.parametrize("how", ["variants", "scopes"])
@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
async def test_twins_whose_replies_are_lost_each_take_a_job(how, together, simulator, storage):
    """Two equal purchases and two jobs that look the same: whichever gets which, nobody pays again."""
    requests = [clip(), clip(variant=1)] if how == "variants" else [clip(), clip()]
    scopes = ["test", "test"] if how == "variants" else ["a", "b"]
    await in_doubt_together(simulator, storage, requests, scopes=scopes)
    buying = [
        lambda pair=pair: buy_video(connection(simulator), pair[0], storage, terms(pair[1]))
        for pair in zip(requests, scopes, strict=True)
    ]
    assets = await asyncio.gather(*(buy() for buy in buying)) if together else [await buy() for buy in buying]
    assert {asset.source.job_id for asset in assets} == {job.id for job in simulator.jobs}
    assert len(simulator.jobs) == 2


async def test_four_twins_at_once_take_a_job_each(simulator, storage):
    """However the four races for the four jobs end, no job is on two records."""
    requests = [clip(variant=number) for number in range(4)]
    await in_doubt_together(simulator, storage, requests)
    assets = await asyncio.gather(*(buy_video(connection(simulator), each, storage, terms()) for each in requests))
    assert {asset.source.job_id for asset in assets} == {job.id for job in simulator.jobs}
    assert len(simulator.jobs) == 4


async def test_a_twin_whose_job_the_other_took_waits_for_the_others(simulator, storage, monkeypatch):
    """The job of the second is taken late, when the second has adopted the first one's: then it goes to the first."""
    monkeypatch.setattr("prefect_media.purchases.lost_jobs.LOOKS", (0.0, 1.0, 2.0))
    simulator.faults.extend([Fault(*SUBMIT, "lose_reply"), Fault(*SUBMIT, "refuse")])
    simulator.faults.append(Fault(*LIST, "answer", status=200, body={"data": [], "has_more": False}))

    def looks():
        return [seen for seen in simulator.requests if seen.method == "GET" and re.search(LIST[1], seen.path)]

    async def until_looked(times):
        while len(looks()) < times:  # noqa: ASYNC110 - what is waited for happens at the provider
            await asyncio.sleep(0.01)

    first = asyncio.create_task(buy_video(connection(simulator), clip(), storage, terms("first")))
    await until_looked(1)
    second = await buy_video(connection(simulator), clip(), storage, terms("second"))
    await until_looked(4)  # one by the second, and so three by the first
    late = await other_job(simulator)
    assert {(await first).source.job_id, second.source.job_id} == {job.id for job in simulator.jobs}
    assert len(simulator.jobs) == 2
    assert late.id == (await first).source.job_id


async def test_a_job_too_many_is_a_doubt_for_twins_too(simulator, storage):
    """Two purchases and three jobs: one of them belongs to somebody else."""
    await other_job(simulator)
    await in_doubt_together(simulator, storage, [clip(), clip(variant=1)])
    with pytest.raises(SubmissionInDoubt, match="several jobs") as caught:
        await buy_video(connection(simulator), clip(), storage, terms())
    assert set(caught.value.candidates) == {job.id for job in simulator.jobs}
    assert len(simulator.jobs) == 3


async def test_purchases_that_only_look_the_same_on_the_list_are_no_twins(simulator, storage):
    """Another seed is another film, and the list can't tell: neither takes the other's."""
    await in_doubt_together(simulator, storage, [clip(extra={"seed": 1}), clip(extra={"seed": 2})])
    with pytest.raises(SubmissionInDoubt, match="looks the same there"):
        await buy_video(connection(simulator), clip(extra={"seed": 1}), storage, terms())
    assert len(simulator.jobs) == 2


async def test_a_twin_that_died_is_watched_until_its_lease_is_over(simulator, storage, configure):
    """Its request may be in the air, by its record; when nobody renews the lease, the job may be taken."""
    configure(lease_seconds=2)
    await in_doubt_together(simulator, storage, [clip(), clip(variant=1)])
    ledger = Ledger(storage)
    [dead] = [each async for each in ledger.purchases() if each.request.get("variant") == 1]
    lease = Lease(owner="dead", until=datetime.now(UTC) + timedelta(hours=3), seconds=2)
    found = await ledger.get(dead.key)
    await ledger.swap(Claim(*found), lease=lease, doubtful=False)
    began = time.monotonic()
    await buy_video(connection(simulator), clip(), storage, terms())
    assert time.monotonic() - began > 1.9
    await buy_video(connection(simulator), clip(variant=1), storage, terms())
    assert len(simulator.jobs) == 2
