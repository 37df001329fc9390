"""Futures where a request takes a picture or a video: waited for by the engine, checked, and shown as dependencies."""

import asyncio

import pytest
from PIL import Image
from prefect import flow, get_client, task, unmapped
from prefect.task_runners import ThreadPoolTaskRunner

from prefect_media import (
    ImageEditRequest,
    ImageRequest,
    MediaTaskRunner,
    RemixRequest,
    VideoRequest,
    agenerate_video,
    edit_images,
    generate_images,
    generate_video,
    remix_video,
    submit_video,
    wait_for_video,
)
from prefect_media.errors import InvalidRequest
from prefect_media.requests import MediaRequest

RUNNERS = pytest.mark.parametrize("runner", [ThreadPoolTaskRunner(), MediaTaskRunner()], ids=["threads", "media"])


def still(prompt="a boat", **fields):
    return ImageRequest(prompt=prompt, model="gpt-image-2", size="1280x720", **fields)


def clip(**fields):
    return VideoRequest(model="sora-2", seconds=4, size="1280x720", **{"prompt": "it drifts", **fields})


def picture(uri):
    """The pixels of a picture in a folder."""
    return Image.open(uri.removeprefix("file://")).convert("RGB").tobytes()


@pytest.fixture
def here(prefect, media_simulator, tmp_path):
    return {"credentials": media_simulator.credentials, "store": str(tmp_path)}


@RUNNERS
def test_a_chain_of_futures_is_made_in_order(here, media_simulator, runner):
    @flow(task_runner=runner)
    def chain():
        first = generate_images.submit(request=still(n=2), **here)
        motion = generate_video.submit(request=clip(image=first), **here)
        night = remix_video.submit(request=RemixRequest(video=motion, prompt="at night"), **here)
        return first.result(), motion.result(), night.result()

    stills, motion, night = chain()
    assert picture(motion.source.reference_uri) == picture(stills[0].uri) != picture(stills[1].uri)
    assert night.source.remixed_from == motion.source.job_id
    assert len(media_simulator.jobs) == 2


@RUNNERS
def test_all_pictures_of_a_future_are_edited_and_each_of_a_list(here, media_simulator, runner):
    @flow(task_runner=runner)
    def edits():
        two, one = (
            generate_images.submit(request=still(n=2), **here),
            generate_images.submit(request=still("a"), **here),
        )
        both = ImageEditRequest(prompt="a hat", model="gpt-image-2", images=two)
        three = ImageEditRequest(prompt="a hat", model="gpt-image-2", images=[one, two])
        return [edit_images.submit(request=request, **here).result() for request in (both, three)]

    edits()
    sent = [request.body for request in media_simulator.requests if request.path.endswith("/images/edits")]
    assert [len(form["image"]) for form in sent] == [2, 3]


@RUNNERS
def test_map_takes_requests_with_futures(here, runner):
    @flow(task_runner=runner)
    def mapped():
        shared = {**here, "credentials": unmapped(here["credentials"])}
        stills = generate_images.map(request=[still(str(number)) for number in range(3)], **shared)
        clips = generate_video.map(request=[clip(image=future) for future in stills], **shared)
        return [asset.uri for [asset] in stills.result()], [asset.source.reference_uri for asset in clips.result()]

    stills, references = mapped()
    assert [picture(uri) for uri in references] == [picture(uri) for uri in stills]


def test_a_future_of_a_submitted_job_and_a_direct_call(here, media_simulator):
    @flow
    def waits():
        job = submit_video.submit(request=clip(), **here)
        wait_for_video(here["credentials"], job.result(), store=here["store"])
        night = remix_video(request=RemixRequest(video=job, prompt="at night"), **here)
        return job.result().id, night.source.remixed_from

    job_id, remixed_from = waits()
    assert job_id == remixed_from


def test_the_page_of_the_run_gets_its_arrow(here):
    @flow
    def arrow():
        first = generate_images.submit(request=still(), **here)
        second = generate_video.submit(request=clip(image=first), **here)
        second.wait()
        return first.task_run_id, second.task_run_id

    first, second = arrow()

    async def inputs():
        async with get_client() as client:
            for _ in range(100):  # task runs reach the server as events, a little later
                try:
                    return (await client.read_task_run(second)).task_inputs
                except Exception:  # not there yet
                    await asyncio.sleep(0.2)

    assert first in {each.id for each in asyncio.run(inputs())["request"]}


@pytest.mark.parametrize("result", [5, [], None, {"uri": "x"}], ids=repr)
@pytest.mark.parametrize("name", ["image", "images"])
def test_a_result_that_is_no_picture_is_refused_before_anything_is_sent(here, media_simulator, result, name):
    @task
    def wrong():
        return result

    @flow
    def uses():
        future = wrong.submit()
        if name == "image":
            generate_video(request=clip(image=future), **here)
        else:
            edit_images(request=ImageEditRequest(prompt="x", model="gpt-image-2", images=future), **here)

    if (name, result) == ("image", None):
        uses()  # as if there were no picture
        return
    with pytest.raises(InvalidRequest, match=f"request is no .*Request: {name}"):
        uses()
    assert not media_simulator.requests


async def test_outside_of_a_task_it_is_said_what_to_do(media_simulator, prefect, tmp_path):
    @task
    def soon():
        return "boat.png"

    futures = []

    @flow
    def leak():
        futures.append(soon.submit())

    leak()
    request = clip(image=futures[0])
    with pytest.raises(InvalidRequest, match="holds a PrefectConcurrentFuture that nobody has waited for"):
        await agenerate_video.fn(media_simulator.credentials, request, store=str(tmp_path))
    with pytest.raises(Exception, match=r"Unable to serialize unknown type.*Future"):
        request.model_dump_json()
    assert not media_simulator.requests


def test_forms_and_json_know_of_no_future():
    for kind in (VideoRequest, ImageEditRequest, RemixRequest):
        for mode in ("validation", "serialization"):
            assert "Promise" not in str(kind.model_json_schema(mode=mode))


def test_a_request_without_futures_is_not_checked_again():
    request: MediaRequest = clip(image="boat.png")
    assert request.with_results() is request
