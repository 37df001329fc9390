"""An order makes one video: whoever asks for several in one would pay for all of them and keep one."""

import json

import pytest
from buyer import clip, connection, terms

from prefect_media.errors import InvalidRequest
from prefect_media.providers import videos
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import RemixRequest, VideoEditRequest, VideoExtendRequest
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at

SEVERAL = [
    {"n": 3},
    {"n": "2"},
    {"n": 0},
    {"n": 1.5},
    {"num_outputs_per_prompt": 3},
    {"num_videos": 2},
    {"num_videos_per_prompt": 2},
    {"n_variants": 4},
    {"sampleCount": 2},
    {"extra_body": {"n": 3}},
    {"extra_body": {"num_outputs_per_prompt": 3, "seed": 1}},
    {"extra_params": json.dumps({"num_outputs_per_prompt": 2})},
    {"parameters": {"sampleCount": 2}},
]
ONE = [{"n": 1}, {"n": "1"}, {"num_outputs_per_prompt": 1, "seed": 7}, {"extra_body": {"n": 1}}, {"lora": {"n": 4}}]


@pytest.fixture
def simulator(configure):
    configure(poll_seconds=0.05)
    with Simulator(latency=0.0) as simulator:
        yield simulator


@pytest.mark.parametrize("validation", ["strict", "off"])
@pytest.mark.parametrize("extra", SEVERAL, ids=str)
async def test_several_videos_in_one_order_are_refused(simulator, tmp_path, configure, extra, validation):
    configure(validation=validation)
    with pytest.raises(InvalidRequest, match=r"one video.*variant=.*[Nn]othing was sent"):
        await buy_video(connection(simulator), clip(extra=extra), storage_at(str(tmp_path)), terms())
    assert simulator.requests == []


@pytest.mark.parametrize("dialect", ["vllm-omni", "sglang", "trtllm", "litellm", "new-api", "openrouter", "azure"])
async def test_at_every_kind_of_server(simulator, dialect):
    at = connection(simulator, dialect=dialect)
    with pytest.raises(InvalidRequest, match="one video"):
        await videos.submit(at, clip(extra={"extra_body": {"n": 2}}), image=None, fingerprint="f")
    assert simulator.requests == []


@pytest.mark.parametrize(
    "request_",
    [
        RemixRequest(video="video_1", prompt="at night", extra={"n": 2}),
        VideoEditRequest(video="video_1", prompt="at night", extra={"n": 2}),
        VideoExtendRequest(video="video_1", prompt="at night", seconds=4, extra={"n": 2}),
    ],
)
async def test_variations_too(simulator, tmp_path, request_):
    with pytest.raises(InvalidRequest, match="one video"):
        await buy_video(connection(simulator), request_, storage_at(str(tmp_path)), terms())
    assert simulator.requests == []


@pytest.mark.parametrize("extra", ONE, ids=str)
async def test_one_is_possible(simulator, tmp_path, extra):
    await buy_video(connection(simulator), clip(extra=extra), storage_at(str(tmp_path)), terms())
    assert len(simulator.jobs) == 1
