"""Many at once, with a flow run that sleeps while they are made: Prefect's real engine and server."""

import json

import pytest
from deployed import Deployed
from prefect import flow
from prefect.exceptions import FailedRun
from prefect_media.blocks import MediaStore
from prefect_media.flows.campaign import campaign
from prefect_media.flows.storyboard import storyboard

from prefect_media import ImageRequest, VideoRequest, agather, gather
from prefect_media.errors import InvalidRequest
from prefect_media.waiting import records

pytestmark = pytest.mark.usefixtures("prefect")

NAME = "many-asleep"
STILL = ImageRequest(prompt="a paper boat", model="gpt-image-2", size="1024x1024", quality="low")


def clip(prompt):
    return VideoRequest(prompt=prompt, model="boats-1", seconds=1, size="64x64")


@pytest.fixture(autouse=True)
async def provider(media_simulator, monkeypatch):
    """A provider that takes a minute; flows wait for a moment in the process, and then sleep."""
    monkeypatch.setattr("prefect_media.tasks.gathering.SUSPEND_AFTER", 0.2)
    monkeypatch.setattr("prefect_media.tasks.waiting.AWAKE", 1.0)
    media_simulator.latency = 60
    await media_simulator.credentials.asave(NAME, overwrite=True)
    return media_simulator


@pytest.fixture
def folder(tmp_path):
    return MediaStore(url=str(tmp_path / "store"))


def finish(provider):
    for job in provider.jobs:
        job.latency = 0


@flow(persist_result=False)
async def film(store: MediaStore, prompts: list[str], ordered: bool = False, per_task_run: int = 1):
    requests = [clip(prompts[0]), STILL, *map(clip, prompts[1:])]
    options = {"ordered": ordered, "concurrency": 1, "per_task_run": per_task_run}
    made = [each async for each in agather(NAME, requests, store=store, wait="suspend", **options)]
    return [(each.index, each.asset.kind if each.error is None else type(each.error).__name__) for each in made]


@flow(persist_result=False)
def sync_film(store: MediaStore, prompts: list[str]):
    requests = [clip(prompts[0]), STILL, *map(clip, prompts[1:])]
    return [(each.index, each.asset.kind) for each in gather(NAME, requests, store=store, wait="suspend", ordered=True)]


@pytest.mark.parametrize("per_task_run", [1, 4])
async def test_all_is_submitted_and_each_bought_once(provider, store, per_task_run):
    """More videos than fit into the window of a gathering that waits, in the order of the requests."""
    prompts = [f"boat {number}" for number in range(6)]
    run = Deployed(film, store, store=store, prompts=prompts, ordered=True, per_task_run=per_task_run)
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    assert (len(provider.jobs), len(provider.images)) == (6, 1)
    [record] = await run.records()
    assert len(record.jobs) == 6

    provider.jobs[0].latency = 0
    assert (await run.round()).woken == []
    finish(provider)
    assert (await run.round()).woken == [str(run.id)]
    assert (await run.execute()).is_completed()
    assert run.result == [(0, "video"), (1, "image"), *((index, "video") for index in range(2, 7))]
    assert (len(provider.jobs), len(provider.images)) == (6, 1)


async def test_a_video_that_failed_loses_no_other(provider, folder):
    run = Deployed(film, folder, store=folder, prompts=["explode", "sail"])
    await records.beat(run.storage, 60)
    await run.execute()
    finish(provider)
    await run.round()
    assert (await run.execute()).is_completed()
    assert sorted(run.result) == [(0, "JobFailed"), (1, "image"), (2, "video")]
    assert len(provider.jobs) == 2


async def test_the_sync_twin(provider, folder):
    run = Deployed(sync_film, folder, store=folder, prompts=["a", "b"])
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    finish(provider)
    assert (await run.round()).woken
    assert (await run.execute()).is_completed()
    assert run.result == [(0, "video"), (1, "image"), (2, "video")]
    assert len(provider.jobs) == 2


async def test_the_first_error_is_raised_without_a_wait(provider, folder):
    @flow(persist_result=False)
    async def raising():
        bad = STILL.model_copy(update={"size": "7x7"})
        async for _ in agather(NAME, [clip("a"), bad], store=folder, wait="suspend", on_error="raise"):
            pass

    run = Deployed(raising, folder)
    await records.beat(run.storage, 60)
    with pytest.raises(InvalidRequest):
        await run.execute()
    assert await run.records() == []


async def test_the_storyboard_sleeps_twice(provider, folder):
    run = Deployed(
        storyboard,
        folder,
        credentials=NAME,
        still=STILL,
        motion=clip("it sails"),
        remix="at night",
        store=folder,
        wait="suspend",
    )
    await records.beat(run.storage, 60)
    for jobs in (1, 2):
        assert (await run.execute()).name == "Suspended"
        assert len(provider.jobs) == jobs
        finish(provider)
        assert (await run.round()).woken
    assert (await run.execute()).is_completed()
    assert [job.operation for job in provider.jobs] == ["generate", "remix"]
    assert len(provider.images) == 1


@pytest.mark.parametrize("makers", ["one", "two"])
async def test_the_campaign_sleeps_once(provider, folder, tmp_path, makers):
    file = tmp_path / "shots.json"
    shots = [
        {"prompt": "it sails", "model": "boats-1", "seconds": 1, "size": "64x64"},
        {"kind": "image", "prompt": "a boat", "model": "gpt-image-2"},
        {"prompt": "explode", "model": "boats-1", "seconds": 1, "size": "64x64"},
    ]
    file.write_text(json.dumps(shots))
    other = {"image_credentials": NAME} if makers == "two" else {}
    run = Deployed(campaign, folder, credentials=NAME, shots=str(file), store=folder, wait="suspend", **other)
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    assert (len(provider.images), len(provider.jobs)) == (1, 2)
    finish(provider)
    assert (await run.round()).woken
    with pytest.raises(FailedRun, match="1 of 3 shots failed; the others are published"):
        await run.execute()
    assert (len(provider.images), len(provider.jobs)) == (1, 2)


async def test_what_can_not_be_suspended_is_refused():
    refused = [{"wait": "sleep"}, *({"wait": "suspend", option: True} for option in ("retry_failed", "cancel_remote"))]
    for options in refused:
        with pytest.raises(InvalidRequest):
            agather(NAME, [clip("a")], **options)
