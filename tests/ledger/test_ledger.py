"""The ledger: what makes a purchase the same one, what is remembered of it, and who may move it on."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import itertools
import json
import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
from buyer import MODEL, clip, connection, terms
from PIL import Image
from watched_bucket import WatchedBuckets

from prefect_media.assets import Asset
from prefect_media.errors import ContentRejected, InvalidRequest, JobExpired, JobFailed, JobTimedOut, StoreError
from prefect_media.jobs import VideoJob
from prefect_media.ledger.ledger import Claim, Ledger, Overtaken
from prefect_media.ledger.record import Failure, Record
from prefect_media.purchases import store_video as delivery
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video, order_video
from prefect_media.requests import ImageRequest, RemixRequest
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at

NOW = datetime.now(UTC)
UNSEEN = "sk-never-on-record"


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def simulator():
    with Simulator(latency=0.05) as simulator:
        yield simulator


@pytest.fixture
def storage(store):
    return store.storage()


@pytest.fixture
def folder(tmp_path):
    """One kind of store is enough where only requests and answers matter."""
    return storage_at(str(tmp_path / "store"))


@pytest.fixture
def watched(s3):
    """Buckets with somebody in front of them who writes down what is asked."""
    buckets = WatchedBuckets(s3)
    yield buckets
    buckets.close()


@pytest.fixture
def short_lease(configure):
    configure(lease_seconds=0.4)
    return 0.4


def order(**fields):
    """A purchase as it is written down first."""
    plain = {
        "key": "k1",
        "scope": "test",
        "kind": "video",
        "operation": "generate",
        "account": {"provider": "openai", "host": "here"},
        "fingerprint": "f1",
        "request": {"prompt": "a paper boat"},
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Record(**{**plain, **fields})


def job(identity="video_1"):
    return VideoJob(
        provider="openai", base_url="http://here/v1", model=MODEL, id=identity, fingerprint="f1", submitted_at=NOW
    )


async def the_record(storage):
    [record] = [record async for record in Ledger(storage).purchases()]
    return record


# ---------------------------------------------------------------- what makes a purchase the same one


async def test_the_same_request_in_a_scope_is_one_purchase(simulator, storage, caplog):
    """Bought, then handed out, and a line in the log says so and how to get another."""
    caplog.set_level(logging.INFO, "prefect_media")
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert not [message for message in caplog.messages if "Bought before" in message]
    assert await buy_video(connection(simulator), clip(), storage, terms()) == asset
    assert [message for message in caplog.messages if "Bought before" in message] == [
        "Bought before in this scope (generate video, done); variant=1 makes another"
    ]
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize(
    "request_",
    [
        clip(variant=1),
        clip("a paper crane"),
        clip(seconds=2),
        clip(size="72x64"),
        clip(model="boats-2"),
        clip(extra={"seed": 7}),
    ],
    ids=["variant", "prompt", "seconds", "size", "model", "extra"],
)
async def test_another_request_is_another_purchase(request_, simulator, folder):
    await buy_video(connection(simulator), clip(), folder, terms())
    await buy_video(connection(simulator), request_, folder, terms())
    assert len(simulator.jobs) == 2


async def test_another_scope_is_another_purchase(simulator, folder):
    await buy_video(connection(simulator), clip(), folder, terms("a"))
    await buy_video(connection(simulator), clip(), folder, terms("b"))
    assert len(simulator.jobs) == 2


async def test_a_size_and_the_ratio_that_means_it_are_the_same_purchase(simulator, folder):
    """What counts is what is sent, not how it was said."""
    await buy_video(connection(simulator), clip(size=None, aspect_ratio="1:1"), folder, terms())
    await buy_video(connection(simulator), clip(size="1024x1024"), folder, terms())
    assert [made.size for made in simulator.jobs] == ["1024x1024"]


async def test_a_new_key_is_the_same_account(simulator, folder):
    """Keys are rotated; what was bought with the old one stays bought."""
    await buy_video(connection(simulator, api_key="sk-old"), clip(), folder, terms())
    await buy_video(connection(simulator, api_key="sk-new"), clip(), folder, terms())
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize("fields", [{"organization": "org-2"}, {"project": "proj-2"}, {"provider": "azure"}])
async def test_another_account_is_another_purchase(fields, simulator, folder):
    await buy_video(connection(simulator), clip(), folder, terms())
    await buy_video(connection(simulator, **fields), clip(), folder, terms())
    assert len(simulator.jobs) == 2


async def test_another_server_is_another_purchase(simulator, folder):
    """A job can only be asked for where it was made, so another host is another account."""
    await buy_video(connection(simulator), clip(), folder, terms())
    with Simulator(latency=0.05) as other:
        await buy_video(connection(other), clip(), folder, terms())
        assert (len(simulator.jobs), len(other.jobs)) == (1, 1)


async def test_a_job_is_asked_for_where_it_was_made(simulator, folder):
    """The same host under another path (a gateway that moved its prefix): the job keeps the URL it was made with."""
    simulator.latency = 60
    with pytest.raises(JobTimedOut):
        await buy_video(connection(simulator), clip(), folder, terms(timeout=0.1))
    simulator.jobs[0].latency = 0
    simulator.requests.clear()
    moved = connection(simulator, base_url=f"{simulator.azure_url}/openai/v1")
    asset = await buy_video(moved, clip(), folder, terms())
    assert asset.source.job_id == simulator.jobs[0].id
    assert {request.path for request in simulator.requests} == {
        f"/v1/videos/{simulator.jobs[0].id}",
        f"/v1/videos/{simulator.jobs[0].id}/content",
    }


def picture(colour):
    out = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(out, "PNG")
    return out.getvalue()


async def test_a_reference_counts_by_its_content(simulator, folder, tmp_path):
    """The same bytes from another path, as bytes or as a data URL are the same purchase; other bytes are not."""
    red, blue = picture("red"), picture("blue")
    (tmp_path / "one.png").write_bytes(red)
    (tmp_path / "two.png").write_bytes(red)
    data_url = "data:image/png;base64," + base64.b64encode(red).decode()
    for image in (tmp_path / "one.png", str(tmp_path / "two.png"), red, data_url):
        await buy_video(connection(simulator), clip(image=image), folder, terms())
    assert len(simulator.jobs) == 1
    (tmp_path / "one.png").write_bytes(blue)
    await buy_video(connection(simulator), clip(image=tmp_path / "one.png"), folder, terms())
    assert len(simulator.jobs) == 2


async def test_a_remix_counts_by_the_job_it_is_made_from(simulator, folder):
    """An asset, its job and its job's id name the same video."""
    original = await buy_video(connection(simulator), clip(), folder, terms())
    [record] = [record async for record in Ledger(folder).purchases()]
    for video in (original, record.job, original.source.job_id):
        await buy_video(connection(simulator), RemixRequest(video=video, prompt="at night"), folder, terms())
    assert len(simulator.jobs) == 2


async def test_a_key_with_another_fingerprint_is_refused(storage):
    ledger = Ledger(storage)
    await ledger.claim(order())
    with pytest.raises(InvalidRequest, match="belongs to another request"):
        await ledger.claim(order(fingerprint="f2"))


# ---------------------------------------------------------------- what is remembered


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
        return sorted([record.request["prompt"] async for record in Ledger(folder).purchases_of(run)])

    assert await prompts("run-1") == ["a paper boat"]
    assert await prompts("run-2") == ["a paper boat", "two"]
    assert await prompts("run-3") == []


# ---------------------------------------------------------------- leases


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


# ---------------------------------------------------------------- two that move the same purchase on

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
