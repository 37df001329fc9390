"""Waiting over real sockets: one poller serves all who wait in a process, whatever happens to one of them."""

import asyncio
import logging
import time
from datetime import timedelta

import pytest

from prefect_media.errors import AuthenticationFailed, JobExpired, JobFailed, JobTimedOut, ProviderUnavailable
from prefect_media.providers import videos
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.requests import VideoRequest
from prefect_media.simulator import Fault, Simulator
from prefect_media.waiting import poller
from prefect_media.waiting.wait import watch

ONE = r"/videos/video_\w+$"
LIST = r"/videos\?"


@pytest.fixture
def simulator():
    with Simulator() as running:
        yield running


async def bought(simulator, count=1, prompt="waves", latency=None):
    if latency is not None:
        simulator.latency = latency
    request = VideoRequest(prompt=prompt, model="sora-2", seconds=4, size="1280x720")
    connection = simulator.credentials.connection()
    jobs = [await videos.submit(connection, request, image=None, fingerprint=str(n)) for n in range(count)]
    del simulator.requests[:]
    return connection, jobs


def terms(**options):
    return PurchaseOptions(**{"scope": "test", "timeout": 30, **options})


def asked(simulator, what=""):
    return [seen.path for seen in simulator.requests if seen.method == "GET" and what in seen.path]


async def test_a_short_job_is_seen_at_once(simulator):
    connection, [job] = await bought(simulator, latency=0.2)
    began = time.monotonic()
    assert (await watch(connection, job, terms())).phase == "done"
    assert time.monotonic() - began < 1
    assert 1 <= len(asked(simulator)) <= 5


async def test_forty_waits_share_a_few_requests(simulator):
    connection, jobs = await bought(simulator, 40, latency=2.0)
    states = await asyncio.gather(*(watch(connection, job, terms()) for job in jobs))
    assert [state.id for state in states] == [job.id for job in jobs], "everybody gets the job that is theirs"
    assert len(asked(simulator, "limit=100")) >= 3
    assert len(asked(simulator)) < 3 * 40


async def test_a_server_without_a_list(simulator):
    with Simulator(can_list=False, latency=1.0) as simulator:
        connection, jobs = await bought(simulator, 8)
        states = await asyncio.gather(*(watch(connection, job, terms()) for job in jobs))
    assert {state.phase for state in states} == {"done"}
    assert len(asked(simulator, "limit=100")) == 1, "asked for the list once, and never again"


async def test_a_list_that_shows_nothing_useful(simulator):
    simulator.faults.append(Fault("GET", LIST, "answer", times=None, status=200, body={"data": [{"id": "x"}, 7]}))
    connection, jobs = await bought(simulator, 4, latency=1.0)
    states = await asyncio.gather(*(watch(connection, job, terms()) for job in jobs))
    assert {state.phase for state in states} == {"done"}
    assert len(asked(simulator, "limit=100")) <= 3


async def test_why_a_job_failed_is_told_even_if_the_list_is_silent(simulator):
    connection, jobs = await bought(simulator, 3, prompt="explode", latency=0.3)
    rows = [{"id": job.id, "object": "video", "status": "failed"} for job in jobs]
    simulator.faults.append(Fault("GET", LIST, "answer", times=None, status=200, body={"data": rows}))
    results = await asyncio.gather(*(watch(connection, job, terms()) for job in jobs), return_exceptions=True)
    assert [type(error) for error in results] == [JobFailed] * 3
    assert all("could not be generated" in str(error) for error in results)


async def test_one_wait_that_is_cancelled_or_fails_leaves_the_others_alone(simulator):
    connection, [bad] = await bought(simulator, prompt="explode", latency=0.3)
    _, [good, left] = await bought(simulator, 2, latency=1.0)
    waits = [asyncio.create_task(watch(connection, job, terms())) for job in (bad, good, left)]
    await asyncio.sleep(0.2)
    waits[2].cancel()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(results[0], JobFailed)
    assert results[1].phase == "done"
    assert isinstance(results[2], asyncio.CancelledError)


async def test_two_who_wait_for_the_same_job(simulator):
    connection, [job] = await bought(simulator, latency=0.6)
    waits = [watch(connection, job, terms()), watch(connection, job, terms(timeout=0.2))]
    patient, hasty = await asyncio.gather(*waits, return_exceptions=True)
    assert patient.phase == "done"
    assert isinstance(hasty, JobTimedOut)


async def test_the_poller_ends_with_the_last_wait_and_begins_again(simulator):
    for _ in range(2):
        connection, [job] = await bought(simulator, latency=0.2)
        await watch(connection, job, terms())
        await asyncio.sleep(0.05)
        assert not [task for task in asyncio.all_tasks() if "poller" in task.get_name()]


def test_each_event_loop_has_a_poller_of_its_own(simulator):
    async def once():
        connection, [job] = await bought(simulator, latency=0.2)
        return (await watch(connection, job, terms())).phase

    assert [asyncio.run(once()) for _ in range(2)] == ["done", "done"]


async def test_blips_are_forgiven(simulator):
    connection, [job] = await bought(simulator, latency=0.5)
    for action in ("refuse", "corrupt", "truncate"):
        simulator.faults.append(Fault("GET", ONE, action))
    simulator.faults.append(Fault("GET", ONE, "answer", status=502, body="<html>bad gateway</html>"))
    simulator.faults.append(Fault("GET", ONE, "answer", status=404))
    assert (await watch(connection, job, terms())).phase == "done"
    assert all(fault.hits for fault in simulator.faults)


