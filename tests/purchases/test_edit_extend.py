"""Edits and extensions: through the ledger like everything that is paid for, with their lineage, and found again."""

import io

import pytest
from PIL import Image, ImageChops, ImageStat
from pydantic import ValidationError

from prefect_media import (
    RemixRequest,
    VideoEditRequest,
    VideoExtendRequest,
    VideoJob,
    VideoRequest,
    aedit_video,
    aextend_video,
    agenerate_video,
    aremix_video,
    remix_video,
)
from prefect_media.errors import DownloadCorrupt, InvalidRequest, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.media.facts import Facts, last_frame, mismatches, video_facts
from prefect_media.simulator import Fault, Simulator
from prefect_media.simulator.drawing.film import Film, shoot
from prefect_media.storage.store import storage_at

REQUEST = VideoRequest(prompt="a paper boat", model="sora-2", seconds=4, size="1280x720")
HERE = {"scope": "a test"}


@pytest.fixture
async def clip(media_simulator, tmp_path):
    """A finished video to start from."""
    return await agenerate_video.fn(media_simulator.credentials, REQUEST, store=str(tmp_path), **HERE)


@pytest.fixture
def place(tmp_path):
    return str(tmp_path)


def edit(video):
    return VideoEditRequest(video=video, prompt="a red sail")


def extension(video, seconds=8):
    return VideoExtendRequest(video=video, prompt="it turns", seconds=seconds)


async def record_of(asset, place):
    record, _ = await Ledger(storage_at(place)).get(asset.source.purchase)
    return record


async def test_an_edit_is_a_new_video_of_the_same_kind(media_simulator, clip, place):
    asset = await aedit_video.fn(media_simulator.credentials, edit(clip), store=place, **HERE)
    assert (asset.width, asset.height, asset.seconds) == (1280, 720, 4)
    assert asset.sha256 != clip.sha256
    assert (asset.source.operation, asset.source.remixed_from) == ("edit", clip.source.job_id)
    assert media_simulator.jobs[1].operation == "edit"


async def test_an_extension_is_the_whole_of_it(media_simulator, clip, place):
    asset = await aextend_video.fn(media_simulator.credentials, extension(clip), store=place, **HERE)
    assert (asset.width, asset.seconds, asset.warnings) == (1280, 12, ())
    assert (asset.source.operation, asset.source.remixed_from) == ("extend", clip.source.job_id)
    [sent] = [seen.body for seen in media_simulator.requests if seen.path == "/v1/videos/extensions"]
    assert sent == {"prompt": "it turns", "seconds": "8", "video": {"id": clip.source.job_id}}


async def test_bought_once_by_whatever_the_source_is_named(media_simulator, clip, place):
    at, source = media_simulator.credentials, clip.source.job_id
    job = VideoJob(
        provider="openai",
        base_url=media_simulator.url,
        model="sora-2",
        id=source,
        fingerprint="f",
        submitted_at="2026-11-22T00:00:00Z",
    )
    assets = [await aextend_video.fn(at, extension(video), store=place, **HERE) for video in (clip, job, source)]
    assert assets[0] == assets[1] == assets[2]
    assert len(media_simulator.jobs) == 2


async def test_operation_source_and_seconds_are_part_of_what_is_bought(media_simulator, clip, place):
    at = media_simulator.credentials
    same = {"video": clip, "prompt": "the same words"}
    first = await aremix_video.fn(at, RemixRequest(**same), store=place, **HERE)
    bought = [
        clip,
        first,
        await aedit_video.fn(at, VideoEditRequest(**same), store=place, **HERE),
        await aedit_video.fn(at, VideoEditRequest(**{**same, "video": first}), store=place, **HERE),
        await aextend_video.fn(at, VideoExtendRequest(**same, seconds=4), store=place, **HERE),
        await aextend_video.fn(at, VideoExtendRequest(**same, seconds=8), store=place, **HERE),
        await aextend_video.fn(at, VideoExtendRequest(**same, seconds=8, variant=1), store=place, **HERE),
    ]
    assert len({asset.source.purchase for asset in bought}) == len(media_simulator.jobs) == len(bought)


@pytest.mark.parametrize("make", [edit, extension])
@pytest.mark.parametrize("action", ["lose_reply", "answer_after"])
async def test_a_lost_reply_is_found_again_and_not_bought_twice(media_simulator, clip, place, make, action):
    media_simulator.faults.append(Fault("POST", "/videos/(edits|extensions)", action, status=502))
    request = make(clip)
    task = aedit_video if request.operation == "edit" else aextend_video
    asset = await task.fn(media_simulator.credentials, request, store=place, **HERE)
    assert asset.source.job_id == media_simulator.jobs[1].id
    assert len(media_simulator.jobs) == 2
    assert (await record_of(asset, place)).state == "done"


