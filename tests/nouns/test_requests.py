"""Requests: their shape is checked, they are frozen, and they are the same in Python and in JSON."""

import base64
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from prefect_media import (
    Asset,
    ImageRequest,
    RemixRequest,
    VideoEditRequest,
    VideoExtendRequest,
    VideoJob,
    VideoRequest,
)

ASSET = Asset(uri="s3://b/a.png", kind="image", content_type="image/png", size_bytes=3, sha256="0" * 64)
JOB = VideoJob(
    provider="openai",
    base_url="http://localhost/v1",
    model="wan",
    id="video_1",
    fingerprint="f",
    submitted_at="2026-11-22T00:00:00Z",
)


@pytest.mark.parametrize(
    "request_",
    [
        ImageRequest(prompt="a", model="m", size="auto", n=3, extra={"x": [1]}),
        VideoRequest(prompt="a", model="m", seconds=8, image="fox.png", fit="pad", variant=2),
        VideoRequest(prompt="a", model="m", image=b"\x89PNG"),
        VideoRequest(prompt="a", model="m", image=Path("fox.png")),
        VideoRequest(prompt="a", model="m", image=ASSET),
        RemixRequest(prompt="a", video="video_1"),
        RemixRequest(prompt="a", video=JOB),
        RemixRequest(prompt="a", video=ASSET),
        VideoEditRequest(prompt="a", video=ASSET),
        VideoExtendRequest(prompt="a", video=JOB, seconds=4),
    ],
    ids=repr,
)
def test_json_round_trip(request_):
    again = type(request_).model_validate_json(request_.model_dump_json())
    assert again == request_
    assert type(getattr(again, "video", None)) is type(getattr(request_, "video", None))


def test_bytes_and_paths_become_text():
    request = VideoRequest(prompt="a", model="m", image=b"abc")
    assert request.image == "data:application/octet-stream;base64," + base64.b64encode(b"abc").decode()
    assert VideoRequest(prompt="a", model="m", image=Path("x") / "y.png").image == str(Path("x") / "y.png")


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        (ImageRequest, {"prompt": "", "model": "m"}, "at least 1 character"),
        (ImageRequest, {"prompt": "a" * 32_001, "model": "m"}, "at most 32000 characters"),
        (ImageRequest, {"prompt": "a"}, "model"),
        (ImageRequest, {"prompt": "a", "model": "m", "n": 0}, "greater than or equal to 1"),
        (ImageRequest, {"prompt": "a", "model": "m", "n": 1001}, "less than or equal to 1000"),
        (ImageRequest, {"prompt": "a", "model": "m", "size": "big"}, "size"),
        (ImageRequest, {"prompt": "a", "model": "m", "seed": 4}, "has no field seed; its fields are prompt"),
        (ImageRequest, {"prompt": "a", "model": "m", "output_compression": 101}, "less than or equal to 100"),
        (VideoRequest, {"prompt": "a", "model": "m", "seconds": 0}, "greater than or equal to 1"),
        (VideoRequest, {"prompt": "a", "model": "m", "size": "auto"}, "size"),
        (
            VideoRequest,
            {"prompt": "a", "model": "m", "aspect_ratio": "3:2"},
            "'16:10' or '10:16'",
        ),
        (VideoRequest, {"prompt": "a", "model": "m", "fit": "squash"}, "'crop', 'pad' or 'error'"),
        (
            VideoRequest,
            {"prompt": "a", "model": "m", "image": ["a.png", "b.png"]},
            "expected one picture, got 2; choose one",
        ),
        (VideoRequest, {"prompt": "a", "model": "m", "variant": -1}, "greater than or equal to 0"),
        (VideoRequest, {"prompt": "a", "model": "m", "generate_audio": True}, "only your server has into extra="),
        (RemixRequest, {"prompt": "a"}, "video"),
    ],
)
def test_a_wrong_shape_is_refused(kind, fields, said):
    with pytest.raises(ValidationError) as caught:
        kind(**fields)
    assert said in str(caught.value)


def test_requests_do_not_change():
    with pytest.raises(ValidationError):
        ImageRequest(prompt="a", model="m").prompt = "b"


@pytest.mark.parametrize("kind", [ImageRequest, VideoRequest, RemixRequest, VideoEditRequest, VideoExtendRequest])
def test_the_prefect_ui_gets_a_form_in_which_every_field_is_explained(kind):
    schema = TypeAdapter(kind).json_schema()
    for name, field in schema["properties"].items():
        assert field.get("description"), name


def test_a_remix_names_the_job_of_its_source():
    assert RemixRequest(prompt="a", video="video_7").source_job_id == "video_7"
    assert RemixRequest(prompt="a", video=JOB).source_job_id == "video_1"
    assert RemixRequest(prompt="a", video=ASSET).source_job_id is None


@pytest.mark.parametrize("value", [print, b"bytes", float("nan"), {1, 2}])
def test_extra_has_to_be_json(value):
    with pytest.raises(ValidationError, match=r"extra\n.*it can't be sent as JSON"):
        VideoRequest(prompt="a", model="m", extra={"deep": [value]})