async def test_a_server_that_stays_away_is_given_up_and_a_wrong_key_at_once(simulator, monkeypatch):
    monkeypatch.setattr("prefect_media.waiting.deadlines.LONGEST_AFTER_ERROR", 0.05)
    connection, [job] = await bought(simulator, latency=30)
    simulator.faults.append(Fault("GET", ONE, "answer", times=None, status=500))
    with pytest.raises(ProviderUnavailable) as caught:
        await watch(connection, job, terms())
    assert caught.value.job_id == job.id
    assert simulator.faults[0].hits == 10
    simulator.faults[0].status = 401
    with pytest.raises(AuthenticationFailed):
        await watch(connection, job, terms())
    assert simulator.faults[0].hits == 11


async def test_too_many_requests_stop_the_whole_poller_for_as_long_as_the_server_says(simulator):
    connection, jobs = await bought(simulator, 4, latency=0.2)
    limit = Fault("GET", "/videos", "answer", times=1, status=429, headers={"retry-after": "1"})
    simulator.faults.append(limit)
    began = time.monotonic()
    waits = [asyncio.create_task(watch(connection, job, terms())) for job in jobs]
    assert await asyncio.to_thread(limit.wait, 5)
    await asyncio.sleep(0.8)
    assert len(asked(simulator)) == 1, "not one of the four asked while the server wished to be left alone"
    await asyncio.gather(*waits)
    assert 1 < time.monotonic() - began < 3


async def test_the_servers_hint_is_heeded():
    with Simulator(poll_after_ms=700, latency=1.2) as simulator:
        connection, [job] = await bought(simulator)
        await watch(connection, job, terms())
    assert len(asked(simulator)) <= 3


async def test_a_timeout_in_time_and_with_a_last_look(simulator):
    connection, [job] = await bought(simulator, latency=30)
    began = time.monotonic()
    with pytest.raises(JobTimedOut, match="not done after") as caught:
        await watch(connection, job, terms(timeout=0.5))
    assert 0.5 <= time.monotonic() - began < 1
    assert caught.value.timeline[0][1] == "queued"
    connection, [job] = await bought(simulator, latency=0.4)
    simulator.faults.append(Fault("GET", ONE, "answer", status=429, headers={"retry-after": "500"}))
    assert (await watch(connection, job, terms(timeout=0.8))).phase == "done", "the last look is always taken"


async def test_a_server_that_hangs_keeps_nobody_past_the_deadline(simulator, monkeypatch):
    monkeypatch.setattr("prefect_media.waiting.wait.LAST_LOOK", 0.3)
    connection, [job] = await bought(simulator, latency=30)
    simulator.faults.append(Fault("GET", "/videos", "hold", times=None, seconds=5))
    began = time.monotonic()
    with pytest.raises(JobTimedOut):
        await watch(connection, job, terms(timeout=0.5))
    assert time.monotonic() - began < 1.5


async def test_a_look_that_hangs_is_a_look_that_failed(simulator, monkeypatch):
    monkeypatch.setattr(poller, "ANSWER", 0.2)
    connection, [job] = await bought(simulator, latency=0.5)
    simulator.faults.append(Fault("GET", "/videos", "hold", seconds=5))
    began = time.monotonic()
    assert (await watch(connection, job, terms())).phase == "done"
    assert time.monotonic() - began < 3


async def test_the_queue_has_a_limit_of_its_own(simulator):
    connection, [job] = await bought(simulator, latency=60)
    with pytest.raises(JobTimedOut, match="queue"):
        await watch(connection, job, terms(queue_timeout=0.4))


async def test_a_job_that_is_gone(simulator, short_pauses):
    connection, [job] = await bought(simulator)
    old = job.model_copy(update={"id": "video_gone", "submitted_at": job.submitted_at - timedelta(hours=1)})
    with pytest.raises(JobExpired, match="gone at the provider") as caught:
        await watch(connection, old, terms())
    assert caught.value.job_id == "video_gone"
    assert len(asked(simulator, "video_gone")) >= 3


async def test_a_stall_and_a_strange_status_are_told_and_the_wait_goes_on(simulator, monkeypatch, caplog):
    from prefect_media.settings import settings

    monkeypatch.setattr(settings(), "stall_seconds", 0.2)
    connection, [job] = await bought(simulator, latency=1.0)
    body = {"id": job.id, "status": "dreaming", "progress": 99}
    simulator.faults.append(Fault("GET", ONE, "answer", times=6, status=200, body=body))
    stalls = []

    def stalled(step):
        if step.kind == "stalled":
            stalls.append((step.job_id, step.status, step.waited_seconds >= 0.2))
            raise RuntimeError("nobody listens")

    with caplog.at_level(logging.WARNING, "prefect_media"):
        assert (await watch(connection, job, terms(on_step=stalled))).phase == "done"
    assert stalls == [(job.id, "dreaming", True)]
    assert "could not be shown: RuntimeError: nobody listens" in caplog.text
    told = [record.getMessage() for record in caplog.records if "could not be shown" not in record.getMessage()]
    assert [("unknown status" in text, "99 %" in text) for text in told] == [(True, False), (False, True)]


async def test_each_look_is_a_step_until_the_job_is_finished(simulator):
    connection, [job] = await bought(simulator, latency=1.0)
    steps = []
    assert (await watch(connection, job, terms(on_step=steps.append))).phase == "done"
    assert [step.progress for step in steps] == sorted(step.progress for step in steps)
    assert (steps[-1].kind, steps[-1].progress) == ("finished", 100)
    assert {step.kind for step in steps[:-1]} <= {"queued", "started", "progress"}
    assert {(step.job_id, step.host, step.model) for step in steps} == {(job.id, connection.host, job.model)}
