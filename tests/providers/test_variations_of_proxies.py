"""What LiteLLM remixes, edits and extends: bought where its ids let it be found again, and nowhere else."""

import base64
from dataclasses import replace

import pytest
from buyer import clip, connection, terms

from prefect_media.errors import InvalidRequest
from prefect_media.providers.job_ids import parts_of
from prefect_media.purchases.remix_fallback import buy_remix
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import RemixRequest, VideoEditRequest, VideoExtendRequest
from prefect_media.simulator import Simulator
from prefect_media.simulator.profiles import PROFILES
from prefect_media.storage.store import storage_at

KINDS = [
    (RemixRequest, {}),
    (VideoEditRequest, {}),
    (VideoExtendRequest, {"seconds": 4}),
]


def older(digits):
    return encoded(f"litellm:custom_llm_provider:openai;model_id:films;video_id:video_{digits}")


def newer(digits):
    return encoded(f"litellm:custom_llm_provider:openai;model_id:films;video_id:video_{digits};deployment_id:d{digits}")


def encoded(plain):
    return "video_" + base64.b64encode(plain.encode()).decode()


@pytest.fixture
def place(tmp_path, configure):
    configure(poll_seconds=0.05)
    return storage_at(str(tmp_path))


def proxy(monkeypatch, make):
    monkeypatch.setitem(PROFILES, "litellm", replace(PROFILES["litellm"], id=lambda digits, operation: make(digits)))
    return Simulator(profile="litellm", latency=0.0)


@pytest.mark.parametrize(("kind", "fields"), KINDS, ids=lambda kind: getattr(kind, "__name__", ""))
async def test_where_ids_name_the_deployment_they_are_bought(monkeypatch, place, kind, fields):
    with proxy(monkeypatch, newer) as server:
        at = connection(server, dialect="litellm")
        source = await buy_video(at, clip(), place, terms())
        asset = await buy_video(at, kind(video=source, prompt="at night", **fields), place, terms())
        assert [job.id for job in server.jobs] == [source.source.job_id, asset.source.job_id]
        assert server.jobs[1].operation == kind.operation


@pytest.mark.parametrize("make", [older, lambda digits: f"video_{digits}"], ids=["no deployment", "plain"])
@pytest.mark.parametrize(("kind", "fields"), KINDS, ids=lambda kind: getattr(kind, "__name__", ""))
async def test_where_they_do_not_nothing_is_bought(monkeypatch, place, make, kind, fields):
    with proxy(monkeypatch, make) as server:
        at = connection(server, dialect="litellm")
        source = await buy_video(at, clip(), place, terms())
        with pytest.raises(
            InvalidRequest, match=r'looked up later.*nothing was bought.*fallback="last_frame"'
        ) as caught:
            await buy_video(at, kind(video=source, prompt="at night", **fields), place, terms())
        assert caught.value.details["unsupported"] == kind.operation
        assert len(server.jobs) == 1


async def test_the_last_frame_goes_on_where_they_do_not(monkeypatch, place):
    with proxy(monkeypatch, older) as server:
        at = connection(server, dialect="litellm")
        source = await buy_video(at, clip(), place, terms())
        await buy_remix(at, RemixRequest(video=source, prompt="at night"), place, terms(), fallback="last_frame")
        assert [job.operation for job in server.jobs] == ["generate", "generate"]


@pytest.mark.parametrize(
    "job_id",
    ["video_1", "", "video_", "task_x", "video_%%%", "video_" + base64.b64encode(b"\xff\xfe;").decode(), "é", "a" * 5],
)
def test_ids_of_others_tell_nothing(job_id):
    assert parts_of(job_id) == {}


def test_an_id_tells_its_parts_with_and_without_padding():
    parts = parts_of(newer("1"))
    assert parts["deployment_id"] == "d1"
    assert parts == parts_of(newer("1").rstrip("="))
