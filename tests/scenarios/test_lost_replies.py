"""The reply to a paid request is lost: the provider's list says what became of it, and nothing is guessed."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from buyer import MODEL, clip, connection, terms

from prefect_media.errors import ProviderUnavailable, QuotaExceeded, RateLimited, SubmissionInDoubt
from prefect_media.ledger.ledger import Claim, Ledger
from prefect_media.ledger.record import Lease
from prefect_media.providers import videos
from prefect_media.purchases import lost_jobs
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest, RemixRequest
from prefect_media.simulator import Fault, Simulator

SUBMIT, LIST = ("POST", "/videos$"), ("GET", r"/videos(\?|$)")


@pytest.fixture
def simulator():
    with Simulator(latency=0.05) as simulator:
        yield simulator


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def storage(store):
    return store.storage()


async def the_record(storage):
    [record] = [record async for record in Ledger(storage).purchases()]
    return record


async def other_job(simulator, prompt="a paper boat", **fields):
    """A job at the provider that no ledger knows of."""
    return await videos.submit(connection(simulator), clip(prompt, **fields), image=None, fingerprint="")


ACCEPTED = {
    "the connection broke": Fault(*SUBMIT, "lose_reply"),
    "500": Fault(*SUBMIT, "answer_after", status=500),
    "502 of a gateway": Fault(*SUBMIT, "answer_after", status=502, body="<html>Bad gateway</html>"),
    "503": Fault(*SUBMIT, "answer_after", status=503),
    "504": Fault(*SUBMIT, "answer_after", status=504, body=""),
    "408": Fault(*SUBMIT, "answer_after", status=408),
    "nothing in 200": Fault(*SUBMIT, "answer_after", status=200, body=""),
    "HTML in 200": Fault(*SUBMIT, "corrupt"),
    "JSON without a job": Fault(*SUBMIT, "answer_after", status=200, body={"ok": True}),
    "half an answer": Fault(*SUBMIT, "truncate", nbytes=20),
}


@pytest.mark.parametrize("fault", ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_a_job_that_was_taken_is_adopted(fault, simulator, storage):
    """The server has the job and its reply is lost: the job is found, and not bought again."""
    again = Fault(fault.method, fault.path_regex, fault.action, status=fault.status, body=fault.body, nbytes=20)
    simulator.faults.append(again)
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert again.hits == 1
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]
    assert (await the_record(storage)).state == "done"


async def test_a_reply_that_comes_too_late_is_adopted(simulator, storage):
    """A read timeout is a lost reply as well."""
    simulator.faults.append(Fault(*SUBMIT, "hold_reply", seconds=5))
    began = time.monotonic()
    asset = await buy_video(connection(simulator, request_timeout=0.5), clip(), storage, terms())
    assert time.monotonic() - began < 4
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]


@pytest.mark.parametrize("readable", [True, False])
async def test_the_job_of_a_forgotten_purchase_is_not_adopted(simulator, storage, readable):
    """A list that lags shows the job of the forgotten purchase, and not yet the one that was just bought."""
    first = await buy_video(connection(simulator), clip(), storage, terms())
    key = (await the_record(storage)).key
    if not readable:
        await storage.put(f"ledger/purchases/{key}.json", b"{broken", content_type="application/json")
    await Ledger(storage).forget(key)
    async with httpx.AsyncClient(headers={"Authorization": "Bearer sk-simulated"}) as client:
        before = (await client.get(f"{simulator.url}/videos")).json()
    behind = Fault(*LIST, "answer", times=2, status=200, body=before)
    simulator.faults.extend([Fault(*SUBMIT, "lose_reply"), behind])
    second = await buy_video(connection(simulator), clip(), storage, terms())
    assert behind.hits == 2
    assert [job.id for job in simulator.jobs] == [first.source.job_id, second.source.job_id]


async def test_a_remix_that_was_taken_is_adopted(simulator, storage):
    """A remix names no model and no size; its source and its prompt tell it."""
    original = await buy_video(connection(simulator), clip(), storage, terms())
    simulator.faults.append(Fault("POST", "/remix$", "lose_reply"))
    asset = await buy_video(connection(simulator), RemixRequest(video=original, prompt="at night"), storage, terms())
    assert [job.id for job in simulator.jobs] == [original.source.job_id, asset.source.job_id]


async def test_a_video_is_not_taken_for_its_remix_with_the_same_prompt(simulator, storage):
    """The same words for a video and for its remix: each lost reply finds its own job."""
    original = await buy_video(connection(simulator), clip(), storage, terms())
    simulator.faults.append(Fault("POST", "/remix$", "lose_reply"))
    remix = await buy_video(
        connection(simulator), RemixRequest(video=original, prompt="a paper boat"), storage, terms()
    )
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    another = await buy_video(connection(simulator), clip(variant=1), storage, terms())
    assert [job.operation for job in simulator.jobs] == ["generate", "remix", "generate"]
    assert [job.id for job in simulator.jobs] == [each.source.job_id for each in (original, remix, another)]


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


async def test_the_network_is_gone_after_the_reply_was_lost(simulator, storage):
    """When the provider can't even be asked, the doubt outlives this attempt, and the next one asks first."""
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    simulator.faults.append(Fault(*LIST, "refuse", times=None))
    with pytest.raises(ProviderUnavailable, match="reply was lost") as caught:
        await buy_video(connection(simulator), clip(), storage, terms())
    assert caught.value.transient
    assert "nothing was bought" not in caught.value.message
    assert (await the_record(storage)).doubtful

    with pytest.raises(ProviderUnavailable):  # and again: the doubt is not forgotten on the way
        await buy_video(connection(simulator), clip(), storage, terms())
    simulator.faults.clear()
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]


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


