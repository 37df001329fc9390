"""A paid request that was certainly not taken: it is sent again, or free for the next attempt."""

from __future__ import annotations

import time

import pytest
from buyer import clip, connection, terms
from lost_replies import IMAGES, STILL, SUBMIT, the_record

from prefect_media.errors import ProviderUnavailable, QuotaExceeded, RateLimited
from prefect_media.purchases import lost_jobs
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault

pytestmark = pytest.mark.usefixtures("short_pauses")


async def test_dropped_before_it_was_taken_is_bought_once(simulator, storage):
    """Nothing at the provider after several looks: only then is it bought, once."""
    fault = Fault(*SUBMIT, "refuse")
    simulator.faults.append(fault)
    began = time.monotonic()
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert fault.hits == 1
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]
    assert time.monotonic() - began >= sum(lost_jobs.LOOKS)


async def test_a_server_that_never_takes_it_leaves_no_doubt(simulator, storage):
    """Twice refused and nothing on the list: certainly not bought, so the next attempt may simply buy."""
    simulator.faults.append(Fault(*SUBMIT, "refuse", times=2))
    with pytest.raises(ProviderUnavailable, match="no job was bought"):
        await buy_video(connection(simulator), clip(), storage, terms())
    record = await the_record(storage)
    assert (record.state, record.doubtful, record.lease) == ("intent", False, None)
    await buy_video(connection(simulator), clip(), storage, terms())
    assert len(simulator.jobs) == 1


async def test_a_server_nobody_listens_at_leaves_no_doubt(simulator, storage):
    """A connection that never stood proves that nothing was bought."""
    simulator.stop()
    with pytest.raises(ProviderUnavailable, match="nothing was bought"):
        await buy_video(connection(simulator), clip(), storage, terms())
    record = await the_record(storage)
    assert (record.state, record.doubtful, record.lease) == ("intent", False, None)
    simulator.start()
    await buy_video(connection(simulator), clip(), storage, terms())
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {"Retry-After": "1"}), (503, {"Retry-After": "1"}), (429, {"retry-after-ms": "700"})],
)
async def test_a_server_that_says_when_to_come_back_is_waited_for(status, headers, simulator, storage):
    """Not taken, and a time named: the same request goes out again then."""
    simulator.faults.append(Fault(*SUBMIT, "answer", status=status, headers=headers, body={"error": {"message": "."}}))
    began = time.monotonic()
    await buy_video(connection(simulator), clip(), storage, terms())
    assert time.monotonic() - began > 0.7
    assert len(simulator.jobs) == 1
    assert [request.status for request in simulator.requests if request.method == "POST"] == [status, 200]


async def test_a_wait_longer_than_there_is_time_is_refused_at_once(simulator, storage):
    simulator.faults.append(Fault(*SUBMIT, "answer", status=429, headers={"Retry-After": "60"}))
    began = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        await buy_video(connection(simulator), clip(), storage, terms(timeout=5.0))
    assert caught.value.retry_after == 60
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("code", "kind"), [("rate_limit_exceeded", RateLimited), ("insufficient_quota", QuotaExceeded)]
)
async def test_what_was_refused_does_not_block_the_next_attempt(code, kind, simulator, storage):
    """429 without a time: raised at once, and nothing on record stands in the way."""
    simulator.faults.append(Fault(*SUBMIT, "answer", status=429, body={"error": {"message": "no", "code": code}}))
    with pytest.raises(kind):
        await buy_video(connection(simulator), clip(), storage, terms())
    assert len(simulator.requests) == 1
    record = await the_record(storage)
    assert (record.state, record.lease, record.doubtful) == ("intent", None, False)
    began = time.monotonic()
    await buy_video(connection(simulator), clip(), storage, terms())
    assert time.monotonic() - began < 3
    assert len(simulator.jobs) == 1


async def test_images_a_busy_server_refused_are_bought_once(simulator, storage):
    """429 with a time for images too, and 429 without leaves nothing in the way."""
    simulator.faults.append(Fault(*IMAGES, "answer", status=429))
    with pytest.raises(RateLimited):
        await buy_images(connection(simulator), STILL, storage, terms())
    simulator.faults.append(Fault(*IMAGES, "answer", status=429, headers={"retry-after-ms": "300"}))
    await buy_images(connection(simulator), STILL, storage, terms())
    assert len(simulator.images) == 1
