"""`prefect-media jobs` as it is typed: a process of its own, a ledger in a store, a provider behind a socket."""

import asyncio
import json
import os
import subprocess
import sys
import time

import pytest

from prefect_media.errors import SubmissionInDoubt
from prefect_media.ledger.lease import new_lease
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.videos import order_video
from prefect_media.requests import VideoRequest
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import storage_at

BOAT = VideoRequest(prompt="A paper boat on a quiet sea, seen from high above", model="sora-2", seconds=4)


@pytest.fixture
def url(s3):
    return f"s3://{s3.bucket()}/films"


@pytest.fixture
def jobs(s3, url, media_simulator):
    """Runs `prefect-media jobs ...` on the store at `url`, with the simulator's address in the environment."""

    def run(*arguments, **env):
        known = {
            **os.environ,
            **s3.env,
            "PREFECT_MEDIA_STORE": url,
            "OPENAI_BASE_URL": media_simulator.url,
            "OPENAI_API_KEY": "sk-simulated",
            **env,
        }
        return subprocess.run(
            [sys.executable, "-c", "from prefect_media.cli.app import main; main()", "jobs", *arguments],
            env={name: value for name, value in known.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def ledger(s3, url):
    options = StorageOptions(endpoint_url=s3.url, region="us-east-1", access_key_id=s3.key, secret_access_key=s3.secret)
    return Ledger(storage_at(url, options))


async def ordered(ledger, simulator, request=BOAT):
    """A job that was paid for by a process which then went away: submitted, never fetched."""
    terms = PurchaseOptions(scope="named:test", timeout=30)
    claim, job = await order_video(simulator.credentials.connection(), request, ledger, terms)
    assert claim.record.state == "submitted"
    return claim.record.key, job.id


async def test_list_tells_what_is_on_the_ledger(jobs, ledger, media_simulator):
    """One row per purchase, with enough to find it again here and at the provider."""
    key, job_id = await ordered(ledger, media_simulator)

    done = await asyncio.to_thread(jobs, "list")

    assert done.returncode == 0, done.stderr
    heading, row = done.stdout.splitlines()
    assert heading.split() == ["key", "state", "kind", "model", "job", "prompt", "USD", "where", "when", "(UTC)"]
    host = media_simulator.url.removeprefix("http://").removesuffix("/v1")
    for word in (key[:12], "submitted", "video", "sora-2", job_id, "A paper boat on a quiet sea, se…", host):
        assert word in row


async def test_list_keeps_to_the_states_asked_for(jobs, ledger, media_simulator):
    await ordered(ledger, media_simulator)
    assert "sora-2" in jobs("list", "--state", "submitted", "--state", "done").stdout
    assert "No purchases of that kind" in jobs("list", "--state", "done").stdout
    wrong = jobs("list", "--state", "lost")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("there is no state lost; the states are intent, submitted, done")


async def test_show_prints_the_record(jobs, ledger, media_simulator):
    key, job_id = await ordered(ledger, media_simulator)
    record = json.loads(jobs("show", key[:8]).stdout)
    assert record["key"] == key
    assert record["job"]["id"] == job_id
    assert record["request"]["prompt"] == BOAT.prompt


async def test_a_key_that_names_none_or_several_is_one_sentence(jobs, ledger, media_simulator):
    key, _ = await ordered(ledger, media_simulator)
    record, _ = await ledger.get(key)
    twin = record.model_copy(update={"key": key[:-1] + "x"})
    assert await ledger.storage.create(f"ledger/purchases/{twin.key}.json", twin.model_dump_json().encode())

    for prefix, complaint in (
        ("zzz", "there is no purchase 'zzz'"),
        (key[:-1], f"2 purchases begin with '{key[:-1]}'"),
        ("", "the key is empty"),
    ):
        for done in (jobs("show", prefix), jobs("forget", prefix, "--yes")):
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith(complaint)
            assert len(done.stderr.splitlines()) == 1
    assert len([record async for record in ledger.purchases()]) == 2


async def test_resume_fetches_what_was_left_and_buys_nothing(jobs, ledger, media_simulator):
    """The process that ordered is gone; the video comes into the store all the same, from the same job."""
    key, job_id = await ordered(ledger, media_simulator)

    done = jobs("resume")

    assert done.returncode == 0, done.stderr
    record, _ = await ledger.get(key)
    assert record.state == "done"
    assert f"{key[:12]} job {job_id}: done, {record.assets[0].uri}" in done.stdout
    assert await ledger.storage.size(ledger.storage.key_of(record.assets[0].uri)) == record.assets[0].size_bytes
    assert len(media_simulator.jobs) == 1
    assert "Nothing to resume" in jobs("resume").stdout


async def test_resume_of_one_leaves_the_others(jobs, ledger, media_simulator):
    key, _ = await ordered(ledger, media_simulator)
    other, _ = await ordered(ledger, media_simulator, BOAT.model_copy(update={"variant": 1}))
    assert jobs("resume", key).returncode == 0
    assert (await ledger.get(key))[0].state == "done"
    assert (await ledger.get(other))[0].state == "submitted"


async def test_resume_skips_jobs_of_another_server(jobs, ledger, media_simulator):
    """A key is only ever sent to the server it belongs to."""
    with Simulator() as elsewhere:
        key, job_id = await ordered(ledger, elsewhere)
        seen = len(elsewhere.requests)
        done = jobs("resume")
        assert len(elsewhere.requests) == seen
    host = elsewhere.url.removeprefix("http://").removesuffix("/v1")
    assert done.returncode == 1
    assert f"job {job_id}: skipped, it was made at http://{host}, and there are credentials for " in done.stderr
    assert (await ledger.get(key))[0].state == "submitted"


async def test_resume_says_what_the_provider_gave_up_on(jobs, ledger, media_simulator):
    explosive = BOAT.model_copy(update={"prompt": "a boat that will explode"})
    key, job_id = await ordered(ledger, media_simulator, explosive)
    done = jobs("resume")
    assert done.returncode == 1
    assert f"job {job_id} failed" in done.stderr
    assert (await ledger.get(key))[0].state == "failed"


async def test_resume_leaves_what_takes_too_long_on_record(jobs, ledger, media_simulator):
    media_simulator.latency = 60
    key, _ = await ordered(ledger, media_simulator)
    began = time.monotonic()
    done = jobs("resume", "--timeout", "1")
    assert done.returncode == 1
    assert "was not done after 1" in done.stderr
    assert time.monotonic() - began < 30
    assert (await ledger.get(key))[0].state == "submitted"


async def test_resume_without_a_key_says_where_to_put_one(jobs, ledger, media_simulator):
    await ordered(ledger, media_simulator)
    done = jobs("resume", OPENAI_API_KEY=None, OPENAI_BASE_URL=None)
    assert done.returncode == 1
    assert done.stderr.startswith("there is no key: pass --credentials")


async def test_resume_with_the_name_of_a_saved_block(jobs, ledger, media_simulator, prefect):
    from prefect.settings import PREFECT_API_URL

    key, _ = await ordered(ledger, media_simulator)
    await media_simulator.credentials.asave("resumer", overwrite=True)
    env = {"PREFECT_API_URL": PREFECT_API_URL.value(), "OPENAI_BASE_URL": None, "OPENAI_API_KEY": None}

    done = jobs("resume", "--credentials", "resumer", **env)
    assert done.returncode == 0, done.stderr
    assert (await ledger.get(key))[0].state == "done"

    await ordered(ledger, media_simulator, BOAT.model_copy(update={"variant": 1}))
    unknown = jobs("resume", "--credentials", "nobody", **env)
    assert unknown.returncode == 1
    assert "there is no saved block 'nobody'" in unknown.stderr


async def test_prompts_with_brackets_are_shown_as_they_are(jobs, ledger, media_simulator):
    request = BOAT.model_copy(update={"prompt": "logo with [/INST] and [bold]x"})
    await order_video(media_simulator.credentials.connection(), request, ledger, PurchaseOptions(scope="a", timeout=60))
    assert "logo with [/INST] and [bold]x" in jobs("list").stdout


async def test_a_record_that_can_not_be_read_stands_in_nobodys_way(jobs, ledger, media_simulator):
    """A newer version may have written it."""
    connection = media_simulator.credentials.connection()
    claim, _ = await order_video(connection, BOAT, ledger, PurchaseOptions(scope="a", timeout=60))
    path = "ledger/purchases/ffff0000.json"
    record = json.loads(claim.record.model_dump_json()) | {"state": "refunded", "key": "ffff0000"}
    await ledger.storage.put(path, json.dumps(record).encode(), content_type="application/json")
    listed = jobs("list")
    assert listed.returncode == 0
    assert claim.record.key[:12] in listed.stdout
    assert "Left out: the purchase ffff0000" in listed.stderr
    assert "state: Input should be" in listed.stderr
    assert "jobs forget ffff0000" in listed.stderr
    assert jobs("resume").returncode == 0
    assert "unreadable" in jobs("forget", "ffff").stdout
    assert jobs("forget", "ffff", "--yes").returncode == 0
    assert await ledger.storage.size(path) is None


async def test_forget_asks_first(jobs, ledger, media_simulator):
    """Without a yes nothing happens; with one the record is gone, and the same request would be bought anew."""
    key, _ = await ordered(ledger, media_simulator)
    assert jobs("forget", key[:12]).returncode == 1
    assert await ledger.get(key) is not None

    done = jobs("forget", key[:12], "--yes")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Forgotten: {key}")
    assert await ledger.get(key) is None
    await ordered(ledger, media_simulator)
    assert len(media_simulator.jobs) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": "submitted"}, "(submitted)? It is paid for and was not fetched yet."),
        ({"state": "in_doubt"}, "(in_doubt)? It may be paid for."),
        ({"doubtful": True}, "(intent)? It may be paid for."),
        ({}, "(intent)? It may be being bought at this moment"),
        ({"lease": None}, "(intent)? The same request is then bought again."),
        ({"state": "failed", "lease": None}, "(failed)? The same request is then bought again."),
    ],
)
async def test_forget_says_what_may_be_paid_for(jobs, ledger, media_simulator, change, words):
    claim, _ = await order_video(
        media_simulator.credentials.connection(), BOAT, ledger, PurchaseOptions(scope="a", timeout=60)
    )
    record = claim.record.model_copy(update={"state": "intent", "job": None, "lease": new_lease("somebody"), **change})
    path = f"ledger/purchases/{record.key}.json"
    await ledger.storage.put(path, record.model_dump_json().encode(), content_type="application/json")
    done = jobs("forget", record.key[:12])
    assert done.returncode == 1 and words in done.stdout
    assert await ledger.get(record.key) is not None