NO_LIST = {
    "404": None,
    "501": Fault(*LIST, "answer", times=None, status=501, body={"detail": "not implemented"}),
    "405": Fault(*LIST, "answer", times=None, status=405, body={"detail": "Method Not Allowed"}),
    "a page of HTML": Fault(*LIST, "answer", times=None, status=200, body="<html>hello</html>"),
}


@pytest.mark.parametrize("answer", NO_LIST.values(), ids=NO_LIST.keys())
async def test_without_a_list_the_doubt_stays_until_the_user_decides(answer, storage):
    """A server that can't say what it has: an error with key and remedy, every time, until told to go on."""
    with Simulator(latency=0.05, can_list=answer is not None) as simulator:
        if answer:
            simulator.faults.append(answer)
        simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
        for _ in range(2):
            with pytest.raises(SubmissionInDoubt) as caught:
                await buy_video(connection(simulator), clip(), storage, terms())
            record = await the_record(storage)
            assert record.state == "in_doubt"
            assert caught.value.key == record.key
            assert 'on_doubt="resubmit"' in caught.value.message
            assert len(simulator.jobs) == 1

        asset = await buy_video(connection(simulator), clip(), storage, terms(on_doubt="resubmit"))
        assert [job.id for job in simulator.jobs][1:] == [asset.source.job_id]
        assert await buy_video(connection(simulator), clip(), storage, terms()) == asset
        assert len(simulator.jobs) == 2


async def test_jobs_on_record_are_not_adopted(simulator, storage):
    """The same request in another scope: its job is on record there, so the lost reply was about the other one."""
    first = await buy_video(connection(simulator), clip(), storage, terms("a"))
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    second = await buy_video(connection(simulator), clip(), storage, terms("b"))
    assert first.source.job_id != second.source.job_id
    assert [job.id for job in simulator.jobs] == [first.source.job_id, second.source.job_id]


async def test_a_job_that_failed_before_is_not_adopted(simulator, storage):
    """retry_failed=True with a lost reply: the job that failed is not what the reply was about."""
    with pytest.raises(Exception, match="failed"):
        await buy_video(connection(simulator), clip("explode"), storage, terms())
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    with pytest.raises(Exception, match="failed") as caught:
        await buy_video(connection(simulator), clip("explode"), storage, terms(retry_failed=True))
    assert [job.id for job in simulator.jobs][1:] == [caught.value.job_id]
    record = await the_record(storage)
    assert set(record.job_ids) == {job.id for job in simulator.jobs}


async def test_several_jobs_that_match_are_a_doubt(simulator, storage):
    """Two jobs that nobody has on record: taking either would be a guess."""
    await other_job(simulator)
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    with pytest.raises(SubmissionInDoubt, match="several jobs"):
        await buy_video(connection(simulator), clip(), storage, terms())
    assert len(simulator.jobs) == 2
    assert (await the_record(storage)).state == "in_doubt"


@pytest.mark.parametrize("fields", [{"seconds": 2}, {"size": "72x64"}, {"prompt": "a paper crane"}])
async def test_jobs_that_differ_are_not_adopted(fields, simulator, storage):
    """Other jobs of the account are told apart by all that the list says."""
    other = await other_job(simulator, **fields)
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [job.id for job in simulator.jobs] == [other.id, asset.source.job_id]


def listed(job, **changes):
    row = {name: value for name, value in {**job.resource(), **changes}.items() if value is not ...}
    return {"object": "list", "data": [row], "has_more": False}


