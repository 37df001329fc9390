"""Submit, wait, fetch: three steps that may run anywhere and any time, and one job."""

import pytest
from prefect import flow
from prefect_media.tasks import video_is_finished
from pydantic import SecretStr

from prefect_media import (
    MediaStore,
    OpenAICredentials,
    RemixRequest,
    VideoJob,
    VideoRequest,
    afetch_video,
    agenerate_video,
    asubmit_video,
    await_for_video,
    fetch_video,
    generate_video,
    submit_video,
    wait_for_video,
)
from prefect_media.errors import ContentRejected, InvalidRequest, JobExpired, JobFailed, JobTimedOut
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.video_steps import job_at
from prefect_media.storage.store import storage_at

REQUEST = VideoRequest(prompt="a paper boat", model="sora-2", seconds=4, size="1280x720")
HERE = {"scope": "a test"}


def posts(simulator):
    return [request.path for request in simulator.requests if request.method == "POST"]


async def records(place):
    return [record async for record in Ledger(storage_at(place)).purchases()]


async def test_three_steps_make_the_same_asset_as_one(media_simulator, tmp_path):
    credentials, place = media_simulator.credentials, str(tmp_path)
    job = await asubmit_video.fn(credentials, REQUEST, store=place, **HERE)
    assert isinstance(job, VideoJob)
    assert job.id == media_simulator.jobs[0].id
    assert await await_for_video.fn(credentials, job, store=place) == job
    asset = await afetch_video.fn(credentials, job, store=place)
    assert (asset.width, asset.height, asset.seconds) == (1280, 720, 4)
    assert await agenerate_video.fn(credentials, REQUEST, store=place, **HERE) == asset
    [record] = await records(place)
    assert (record.state, record.job.id) == ("done", job.id)
    assert posts(media_simulator) == ["/v1/videos"]


async def test_a_job_goes_from_machine_to_machine_as_json_without_a_secret(media_simulator, store):
    job = await asubmit_video.fn(media_simulator.credentials, REQUEST, store=store, **HERE)
    text = job.model_dump_json()
    assert "sk-simulated" not in text
    elsewhere = MediaStore.model_validate(store.model_dump())  # another machine's block of the same store
    other_key = OpenAICredentials(base_url=media_simulator.url, api_key=SecretStr("sk-another-machine"))
    asset = await afetch_video.fn(other_key, VideoJob.model_validate_json(text), store=elsewhere)
    assert asset == await afetch_video.fn(media_simulator.credentials, job, store=store)
    downloads = [request for request in media_simulator.requests if request.path.endswith("/content")]
    assert len(downloads) == 1, "fetched twice is downloaded once"


def test_submitting_twice_in_one_scope_is_one_job(media_simulator, tmp_path):
    credentials, place = media_simulator.credentials, str(tmp_path)
    first = submit_video.fn(credentials, REQUEST, store=place, **HERE)
    assert submit_video.fn(credentials, REQUEST, store=place, **HERE) == first
    assert fetch_video.fn(credentials, wait_for_video.fn(credentials, first, store=place), store=place)
    assert submit_video.fn(credentials, REQUEST, store=place, **HERE) == first, "nor when it is finished"
    assert submit_video.fn(credentials, REQUEST, store=place, scope="another").id != first.id
    assert len(media_simulator.jobs) == 2


async def test_waiting_has_a_deadline_and_looking_does_not_wait(media_simulator, tmp_path):
    media_simulator.latency = 60
    credentials, place = media_simulator.credentials, str(tmp_path)
    job = await asubmit_video.fn(credentials, REQUEST, store=place, **HERE)
    with pytest.raises(JobTimedOut):
        await await_for_video.fn(credentials, job, store=place, timeout=0.1)
    looks = len(media_simulator.requests)
    assert not video_is_finished.fn(credentials, job, store=place)
    assert len(media_simulator.requests) == looks + 1
    media_simulator.jobs[0].latency = 0
    assert video_is_finished.fn(credentials, job, store=place)
    assert await await_for_video.fn(credentials, job, store=place, timeout=5) == job


