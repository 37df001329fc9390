"""What the ledger remembers of a purchase, and what a later attempt does with it."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

import pytest
from buyer import MODEL, clip, connection, terms
from ledger_entries import NOW, picture, the_record

from prefect_media.errors import ContentRejected, JobExpired, JobFailed, JobTimedOut, StoreError
from prefect_media.ledger.ledger import Claim, Ledger
from prefect_media.purchases import store_video as delivery
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.simulator import Fault

pytestmark = pytest.mark.usefixtures("short_pauses")


UNSEEN = "sk-never-on-record"


@pytest.mark.parametrize(("prompt", "error"), [("explode", JobFailed), ("forbidden", ContentRejected)])
async def test_a_failure_is_remembered_and_costs_nothing_again(prompt, error, simulator, storage):
    """The same error again, word for word, without a request; retry_failed=True buys again."""
    with pytest.raises(error) as first:
        await buy_video(connection(simulator), clip(prompt), storage, terms())
    asked = len(simulator.requests)
    with pytest.raises(error) as second:
        await buy_video(connection(simulator), clip(prompt), storage, terms())
    assert len(simulator.requests) == asked
    assert type(second.value) is type(first.value)
    assert (second.value.message, second.value.job_id) == (first.value.message, first.value.job_id)
    with pytest.raises(error):
        await buy_video(connection(simulator), clip(prompt), storage, terms(retry_failed=True))
    assert len(simulator.jobs) == 2
    record = await the_record(storage)
    assert set(record.job_ids) == {made.id for made in simulator.jobs}


async def test_rejected_images_are_remembered(simulator, folder):
    still = ImageRequest(prompt="forbidden", model=MODEL, size="64x64")
    for _ in range(2):
        with pytest.raises(ContentRejected):
            await buy_images(connection(simulator), still, folder, terms())
    assert len(simulator.requests) == 1
    with pytest.raises(ContentRejected):
        await buy_images(connection(simulator), still, folder, terms(retry_failed=True))
    assert len(simulator.requests) == 2


async def test_a_job_that_took_too_long_is_resumed(simulator, storage):
    """The deadline passes, the job stays on record, and the next attempt goes on with it."""
    simulator.latency = 60
    for _ in range(2):
        with pytest.raises(JobTimedOut) as caught:
            await buy_video(connection(simulator), clip(), storage, terms(timeout=0.2))
        assert caught.value.job_id == simulator.jobs[0].id
        assert (await the_record(storage)).state == "submitted"
    simulator.jobs[0].latency = 0
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [made.id for made in simulator.jobs] == [asset.source.job_id]


async def test_a_stored_video_that_is_gone_is_downloaded_again(simulator, storage):
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    await storage.delete(storage.key_of(asset.uri))
    again = await buy_video(connection(simulator), clip(), storage, terms())
    assert (again.uri, again.sha256) == (asset.uri, asset.sha256)
    assert await again.aread_bytes()
    assert len(simulator.jobs) == 1


async def test_a_stored_video_that_is_gone_everywhere_is_an_error_that_says_what_to_do(simulator, storage):
    """Never bought again unasked, and what was bought stays on record, in case a backup brings it back."""
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    content, key = await asset.aread_bytes(), storage.key_of(asset.uri)
    await storage.delete(key)
    simulator.jobs[0].deleted = True
    simulator.jobs[0].expires_in = -1000
    before = await the_record(storage)
    before_job = before.job.model_copy(update={"submitted_at": NOW - timedelta(hours=1)})
    await Ledger(storage).move(Claim(*await Ledger(storage).get(before.key)), job=before_job)
    with pytest.raises(StoreError, match="no longer in the store") as caught:
        await buy_video(connection(simulator), clip(), storage, terms())
    assert not caught.value.transient
    assert "variant" in caught.value.message
    assert f"prefect-media jobs forget {before.key[:12]}" in caught.value.message
    assert (await the_record(storage)).state == "done"

    await storage.put(key, content, content_type="video/mp4")
    assert await buy_video(connection(simulator), clip(), storage, terms()) == asset
    assert len(simulator.jobs) == 1


async def test_stored_images_that_are_gone_are_an_error_that_says_what_to_do(simulator, folder):
    still = ImageRequest(prompt="a paper boat", model=MODEL, size="64x64", n=2)
    _, second = await buy_images(connection(simulator), still, folder, terms())
    await folder.delete(folder.key_of(second.uri))
    with pytest.raises(StoreError, match="jobs forget"):
        await buy_images(connection(simulator), still, folder, terms())
    assert len(simulator.images) == 1


async def test_forgotten_is_bought_anew(simulator, folder):
    await buy_video(connection(simulator), clip(), folder, terms())
    await Ledger(folder).forget((await the_record(folder)).key)
    await buy_video(connection(simulator), clip(), folder, terms())
    assert len(simulator.jobs) == 2


TROUBLE = {
    "cut at once": Fault("GET", "/content$", "truncate", nbytes=0, times=None),
    "cut in the middle": Fault("GET", "/content$", "truncate", nbytes=900, times=None),
    "a page of HTML": Fault("GET", "/content$", "corrupt", times=None),
}


@pytest.mark.parametrize("what", TROUBLE)
async def test_a_download_that_never_works_leaves_the_job_on_record(simulator, storage, what, monkeypatch):
    """It is paid for, and the next attempt fetches it."""
    monkeypatch.setattr(delivery, "PAUSES", (0.0,))
    simulator.faults.append(TROUBLE[what])
    with pytest.raises(Exception) as caught:
        await buy_video(connection(simulator), clip(), storage, terms())
    simulator.faults.clear()
    assert type(caught.value).__name__ == "DownloadCorrupt"
    assert caught.value.transient
    assert (await the_record(storage)).state == "submitted"
    assert [key async for key, _ in storage.list("media/")] == []
    await buy_video(connection(simulator), clip(), storage, terms())
    assert len(simulator.jobs) == 1


async def test_a_download_that_breaks_off_now_and_then_is_no_failure(simulator, storage, monkeypatch):
    """It goes on where it was, or is begun anew, and nobody outside notices."""
    monkeypatch.setattr(delivery, "PAUSES", (0.0,))
    for action in ("truncate", "corrupt"):
        simulator.faults.append(Fault("GET", "/content$", action))
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [fault.hits for fault in simulator.faults] == [1, 1]
    assert hashlib.sha256(await asset.aread_bytes()).hexdigest() == asset.sha256


async def test_records_are_for_people_and_hold_no_secret(simulator, storage):
    """Readable JSON with the request in it, and the key nowhere in the whole store."""
    line = connection(simulator, api_key=UNSEEN)
    await buy_video(line, clip(image=picture("red")), storage, terms())
    simulator.faults.append(
        Fault("POST", "/videos$", "answer", status=401, body={"error": {"message": f"bad {UNSEEN}"}})
    )
    with pytest.raises(Exception, match="credentials"):
        await buy_video(line, clip(variant=1), storage, terms())
    await buy_images(line, ImageRequest(prompt="a boat", model=MODEL, size="64x64"), storage, terms())
    contents = {key: await storage.read(key) async for key, _ in storage.list()}
    assert not [key for key, content in contents.items() if UNSEEN.encode() in content]
    records = [json.loads(content) for key, content in contents.items() if key.startswith("ledger/purchases/")]
    assert len(records) == 3
    assert {record["request"]["prompt"] for record in records} == {"a paper boat", "a boat"}
    assert all(b"\n  " in content for key, content in contents.items() if key.startswith("ledger/purchases/"))
    [done] = [record for record in records if record["kind"] == "video" and record["state"] == "done"]
    assert len(done["request"]["image"]) == 64  # by its hash


async def test_purchases_are_found_by_the_run_that_asked_for_them(simulator, folder):
    """Also the run that only got what another had bought before."""
    await buy_video(connection(simulator), clip(), folder, terms(flow_run_id="run-1"))
    await buy_video(connection(simulator), clip("two"), folder, terms(flow_run_id="run-2"))
    await buy_video(connection(simulator), clip(), folder, terms(flow_run_id="run-2"))

    async def prompts(run):
        ledger = Ledger(folder)
        entries = [await ledger.get(key) async for key in ledger.keys_of(run)]
        return sorted(entry[0].request["prompt"] for entry in entries if entry)

    assert await prompts("run-1") == ["a paper boat"]
    assert await prompts("run-2") == ["a paper boat", "two"]
    assert await prompts("run-3") == []


async def test_a_record_that_can_not_be_read_stops_everything(simulator, folder):
    """Better an error than a guess that pays."""
    await buy_video(connection(simulator), clip(), folder, terms())
    key = (await the_record(folder)).key
    await folder.put(f"ledger/purchases/{key}.json", b"{broken", content_type="application/json")
    with pytest.raises(StoreError, match="can't be read") as caught:
        await buy_video(connection(simulator), clip(), folder, terms())
    assert not caught.value.transient
    assert len(simulator.jobs) == 1


async def test_a_job_the_provider_forgot_is_over(simulator, folder):
    """A server that lost its jobs: an error with the job's name, remembered, and bought again only when asked."""
    simulator.latency = 60
    with pytest.raises(JobTimedOut):
        await buy_video(connection(simulator), clip(), folder, terms(timeout=0.1))
    simulator.jobs[0].deleted = True
    record, version = await Ledger(folder).get((await the_record(folder)).key)
    old = record.job.model_copy(update={"submitted_at": NOW - timedelta(hours=1)})
    await Ledger(folder).move(Claim(record, version), job=old)
    for _ in range(2):
        with pytest.raises(JobExpired, match=record.job.id):
            await buy_video(connection(simulator), clip(), folder, terms())
    simulator.latency = 0.05
    await buy_video(connection(simulator), clip(), folder, terms(retry_failed=True))
    assert len(simulator.jobs) == 2
