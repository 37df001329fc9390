"""Flow runs that sleep until their jobs are finished: Prefect's real engine and server, a simulated provider."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import httpx
import pytest
from deployed import Deployed
from prefect import flow, get_client, task
from prefect.states import Cancelled
from prefect_media.blocks import MediaStore
from prefect_media.tasks import suspension, wake
from prefect_media.tasks.waiting import auntil_finished, until_finished

from prefect_media import VideoRequest, afetch_video, asubmit_image_batch, asubmit_video, fetch_video, submit_video
from prefect_media.errors import InvalidRequest
from prefect_media.requests import ImageRequest
from prefect_media.runtime import clock
from prefect_media.waiting import records

pytestmark = pytest.mark.usefixtures("prefect")

NAME = "sleeper"


def request(prompt="a paper boat") -> VideoRequest:
    return VideoRequest(prompt=prompt, model="boats-1", seconds=1, size="64x64")


@pytest.fixture
async def sleeper(media_simulator):
    """A provider that takes a minute, and saved credentials for it."""
    media_simulator.latency = 60
    await media_simulator.credentials.asave(NAME, overwrite=True)
    return media_simulator


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("prefect_media.tasks.waiting.AWAKE", 1.0)


@pytest.fixture
def warnings():
    lines: list[str] = []
    handler = logging.Handler(level=logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("prefect.flow_runs").addHandler(handler)
    yield lines
    logging.getLogger("prefect.flow_runs").removeHandler(handler)


@pytest.fixture
def folder(tmp_path):
    return MediaStore(url=str(tmp_path / "store"))


@flow(persist_result=False)
async def film(store: str | MediaStore, prompts: list[str], until: str = "all", timeout: float = 3600):
    jobs = [await asubmit_video(NAME, request(prompt), store=store) for prompt in prompts]
    outcomes = await auntil_finished(jobs, until=until, suspend_after=0.2, timeout=timeout, store=store)
    fetched = [await afetch_video(NAME, each.job, store=store) for each in outcomes if each.finished and not each.error]
    return [asset.uri for asset in fetched], [type(each.error).__name__ for each in outcomes if each.error]


@flow(persist_result=False)
def sync_film(store: str | MediaStore, prompts: list[str]):
    jobs = [submit_video(NAME, request(prompt), store=store) for prompt in prompts]
    outcomes = until_finished(jobs, suspend_after=0.2, store=store)
    return [fetch_video(NAME, each.job, store=store).uri for each in outcomes]


@pytest.mark.parametrize("flow", [film, sync_film], ids=["async", "sync"])
async def test_asleep_until_finished_and_bought_once(sleeper, store, flow):
    run = Deployed(flow, store, store=store, prompts=["a", "b"])
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    [record] = await run.records()
    assert (record.flow_run_id, record.until, len(record.jobs)) == (str(run.id), "all", 2)
    assert {each.credentials for each in record.jobs} == {NAME}
    assert b"sk-" not in await run.storage.read(record.path)

    first, second = sleeper.jobs
    first.latency = 0
    done = await run.round()
    assert (done.waiting, done.woken) == (1, [])  # one of the two is not finished
    second.latency = 0
    assert (await run.round()).woken == [str(run.id)]
    assert (await run.round()).woken == []
    assert (await run.state()).name == "Resuming"
    assert await run.records() == []

    assert (await run.execute()).is_completed()
    assert len(sleeper.jobs) == 2
    assert len([key async for key, _ in run.storage.list() if key.endswith(".mp4")]) == 2


async def test_any_wakes_at_the_first(sleeper, folder):
    run = Deployed(film, folder, store=folder, prompts=["a", "b"], until="any")
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    sleeper.jobs[1].latency = 0
    assert (await run.round()).woken
    assert (await run.execute()).is_completed()
    uris, errors = run.result
    assert (len(uris), errors) == (1, [])


async def test_woken_too_early_it_sleeps_again_until_the_same_deadline(sleeper, folder):
    run = Deployed(film, folder, store=folder, prompts=["a"])
    await records.beat(run.storage, 60)
    await run.execute()
    [first] = await run.records()
    async with get_client() as client:
        await client.resume_flow_run(run.id)  # somebody clicked
    assert (await run.execute()).name == "Suspended"
    [second] = await run.records()  # that of the first suspension was removed
    assert second.suspension != first.suspension
    assert abs(second.deadline - first.deadline) < timedelta(seconds=1)
    assert len(sleeper.jobs) == 1


async def test_the_deadline_wakes_and_says_so(sleeper, folder, monkeypatch):
    run = Deployed(film, folder, store=folder, prompts=["a"], timeout=60)
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    true = clock.source.now
    monkeypatch.setattr(clock.source, "now", lambda: true() + timedelta(seconds=61))
    assert (await run.round()).woken
    assert (await run.execute()).is_completed()
    assert run.result == ([], ["JobTimedOut"])


async def test_jobs_that_failed_or_are_gone_wake_and_are_told(sleeper, folder):
    run = Deployed(film, folder, store=folder, prompts=["explode"])
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    sleeper.jobs[0].latency = 0
    assert (await run.round()).woken
    await run.execute()
    assert run.result == ([], ["JobFailed"])


async def test_a_job_that_failed_before_another_sleep_does_not_end_the_flow(sleeper, folder):
    run = Deployed(film, folder, store=folder, prompts=["explode", "a"])
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    failed, other = sleeper.jobs
    failed.latency = 0
    async with get_client() as client:
        await client.resume_flow_run(run.id)  # somebody clicked
    assert (await run.execute()).name == "Suspended"  # and the failure is on record
    other.latency = 0
    assert (await run.round()).woken
    assert (await run.execute()).is_completed()
    uris, errors = run.result
    assert (len(uris), errors) == (1, ["JobFailed"])
    assert len(sleeper.jobs) == 2


async def test_a_flow_run_that_cannot_be_resumed_does_not_hold_up_the_others(sleeper, folder, monkeypatch):
    runs = [Deployed(film, folder, store=folder, prompts=[prompt]) for prompt in ("a", "b")]
    await records.beat(runs[0].storage, 60)
    for run in runs:
        assert (await run.execute()).name == "Suspended"
    for job in sleeper.jobs:
        job.latency = 0
    true, refused = wake.resume, []

    async def resume(client, record, run):
        if not refused:
            refused.append(record.flow_run_id)
            raise httpx.ReadTimeout("Prefect's server does not answer")
        return await true(client, record, run)

    monkeypatch.setattr(wake, "resume", resume)
    assert len((await runs[0].round()).woken) == 1
    assert (await runs[0].round()).woken == refused, "and its record was kept for the next round"


@flow
async def batch_film(store: str | MediaStore):
    batch = await asubmit_image_batch(NAME, [ImageRequest(prompt="a", model="gpt-image-1")], store=store)
    job = await asubmit_video(NAME, request(), store=store)
    outcomes = await auntil_finished([batch, job], suspend_after=0.2, store=store)
    return [outcome.finished for outcome in outcomes]


async def test_batches_and_videos_are_waited_for_together(sleeper, folder):
    run = Deployed(batch_film, folder, store=folder)
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    sleeper.jobs[0].latency = sleeper.batches[0].latency = 0
    assert (await run.round()).woken
    assert (await run.execute()).is_completed()
    assert run.result == [True, True]
    assert (len(sleeper.jobs), len(sleeper.batches)) == (1, 1)


@pytest.mark.parametrize("end", ["cancelled", "deleted"])
async def test_no_record_is_left_of_a_run_that_ended_otherwise(sleeper, folder, end):
    run = Deployed(film, folder, store=folder, prompts=["a"])
    await records.beat(run.storage, 60)
    await run.execute()
    async with get_client() as client:
        if end == "cancelled":
            await client.set_flow_run_state(run.id, Cancelled(), force=True)
        else:
            await client.delete_flow_run(run.id)
    done = await run.round()
    assert (done.removed, done.woken) == (1, [])
    assert await run.records() == []


async def test_a_run_that_another_prefect_knows_is_left_alone(sleeper, folder):
    run = Deployed(film, folder, store=folder, prompts=["a"])
    await records.beat(run.storage, 60)
    await run.execute()
    [record] = await run.records()
    await records.remove(run.storage, record)
    unknown = "00000000-0000-7000-8000-000000000001"
    theirs = record.model_copy(update={"api_url": "https://prefect.example/api", "flow_run_id": unknown})
    await records.write(run.storage, theirs)
    assert (await run.round()).removed == 0
    assert await run.records() == [theirs]


async def test_many_wakers_resume_once(sleeper, folder):
    run = Deployed(film, folder, store=folder, prompts=["a"])
    await records.beat(run.storage, 60)
    await run.execute()
    sleeper.jobs[0].latency = 0
    rounds = await asyncio.gather(*(wake.make_round(run.storage) for _ in range(5)))
    assert [run_id for done in rounds for run_id in done.woken] == [str(run.id)]
    assert (await run.execute()).is_completed()


async def test_a_waker_that_dies_before_it_resumes_loses_nothing(sleeper, folder, monkeypatch):
    run = Deployed(film, folder, store=folder, prompts=["a"])
    await records.beat(run.storage, 60)
    await run.execute()
    sleeper.jobs[0].latency = 0

    async def die(*_):
        raise asyncio.CancelledError

    with monkeypatch.context() as dying:
        dying.setattr(wake, "resume", die)
        with pytest.raises(asyncio.CancelledError):
            await wake.make_round(run.storage)
    assert (await run.round()).woken == [str(run.id)]


@pytest.mark.parametrize("obstacle", ["no deployment", "a subflow", "no waker", "credentials that are not saved"])
async def test_where_nobody_could_resume_it_waits_in_the_process_and_says_so(sleeper, tmp_path, warnings, obstacle):
    sleeper.latency = 2
    store = MediaStore(url=str(tmp_path))
    if obstacle != "no waker":
        await records.beat(store.storage(), 60)

    @flow
    async def inner():
        credentials = sleeper.credentials if obstacle == "credentials that are not saved" else NAME
        job = await asubmit_video(credentials, request(), store=store)
        return await auntil_finished([job], suspend_after=0.2, store=store)

    @flow(persist_result=False)
    async def outer():
        return [each.finished for each in (await inner() if obstacle == "a subflow" else await inner.fn())]

    if obstacle == "no deployment":
        assert await outer() == [True]
    else:
        run = Deployed(outer, store)
        assert (await run.execute()).is_completed()
        assert await run.records() == []
    lines = [line for line in warnings if "Waiting in the process" in line]
    assert len(lines) == 1, warnings


async def test_bad_input_is_refused_in_a_flow_and_outside(sleeper, tmp_path):
    @task
    async def in_a_task():
        await auntil_finished([])

    @flow
    async def make(what):
        if what == "task":
            return await in_a_task()
        job = await asubmit_video(NAME, request(), store=str(tmp_path))
        stranger = job.model_copy(update={"id": "video_of_somebody"})
        given = {
            "one job": (job, {}),
            "a set": ({job}, {}),
            "text": (["video_1"], {}),
            "nothing remembered": ([stranger], {}),
            "timeout": ([job], {"timeout": 0}),
            "until": ([job], {"until": "some"}),
            "suspend_after": ([job], {"suspend_after": -1}),
        }[what]
        await auntil_finished(given[0], store=str(tmp_path), **given[1])

    with pytest.raises(InvalidRequest, match="outside of a flow"):
        await auntil_finished([])
    for what in ("task", "one job", "a set", "text", "nothing remembered", "timeout", "until", "suspend_after"):
        with pytest.raises(InvalidRequest):
            await make(what)
    assert len(sleeper.jobs) <= 7


def test_the_address_on_record_has_no_login_in_it():
    assert suspension.url_without_login("https://me:secret@prefect.example/api/?key=1") == "https://prefect.example/api"