def test_an_empty_ledger_in_a_folder(jobs, tmp_path):
    assert f"on the ledger of file://{tmp_path}" in jobs("list", "--store", str(tmp_path)).stdout


def test_the_default_store_is_the_one_of_the_tasks(jobs, tmp_path):
    """Without --store and PREFECT_MEDIA_STORE the command looks where a task would have written."""
    home = tmp_path / "home"
    done = jobs("list", PREFECT_MEDIA_STORE=None, PREFECT_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert f"file://{home}/media" in done.stdout


def test_a_store_that_is_nowhere_is_one_sentence(jobs):
    done = jobs("list", "--store", "ftp://nowhere/films")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "can't be opened" in done.stderr


async def test_adopt_attaches_a_job_that_resume_fetches(jobs, ledger, media_simulator):
    """A lost reply at a server without a list: the person who knows the job says so."""
    connection = media_simulator.credentials.connection()
    media_simulator.faults.append(Fault("POST", "/videos$", "lose_reply"))
    media_simulator.faults.append(Fault("GET", r"/videos(\?|$)", "answer", times=None, status=501))
    with pytest.raises(SubmissionInDoubt) as caught:
        await order_video(connection, BOAT, ledger, PurchaseOptions(scope="a", timeout=60))
    [job] = media_simulator.jobs
    key = caught.value.key

    wrong = jobs("adopt", key[:12], "video_of_nobody")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "job video_of_nobody not found" in wrong.stderr

    done = jobs("adopt", key[:12], job.id)
    assert done.returncode == 0, done.stderr
    assert f"{key[:12]}: has job {job.id} now" in done.stdout
    assert jobs("resume", key[:12]).returncode == 0
    assert (await ledger.get(key))[0].state == "done"
    assert len(media_simulator.jobs) == 1
