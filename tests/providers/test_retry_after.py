"""When to come back, as servers say it that can't count: never at once, never for ever, and rarer each time."""

import asyncio
import math
import time

import pytest
from buyer import clip, connection, terms

from prefect_media.errors import JobTimedOut, ProviderUnavailable, RateLimited
from prefect_media.figures import pause_after
from prefect_media.jobs import JobState
from prefect_media.providers.error_mapping import look_again_after, retry_after
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at
from prefect_media.waiting.deadlines import LookAgain, Patience, Watch

PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
AT_ONCE = [{"retry-after": text} for text in ("0", "-5", "0.001", "-0", PAST)] + [{"retry-after-ms": "0"}]
NO_NUMBER = ["nan", "inf", "-inf", "1e300", "soon", "", "Fri, 31 Dec 99999 23:59:59 GMT"]


@pytest.fixture
def simulator():
    with Simulator(latency=0.0) as simulator:
        yield simulator


@pytest.fixture
def storage(tmp_path, monkeypatch, configure):
    monkeypatch.setattr("prefect_media.purchases.lost_jobs.LOOKS", (0.0,))
    configure(poll_seconds=0.05)
    return storage_at(str(tmp_path))


def asked(simulator, method, part):
    return len([seen for seen in simulator.requests if seen.method == method and part in seen.path])


@pytest.mark.parametrize("text", NO_NUMBER)
def test_what_is_no_finite_number_says_nothing(text):
    assert retry_after({"retry-after": text}) is None
    assert retry_after({"retry-after-ms": text}) is None
    assert look_again_after({"openai-poll-after-ms": text}, "openai-poll-after-ms") is None


@pytest.mark.parametrize("headers", AT_ONCE, ids=str)
def test_a_time_in_the_past_is_now(headers):
    assert 0 <= retry_after(headers) <= 0.001


def test_pauses_grow_with_each_refusal_and_only_so_far():
    assert [pause_after(refusals, 0.0) for refusals in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [pause_after(refusals, 10.0) for refusals in range(1, 6)] == [10, 10, 10, 10, 16]
    assert pause_after(10**9, 900.0) == 900


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("headers", AT_ONCE, ids=str)
async def test_a_refused_order_is_not_sent_again_at_once(simulator, storage, status, headers):
    simulator.faults.append(Fault("POST", "/videos$", "answer", times=None, status=status, headers=headers))
    with pytest.raises(RateLimited if status == 429 else ProviderUnavailable):
        await buy_video(connection(simulator), clip(), storage, terms(timeout=2.5))
    assert 1 <= asked(simulator, "POST", "/videos") <= 2, "at 0 s and 1 s; the next would be at 3 s, past the deadline"


async def test_refused_images_are_not_asked_for_again_at_once(simulator, storage):
    simulator.faults.append(Fault("POST", "/images", "answer", times=None, status=429, headers={"retry-after": "0"}))
    request = ImageRequest(prompt="a boat", model="gpt-image-2", size="1024x1024", quality="low")
    with pytest.raises(RateLimited):
        await buy_images(connection(simulator), request, storage, terms(timeout=2.5))
    assert 1 <= asked(simulator, "POST", "/images") <= 2


@pytest.mark.parametrize("text", ["nan", "inf", "1e300"])
@pytest.mark.parametrize("status", [429, 503])
async def test_nobody_waits_for_what_is_no_time(simulator, storage, status, text):
    simulator.faults.append(
        Fault("POST", "/videos$", "answer", times=None, status=status, headers={"retry-after": text})
    )
    async with asyncio.timeout(20):
        with pytest.raises((RateLimited, ProviderUnavailable)):
            await buy_video(connection(simulator), clip(), storage, terms(timeout=2.5))
    assert asked(simulator, "POST", "/videos") <= 2
    assert simulator.jobs == []


# Looks.


def refused(error, looks, seconds=6000):
    wait = Watch("v", Patience(seconds, poll_errors=100), now=0.0)
    return [wait.judge_error(error, 0.0).not_before for _ in range(looks)]


@pytest.mark.parametrize("kind", [RateLimited, ProviderUnavailable])
@pytest.mark.parametrize("asked", [0.0, 0.001])
def test_a_refused_look_is_not_sent_again_at_once(kind, asked):
    assert refused(kind("busy", retry_after=asked), 9) == [1, 1, 1, 2, 4, 8, 15, 15, 15]


@pytest.mark.parametrize("asked", [math.nan, math.inf, 1e300])
def test_a_look_does_not_wait_for_what_is_no_time(asked):
    assert refused(RateLimited("busy", retry_after=asked), 5) == [0.25, 0.5, 1, 2, 4]


@pytest.mark.parametrize("hint", [math.nan, math.inf, -1.0, 1e300])
def test_a_hint_that_is_no_time_says_nothing(hint):
    verdict = Watch("v", Patience(600), now=0.0).judge(JobState("v", "running", look_again_after=hint), 5.0)
    assert verdict == LookAgain(5.0, 600.0)


async def test_looks_are_rare_at_a_server_that_refuses_them_all(simulator, storage):
    simulator.faults.append(Fault("GET", "/videos", "answer", times=None, status=429, headers={"retry-after": "0"}))
    with pytest.raises(JobTimedOut):
        await buy_video(connection(simulator), clip(), storage, terms(timeout=3))
    assert asked(simulator, "GET", "/videos/") <= 5


@pytest.mark.parametrize("hint", ["nan", "inf", "-inf", "1e300", "-1000"])
async def test_a_finished_job_is_seen_whatever_the_hint(simulator, storage, hint):
    job = {"id": "JOB", "status": "queued"}

    def look():
        job["id"] = simulator.jobs[0].id
        simulator.faults.append(
            Fault("GET", "/videos/[^/]+$", "answer", status=200, body=job, headers={"openai-poll-after-ms": hint})
        )

    simulator.faults.append(Fault("POST", "/videos$", "hold_reply", seconds=0, after_accept=look))
    began = time.monotonic()
    await buy_video(connection(simulator), clip(), storage, terms(timeout=30))
    assert time.monotonic() - began < 20