@pytest.mark.parametrize("changes", [{"prompt": ...}, {"prompt": None}, {"model": "gateway/boats-1"}])
async def test_a_list_that_says_too_little_is_a_doubt(changes, simulator, storage):
    """A gateway whose list leaves out prompts, or renames models: a job that may be ours is not bought again."""
    fault = Fault(*SUBMIT, "lose_reply")
    fault.after_accept = lambda: simulator.faults.append(
        Fault(*LIST, "answer", times=None, status=200, body=listed(simulator.jobs[0], **changes))
    )
    simulator.faults.append(fault)
    with pytest.raises(SubmissionInDoubt, match="does not say enough"):
        await buy_video(connection(simulator), clip(), storage, terms())
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize("changes", [{"seconds": 1}, {"seconds": "1.0"}, {"size": None}, {"model": None}])
async def test_a_list_that_spells_things_its_own_way_is_understood(changes, simulator, storage):
    """Numbers as text or not, fields left out: the job is adopted all the same."""
    fault = Fault(*SUBMIT, "lose_reply")
    fault.after_accept = lambda: simulator.faults.append(
        Fault(*LIST, "answer", times=None, status=200, body=listed(simulator.jobs[0], **changes))
    )
    simulator.faults.append(fault)
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]


async def test_a_job_behind_a_hundred_others_is_found(simulator, storage):
    """The list comes in pages of a hundred; the job lies on the second."""

    def a_hundred_more() -> None:
        for number in range(120):
            simulator.jobs.append(
                type(mine := simulator.jobs[0])(
                    **{
                        **{name: getattr(mine, name) for name in ("operation", "model", "size", "seconds", "film")},
                        "prompt": f"boat {number}",
                        "latency": 0.05,
                        "expires_in": 60.0,
                    }
                )
            )

    simulator.faults.append(Fault(*SUBMIT, "lose_reply", after_accept=a_hundred_more))
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert asset.source.job_id == simulator.jobs[0].id
    assert len([job for job in simulator.jobs if job.prompt == "a paper boat"]) == 1
    assert len([request for request in simulator.requests if "after=" in request.path]) == 1


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


async def test_a_cancelled_submission_is_cleared_up_by_the_next(simulator, storage):
    """Cancelled with the request in the air: in doubt on record, then adopted."""
    fault = Fault(*SUBMIT, "hold_reply", seconds=30)
    simulator.faults.append(fault)
    buying = asyncio.ensure_future(buy_video(connection(simulator), clip(), storage, terms()))
    assert await asyncio.to_thread(fault.wait, 10)
    buying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await buying
    assert (await the_record(storage)).state == "in_doubt"
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]


STILL = ImageRequest(prompt="a paper boat", model=MODEL, size="64x64")
IMAGES = ("POST", "/images/generations$")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(*IMAGES, "lose_reply"),
        Fault(*IMAGES, "answer_after", status=504, body=""),
        Fault(*IMAGES, "corrupt"),
        Fault(*IMAGES, "answer_after", status=200, body={"data": []}),
        Fault(*IMAGES, "hold_reply", seconds=3),
    ],
    ids=["broken", "504", "HTML", "no images", "too late"],
)
async def test_a_lost_reply_about_images_is_a_doubt(fault, simulator, storage):
    """Images can't be asked for again: said at once and every time, bought again only when told to."""
    simulator.faults.append(fault)
    fault.hits = 0
    line = connection(simulator, request_timeout=1.0)
    for _ in range(2):
        with pytest.raises(SubmissionInDoubt, match="can't be asked for images") as caught:
            await buy_images(line, STILL, storage, terms())
        assert 'on_doubt="resubmit"' in caught.value.message
        assert caught.value.key == (await the_record(storage)).key
        assert len(simulator.images) == 1
    [asset] = await buy_images(line, STILL, storage, terms(on_doubt="resubmit"))
    assert await buy_images(line, STILL, storage, terms()) == [asset]
    assert len(simulator.images) == 2


async def test_images_a_busy_server_refused_are_bought_once(simulator, storage):
    """429 with a time for images too, and 429 without leaves nothing in the way."""
    simulator.faults.append(Fault(*IMAGES, "answer", status=429))
    with pytest.raises(RateLimited):
        await buy_images(connection(simulator), STILL, storage, terms())
    simulator.faults.append(Fault(*IMAGES, "answer", status=429, headers={"retry-after-ms": "300"}))
    await buy_images(connection(simulator), STILL, storage, terms())
    assert len(simulator.images) == 1
