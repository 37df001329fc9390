"""Looks of wakers at a server: two requests a minute, whatever the number of jobs and wakers."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from buyer import clip, connection

from prefect_media.errors import InvalidRequest
from prefect_media.jobs import VideoJob
from prefect_media.providers import videos
from prefect_media.runtime import clock
from prefect_media.settings import settings
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at
from prefect_media.waiting.server_look import FOLDER, ServerRecord, look_at_server


@pytest.fixture
def storage(tmp_path):
    return storage_at(str(tmp_path))


@pytest.fixture
def minutes(monkeypatch):
    """Lets minutes pass on the wall clock."""
    passed = [0.0]
    true = clock.source.now
    monkeypatch.setattr(clock.source, "now", lambda: true() + timedelta(seconds=passed[0]))

    def let_pass(seconds=61.0):
        passed[0] += seconds

    return let_pass


async def jobs_of(simulator, number) -> list[VideoJob]:
    at = connection(simulator)
    return [await videos.submit(at, clip(f"boat {n}"), image=None, fingerprint="f") for n in range(number)]


def looks(simulator):
    return [request for request in simulator.requests if request.method == "GET"]


async def test_one_page_answers_for_all(storage):
    with Simulator(latency=60) as simulator:
        jobs = await jobs_of(simulator, 40)
        for job in simulator.jobs[:3]:
            job.latency = 0
        look = await look_at_server(connection(simulator), jobs, storage)
        assert look.finished == {job.id for job in jobs[:3]}
        assert len(looks(simulator)) == 1


async def test_many_wakers_together_ask_twice_a_minute(storage, minutes):
    with Simulator(latency=60) as simulator:
        jobs = await jobs_of(simulator, 5)
        at = connection(simulator)
        for _ in range(3):
            await asyncio.gather(*(look_at_server(at, jobs, storage) for _ in range(6)))
        assert 1 <= len(looks(simulator)) <= 2
        minutes()
        await asyncio.gather(*(look_at_server(at, jobs, storage) for _ in range(6)))
        assert 2 <= len(looks(simulator)) <= 4


async def test_what_no_page_has_is_looked_at_singly_and_gone_counts_as_finished(storage):
    with Simulator(latency=60) as simulator:
        jobs = await jobs_of(simulator, 3)
        gone = jobs[0].model_copy(update={"id": "video_gone"})
        look = await look_at_server(connection(simulator), [gone, *jobs[1:]], storage)
        assert look.finished == {"video_gone"}
        assert len(looks(simulator)) == look.requests == 2


async def test_a_server_without_a_list_is_asked_for_each_job(storage, minutes):
    with Simulator(latency=60, can_list=False) as simulator:
        jobs = await jobs_of(simulator, 30)
        for job in simulator.jobs:
            job.latency = 0
        at, finished = connection(simulator), set()
        for _ in range(3):
            finished = (await look_at_server(at, jobs, storage)).finished
            minutes()
        assert finished == {job.id for job in jobs}, "what an earlier look saw is remembered"
        assert len(looks(simulator)) == 1 + 30, "no job is looked at twice, after one request for a list"


async def test_a_server_that_asks_for_a_pause_gets_it(storage, minutes):
    with Simulator(latency=60) as simulator:
        jobs = await jobs_of(simulator, 2)
        refusal = Fault("GET", "/videos", "answer", status=429, headers={"Retry-After": "150"})
        simulator.faults.append(refusal)
        at = connection(simulator)
        for _ in range(3):
            assert not (await look_at_server(at, jobs, storage)).finished
            minutes()
        assert len(looks(simulator)) == 1
        minutes()
        await look_at_server(at, jobs, storage)
        assert len(looks(simulator)) == 2


async def test_a_job_that_stands_still_is_reported_once(storage, minutes):
    with Simulator(latency=1e9) as simulator:
        jobs = await jobs_of(simulator, 2)
        at, stalls = connection(simulator), []
        for _ in range(4):
            stalls += (await look_at_server(at, jobs, storage)).stalls
            minutes(settings().stall_seconds / 2 + 1)
        assert sorted(stall.job.id for stall in stalls) == sorted(job.id for job in jobs)
        assert all(stall.seconds >= settings().stall_seconds for stall in stalls)


async def test_a_key_is_never_sent_to_the_server_of_another_job(storage):
    with Simulator() as simulator, Simulator() as stranger:
        [job] = await jobs_of(stranger, 1)
        before = len(stranger.requests)
        with pytest.raises(InvalidRequest):
            await look_at_server(connection(simulator), [job], storage)
        assert len(stranger.requests) == before


@pytest.mark.parametrize("data", [b"", b"{", b'{"asked": "often"}', b'{"asked": ["9999-01-01T00:00:00Z"]}'])
async def test_a_damaged_note_of_a_server_stops_nobody(storage, data):
    with Simulator(latency=0) as simulator:
        jobs = await jobs_of(simulator, 2)
        await look_at_server(connection(simulator), jobs, storage)
        [path] = [path async for path, _ in storage.list(FOLDER)]
        await storage.put(path, data, content_type="application/json")
        assert (await look_at_server(connection(simulator), jobs, storage)).finished == {job.id for job in jobs}
        assert len(ServerRecord.model_validate_json(await storage.read(path)).asked) <= 2
