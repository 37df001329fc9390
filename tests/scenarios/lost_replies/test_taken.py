"""The reply to a paid request that was taken is lost: its job is adopted, or the doubt is said."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from buyer import clip, connection, terms
from lost_replies import IMAGES, LIST, STILL, SUBMIT, the_record

from prefect_media.errors import ProviderUnavailable, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import RemixRequest
from prefect_media.simulator import Fault, Simulator

pytestmark = pytest.mark.usefixtures("short_pauses")


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