async def test_where_nothing_can_be_looked_up_a_lost_reply_stays_a_doubt(tmp_path):
    with Simulator(profile="new-api", latency=0.05) as server:
        request = REQUEST.model_copy(update={"model": "wan"})
        clip = await agenerate_video.fn(server.credentials, request, store=str(tmp_path), **HERE)
        server.faults.append(Fault("POST", "/remix", "lose_reply"))
        for _ in range(2):
            with pytest.raises(SubmissionInDoubt):
                night = RemixRequest(video=clip, prompt="at night")
                await aremix_video.fn(server.credentials, night, store=str(tmp_path), **HERE)
        assert len(server.jobs) == 2, "one video, and one remix that may have been bought"


async def test_a_video_the_server_does_not_know(media_simulator, place):
    for task, request in ((aedit_video, edit("video_x")), (aextend_video, extension("video_x"))):
        with pytest.raises(InvalidRequest, match=": video video_x not found"):
            await task.fn(media_simulator.credentials, request, store=place, **HERE)
    assert media_simulator.jobs == []


async def test_a_video_of_another_server_says_whose_it_is(clip, place):
    with Simulator() as other:
        with pytest.raises(InvalidRequest, match=f"this one was made at {clip.source.host}"):
            await aremix_video.fn(other.credentials, RemixRequest(video=clip, prompt="x"), store=place, **HERE)
        assert other.jobs == []


def test_an_extension_says_how_long_it_is_to_be():
    with pytest.raises(ValidationError, match="seconds"):
        VideoExtendRequest(video="video_1", prompt="x")
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        VideoExtendRequest(video="video_1", prompt="x", seconds=0)


def test_an_asset_that_no_job_made_has_nothing_to_start_from(media_simulator, clip, place):
    stranger = clip.model_copy(update={"source": None})
    sent = len(media_simulator.requests)
    with pytest.raises(
        InvalidRequest, match="can only remix videos that one of its jobs made, not an Asset without a job id"
    ):
        remix_video.fn(media_simulator.credentials, RemixRequest(video=stranger, prompt="x"), store=place, **HERE)
    with pytest.raises(InvalidRequest, match="can only remix videos that one of its jobs made, not a file"):
        remix_video.fn(media_simulator.credentials, RemixRequest(video="a.mp4", prompt="x"), store=place, **HERE)
    assert len(media_simulator.requests) == sent


# What a video really is


def test_the_last_frame_is_the_last_frame():
    film = shoot(Film("waves", "m", (320, 180), 4))
    frame = Image.open(io.BytesIO(last_frame(io.BytesIO(film))))
    import av

    with av.open(io.BytesIO(film)) as file:
        frames = [frame.to_image() for frame in file.decode(video=0)]
    difference = [sum(ImageStat.Stat(ImageChops.difference(frame, other)).mean) for other in (frames[-1], frames[0])]
    assert difference[0] == 0 < difference[1]
    with pytest.raises(DownloadCorrupt):
        last_frame(io.BytesIO(b"not a film"))


def test_facts_and_what_differs_from_what_was_asked_for():
    facts = video_facts(io.BytesIO(shoot(Film("waves", "m", (320, 180), 4))))
    assert facts == Facts(320, 180, 4.0, "h264")
    assert mismatches(facts, size="320x180", seconds=4) == ()
    assert mismatches(facts, size=None, seconds=None) == ()
    assert mismatches(facts, size="320x180", seconds=4.4) == ()
    assert mismatches(facts, size="1280x720", seconds=8) == (
        "The video is 320x180; 1280x720 was asked for.",
        "The video is 4 s long; 8 s were asked for.",
    )
    assert mismatches(video_facts(io.BytesIO(b"?")), size=None, seconds=None) == ("The file can't be read as a video.",)


async def test_a_video_of_another_size_is_stored_with_a_warning(media_simulator, place):
    other = shoot(Film("waves", "m", (320, 180), 2))
    content = Fault("GET", "/content", "answer", status=200, body=other, headers={"content-type": "video/mp4"})
    media_simulator.faults.append(content)
    asset = await agenerate_video.fn(media_simulator.credentials, REQUEST, store=place, **HERE)
    assert (asset.width, asset.height, asset.seconds) == (320, 180, 2)
    assert asset.warnings == (
        "The video is 320x180; 1280x720 was asked for.",
        "The video is 2 s long; 4 s were asked for.",
    )
    assert await agenerate_video.fn(media_simulator.credentials, REQUEST, store=place, **HERE) == asset
