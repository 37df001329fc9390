"""Many that claim the same purchase or move it on: one may submit, and no job or asset is lost."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from buyer import clip, connection, terms
from ledger_entries import job, order, the_record
from watched_bucket import WatchedBuckets

from prefect_media.assets import Asset
from prefect_media.errors import StoreError
from prefect_media.ledger.ledger import Claim, Ledger
from prefect_media.ledger.record import Failure
from prefect_media.purchases.videos import buy_video, order_video

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def watched(s3):
    """Buckets with somebody in front of them who writes down what is asked."""
    buckets = WatchedBuckets(s3)
    yield buckets
    buckets.close()


async def test_many_claims_and_one_is_ours(storage, short_lease):
    """Claims of one ledger object as much as of many: exactly one may submit."""
    ledger = Ledger(storage)

    async def claim(ledger):
        claim = await ledger.claim(order())
        if claim.ours:
            async with ledger.keep_lease(claim):
                await asyncio.sleep(short_lease * 2)
                await ledger.move(claim, state="submitted", job=job())
            return True
        return False

    ours = await asyncio.gather(*(claim(ledger) for _ in range(4)), *(claim(Ledger(storage)) for _ in range(4)))
    assert ours.count(True) == 1


async def test_one_of_many_clears_up_a_doubt(storage):
    ledger = Ledger(storage)
    claim = await ledger.claim(order())
    await ledger.move(claim, state="in_doubt")
    found = Claim(*await ledger.get("k1"))
    taken = await asyncio.gather(*(ledger.take_doubt(Claim(found.record, found.version)) for _ in range(5)))
    assert len([claim for claim in taken if claim]) == 1


@pytest.mark.parametrize("kind, written", [("image", ["purchases"]), ("video", ["purchases", "by-prompt"])])
async def test_a_new_purchase_takes_a_write_for_each_place_and_no_look(watched, kind, written):
    storage = watched.store().storage()
    await Ledger(storage).claim(order(key="0" * 64))  # what is asked once per process and bucket
    watched.requests.clear()
    claim = await Ledger(storage).claim(order(kind=kind))
    assert claim.ours
    asked = [(asked.method, asked.path.partition("/ledger/")[2].partition("/")[0]) for asked in watched.requests]
    assert asked == [("PUT", folder) for folder in written]


@pytest.mark.parametrize("cancelled", [False, True], ids=["refused", "cancelled"])
async def test_a_claim_that_could_not_be_finished_is_free_at_once(watched, cancelled):
    """Nothing was sent yet, so nobody has to wait until its lease runs out, or ask the provider about it."""
    ledger, bought = Ledger(watched.store().storage()), order(flow_run_id="run-1")
    on_its_way = asyncio.Event()
    loop = asyncio.get_running_loop()

    def refuse(asked):
        if "by-run" not in asked.path:
            return None
        loop.call_soon_threadsafe(on_its_way.set)
        if cancelled:
            time.sleep(0.5)
            return None
        return 403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"

    watched.refuse = refuse
    claiming = asyncio.create_task(ledger.claim(bought))
    await on_its_way.wait()
    if cancelled:
        claiming.cancel()
    with pytest.raises(asyncio.CancelledError if cancelled else StoreError):
        await claiming
    watched.refuse = lambda asked: None
    claim = await asyncio.wait_for(ledger.claim(bought), 10)  # a lease is 30 s
    assert claim.ours and not claim.record.doubtful


STATES = ["intent", "in_doubt", "submitted", "failed", "done"]
CLIP = Asset(uri="file:///store/clip.mp4", kind="video", content_type="video/mp4", size_bytes=1, sha256="0" * 64)


def at_state(state, identity):
    """A purchase in a state, as a process would have left it, with the job it bought."""
    changes = {
        "intent": {},
        "in_doubt": {},
        "submitted": {"job": job(identity)},
        "failed": {"job": job(identity), "failure": Failure(error="JobFailed", message="no")},
        "done": {"job": job(identity), "assets": (CLIP,)},
    }
    return {"state": state, **changes[state]}


@pytest.mark.parametrize(("ours", "theirs"), list(itertools.product(STATES, STATES)))
@pytest.mark.parametrize("same_job", [True, False])
async def test_no_job_and_no_asset_is_ever_lost(ours, theirs, same_job, folder):
    """Every pair of states that two processes may reach, with the same job or with one each."""
    ledger = Ledger(folder)
    mine = await ledger.claim(order())
    they = Claim(*await ledger.get("k1"))
    await ledger.move(they, **at_state(theirs, "video_1" if same_job else "video_2"))
    result = await ledger.move(mine, **at_state(ours, "video_1"))

    record, _ = await ledger.get("k1")
    assert record == result == mine.record
    with_job = {"submitted", "failed", "done"}
    known = {"video_1"} if ours in with_job else set()
    known |= {"video_1" if same_job else "video_2"} if theirs in with_job else set()
    assert set(record.job_ids) == known
    assert bool(record.assets) == ("done" in (ours, theirs))
    assert record.state in (ours, theirs)
    if "done" in (ours, theirs):
        assert record.state == "done"
    elif (ours, theirs) == ("submitted", "failed") or (ours, theirs) == ("failed", "submitted"):
        # a job that failed is over; another one may still be watched to its end
        assert record.state == ("failed" if same_job else "submitted")
    elif "submitted" in (ours, theirs):
        assert record.state == "submitted"


@pytest.mark.parametrize("renewed", [False, True])
async def test_a_job_that_another_puts_on_a_record_that_is_ours_stays_there(storage, renewed):
    """A purchase was forgotten and is bought anew; whoever had it before hears that its job came to nothing."""
    ledger = Ledger(storage)
    before = await ledger.claim(order())
    await ledger.forget("k1")
    refused = await ledger.claim(order())
    await ledger.move(refused, state="intent")
    ours = await ledger.claim(order())
    await ledger.move(before, state="failed", job=job("lost"), failure=Failure(error="JobFailed", message="no"))
    if renewed:
        await ledger.renew(ours)
    record = await ledger.move(ours, state="submitted", job=job("found"))
    assert set(record.job_ids) == {"lost", "found"}
    assert (await ledger.get("k1"))[0] == record


async def test_a_failure_does_not_take_the_doubt_off_a_purchase_that_is_bought_anew(storage):
    """What was bought before is forgotten, and its failure says nothing of the reply that is lost now."""
    ledger = Ledger(storage)
    before = await ledger.claim(order())
    await ledger.move(before, state="submitted", job=job("first"))
    stale = Claim(before.record, before.version)
    await ledger.forget("k1")
    again = await ledger.claim(order())
    again.doubt(True)
    await ledger.move(again, state="intent")  # the provider could not be asked
    await ledger.move(stale, state="failed", failure=Failure(error="JobFailed", message="no"))
    record = await the_record(storage)
    assert (record.state, record.doubtful, record.job_ids) == ("intent", True, ("first",))
    next_one = await ledger.claim(order(), retry_failed=True)
    assert next_one.ours and next_one.record.doubtful


async def test_a_move_whose_reply_was_lost_is_not_undone(storage, short_lease):
    """A renewal of our own that arrived unheard of does not stand in the way of what we know."""
    ledger = Ledger(storage)
    claim = await ledger.claim(order())
    stale = Claim(claim.record, claim.version)
    async with ledger.keep_lease(claim):
        await asyncio.sleep(short_lease)  # renewed at least once: the version of `stale` is old
    assert claim.version != stale.version
    record = await ledger.move(stale, state="in_doubt")
    assert record.state == "in_doubt"
    assert (await the_record(storage)).state == "in_doubt"


async def test_a_purchase_that_was_forgotten_meanwhile_is_an_error(storage):
    ledger = Ledger(storage)
    claim = await ledger.claim(order())
    await ledger.forget("k1")
    with pytest.raises(StoreError, match=r"vanished from the ledger; video_\w+ is bought and on no record") as caught:
        await ledger.move(claim, state="submitted", job=job())
    assert caught.value.job_id == job().id


async def test_two_jobs_for_one_purchase_are_both_on_record(simulator, folder, short_lease, caplog):
    """The worst case, a server without a list and a user who said to go on: nothing is hidden."""
    ledger = Ledger(folder)
    claim, first = await order_video(connection(simulator), clip(), ledger, terms())
    other = await ledger.move(Claim(claim.record, claim.version), job=job("video_elsewhere"))
    assert other.job.id == "video_elsewhere"
    stale = Claim(claim.record, claim.version)
    record = await ledger.move(stale, state="submitted", job=first)
    assert set(record.job_ids) == {first.id, "video_elsewhere"}


async def test_a_store_that_never_agrees_is_an_error_that_says_what_was_bought(simulator, watched, configure):
    """If-Match never matches, and the job is bought already: the error names the job and how to attach it."""
    configure(conflict_tries=4, trust_store=1)
    watched.refuse = lambda asked: (412, b"<Error/>") if "if-match" in asked.headers else None
    storage = watched.store().storage()
    with pytest.raises(StoreError, match="may not honour If-Match") as caught:
        await asyncio.wait_for(buy_video(connection(simulator), clip(), storage, terms()), 30)
    [bought] = simulator.jobs
    assert caught.value.job_id == bought.id
    assert caught.value.key == (await the_record(storage)).key
    assert f"jobs adopt {caught.value.key[:12]} {bought.id}" in caught.value.message
