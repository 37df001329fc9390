"""Footage that the server did not make, a file or a video of another provider: sent along where the server takes it."""

import base64
from pathlib import Path

import pytest

from prefect_media import (
    VideoEditRequest,
    VideoExtendRequest,
    VideoRequest,
    aedit_video,
    aextend_video,
    agenerate_video,
)
from prefect_media.errors import InvalidRequest
from prefect_media.media import load as reference
from prefect_media.request_inputs import is_file
from prefect_media.simulator import Fault, Simulator
from prefect_media.simulator.drawing.film import Film, measure, shoot
from prefect_media.storage.store import storage_at

HERE = {"scope": "a test"}


@pytest.fixture(scope="module")
def film():
    return shoot(Film("a paper boat", "sora-2", (128, 72), 2))


@pytest.fixture
def clip(film, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(film)
    return path


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "store")


def edit(video):
    return VideoEditRequest(video=video, prompt="a red sail")


def forms(simulator):
    return [
        (seen.path, seen.headers["content-type"].partition(";")[0], seen.body)
        for seen in simulator.requests
        if seen.method == "POST"
    ]


async def test_an_edit_of_a_file(media_simulator, clip, film, place):
    asset = await aedit_video.fn(media_simulator.credentials, edit(clip), store=place, **HERE)
    assert (asset.width, asset.height, asset.seconds) == (128, 72, 2)
    assert (asset.source.operation, asset.source.remixed_from) == ("edit", None)
    [(path, kind, body)] = forms(media_simulator)
    assert (path, kind, body["prompt"]) == ("/v1/videos/edits", "multipart/form-data", "a red sail")
    assert (body["video"].data, body["video"].content_type) == (film, "video/mp4")


async def test_an_extension_of_a_file(media_simulator, clip, place):
    request = VideoExtendRequest(video=clip, prompt="it turns", seconds=4)
    asset = await aextend_video.fn(media_simulator.credentials, request, store=place, **HERE)
    assert asset.seconds == 6
    [(path, _, body)] = forms(media_simulator)
    assert (path, body["seconds"]) == ("/v1/videos/extensions", "4")


async def test_bought_once_whatever_the_file_is_called(media_simulator, clip, film, place, s3, monkeypatch, tmp_path):
    store = s3.store()
    stored = await store.storage().put("footage/clip.mp4", film, content_type="video/mp4")
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    other = tmp_path / "another name"
    other.write_bytes(film)
    url = f"data:video/mp4;base64,{base64.b64encode(film).decode()}"
    given = [clip, str(clip), other, film, url, stored.uri]
    assets = [await aedit_video.fn(media_simulator.credentials, edit(video), store=place, **HERE) for video in given]
    assert all(asset == assets[0] for asset in assets)
    assert len(media_simulator.jobs) == 1


async def test_another_file_is_another_purchase(media_simulator, clip, place):
    first = await aedit_video.fn(media_simulator.credentials, edit(clip), store=place, **HERE)
    clip.write_bytes(shoot(Film("another", "sora-2", (128, 72), 2)))
    second = await aedit_video.fn(media_simulator.credentials, edit(clip), store=place, **HERE)
    assert first.source.purchase != second.source.purchase


async def test_a_video_of_another_provider_is_sent_along(media_simulator, place):
    asked = VideoRequest(prompt="a paper boat", model="wan", seconds=2, size="128x72")
    with Simulator(profile="vllm-omni", latency=0.05) as other:
        theirs = await agenerate_video.fn(other.credentials, asked, store=place, **HERE)
    asset = await aedit_video.fn(media_simulator.credentials, edit(theirs), store=place, **HERE)
    [(_, _, body)] = forms(media_simulator)
    assert body["video"].data == theirs.read_bytes()
    assert asset.source.reference_uri == theirs.uri
    again = await aedit_video.fn(media_simulator.credentials, edit(asset), store=place, **HERE)
    assert forms(media_simulator)[-1][2]["video"] == {"id": asset.source.job_id}, "its own it knows by their ids"
    assert again.source.remixed_from == asset.source.job_id


async def test_a_lost_reply_is_found_again(media_simulator, clip, place):
    media_simulator.faults.append(Fault("POST", "/videos/edits", "lose_reply"))
    asset = await aedit_video.fn(media_simulator.credentials, edit(clip), store=place, **HERE)
    assert asset.source.job_id == media_simulator.jobs[0].id
    assert len(media_simulator.jobs) == 1


async def test_a_resume_does_not_need_the_file(media_simulator, clip, place):
    asset = await aedit_video.fn(media_simulator.credentials, edit(clip), store=place, **HERE)
    clip.unlink()
    assert await aedit_video.fn(media_simulator.credentials, edit(clip), store=place, **HERE) == asset
    with pytest.raises(InvalidRequest, match="can't be read: No such file"):
        await aedit_video.fn(media_simulator.credentials, edit(clip), store=place, scope="another")
    assert len(media_simulator.jobs) == 1


@pytest.mark.parametrize("profile", ["azure", "vllm-omni", "openrouter"])
async def test_where_there_is_no_such_thing_it_is_said_before_anything_is_sent(profile, clip, place):
    with Simulator(profile=profile) as server:
        with pytest.raises(InvalidRequest, match=r"can't edit videos.*fallback=\"last_frame\""):
            await aedit_video.fn(server.credentials, edit(clip), store=place, **HERE)
        assert not server.requests


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no video at all", "is not a video that can be read"),
        (b"\x00\x00\x00\x18ftypmp42 and then nothing", "is not a video that can be read"),
        (b"", "is not a video that can be read"),
    ],
)
async def test_what_is_no_video_is_refused_before_anything_is_paid(media_simulator, clip, place, content, said):
    clip.write_bytes(content)
    with pytest.raises(InvalidRequest, match=said) as caught:
        await aedit_video.fn(media_simulator.credentials, edit(clip), store=place, **HERE)
    assert "nothing was sent" in str(caught.value)
    assert not media_simulator.requests


async def test_too_large_is_said_and_not_read(media_simulator, clip, place, monkeypatch):
    monkeypatch.setattr(reference, "MOST_FOOTAGE", 1000)
    stored = await storage_at(place).put("a/b.mp4", clip.read_bytes(), content_type="video/mp4")
    for video in (clip, stored.uri):
        with pytest.raises(InvalidRequest, match="at most 1,000 are allowed"):
            await aedit_video.fn(media_simulator.credentials, edit(video), store=place, **HERE)
    assert not media_simulator.requests


def test_a_file_is_told_from_a_job_id_and_stays_one_in_json(film):
    for text in (
        "clip.MP4",
        "/tmp/clip",
        "~/clip",
        "./clip",
        "s3://bucket/clip",
        "https://x/y",
        "data:video/mp4;base64,",
    ):
        assert is_file(text)
    for job_id in ("video_68d7512d07848190b3e45da0ecbebcde", "task_abc", "a1b2c3", "video_bGl0ZWxsbTpjdXN0b20vLw=="):
        assert not is_file(job_id)
    for video in (Path("clip"), Path("clip.mp4"), film):
        request = edit(video)
        assert VideoEditRequest.model_validate_json(request.model_dump_json()) == request
        assert request.source_job_id is None
        assert request.footage_for("anywhere")
    assert measure(film) is not None