@pytest.mark.parametrize(("prompt", "error"), [("explode", JobFailed), ("forbidden", ContentRejected)])
async def test_a_failure_is_put_on_record_and_told_by_every_step(media_simulator, tmp_path, prompt, error):
    credentials, place = media_simulator.credentials, str(tmp_path)
    asked = REQUEST.model_copy(update={"prompt": prompt})
    job = await asubmit_video.fn(credentials, asked, store=place, **HERE)
    for step in (await_for_video, afetch_video, await_for_video):
        with pytest.raises(error):
            await step.fn(credentials, job, store=place)
    [record] = await records(place)
    assert record.state == "failed"
    assert video_is_finished.fn(credentials, job, store=place)
    with pytest.raises(error):
        await agenerate_video.fn(credentials, asked, store=place, **HERE)
    assert await asubmit_video.fn(credentials, asked, store=place, **HERE) == job, "a flow that starts again goes on"
    again = await asubmit_video.fn(credentials, asked, store=place, retry_failed=True, **HERE)
    assert again.id != job.id
    assert len(media_simulator.jobs) == 2


async def test_a_remix_is_submitted_like_any_other(media_simulator, tmp_path):
    credentials, place = media_simulator.credentials, str(tmp_path)
    clip = await agenerate_video.fn(credentials, REQUEST, store=place, **HERE)
    job = await asubmit_video.fn(credentials, RemixRequest(video=clip, prompt="at night"), store=place, **HERE)
    asset = await afetch_video.fn(credentials, job, store=place)
    assert asset.source.remixed_from == clip.source.job_id


async def test_a_job_of_nobody_is_fetched_once_and_gets_a_record(media_simulator, tmp_path):
    credentials, place = media_simulator.credentials, str(tmp_path)
    bought_elsewhere = await asubmit_video.fn(credentials, REQUEST, store=str(tmp_path / "elsewhere"), **HERE)
    job = job_at(credentials.connection(), bought_elsewhere.id)
    asset = await afetch_video.fn(credentials, job, store=place)
    assert await afetch_video.fn(credentials, job, store=place) == asset
    assert await afetch_video.fn(credentials, bought_elsewhere, store=place) == asset
    [record] = [record for record in await records(place) if record.state == "done"]
    assert record.job.id == bought_elsewhere.id
    assert len(media_simulator.jobs) == 1


async def test_the_key_goes_to_no_server_but_its_own(media_simulator, tmp_path):
    credentials = media_simulator.credentials
    job = await asubmit_video.fn(credentials, REQUEST, store=str(tmp_path), **HERE)
    stranger = OpenAICredentials(base_url="http://127.0.0.1:9/v1", api_key=SecretStr("sk-for-another-server"))
    asked = len(media_simulator.requests)
    for step in (await_for_video, afetch_video):
        with pytest.raises(InvalidRequest, match=r"these credentials are for http://127\.0\.0\.1:9"):
            await step.fn(stranger, job, store=str(tmp_path))
    assert len(media_simulator.requests) == asked


async def test_content_that_has_expired_is_told_apart(media_simulator, tmp_path, monkeypatch):
    monkeypatch.setattr("prefect_media.providers.download.NOT_YET_PAUSES", (0.01,))
    credentials, place = media_simulator.credentials, str(tmp_path)
    job = await asubmit_video.fn(credentials, REQUEST, store=place, **HERE)
    media_simulator.jobs[0].latency = media_simulator.jobs[0].expires_in = 0
    with pytest.raises(JobExpired, match=r"the content of job .* is gone.*retry_failed=True"):
        await afetch_video.fn(credentials, job, store=place)


@pytest.mark.parametrize("step", [await_for_video, afetch_video])
async def test_what_an_earlier_job_came_to_is_not_put_on_record_of_a_later_one(media_simulator, tmp_path, step):
    credentials, place = media_simulator.credentials, str(tmp_path)
    exploding = REQUEST.model_copy(update={"prompt": "explode"})
    first = await asubmit_video.fn(credentials, exploding, store=place, **HERE)
    with pytest.raises(JobFailed):
        await await_for_video.fn(credentials, first, store=place)
    second = await asubmit_video.fn(credentials, exploding, store=place, retry_failed=True, **HERE)
    with pytest.raises(JobFailed, match=first.id):
        await step.fn(credentials, first, store=place)
    [record] = await records(place)
    assert (record.state, record.job and record.job.id, record.other_jobs) == ("submitted", second.id, (first.id,))


@pytest.mark.usefixtures("prefect")
def test_the_steps_in_flows_of_their_own(media_simulator, tmp_path):
    credentials, place = media_simulator.credentials, str(tmp_path)

    @flow
    def order() -> VideoJob:
        return submit_video(credentials, REQUEST, store=place, scope="forever")

    @flow
    def collect(job: VideoJob):
        return fetch_video(credentials, wait_for_video(credentials, job, store=place), store=place)

    job = order()
    asset = collect(job)
    assert asset.source.job_id == job.id
    assert generate_video.fn(credentials, REQUEST, store=place, scope="forever") == asset
