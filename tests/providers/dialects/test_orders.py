"""An order at each kind of server: what is sent is what the server's source asks for."""

import base64
import io
import json

import pytest
from dialect_servers import ASKED, FORM, JSON, NAMES, PROMPT, TERMS, TEXT, connection, sent, video
from PIL import Image

from prefect_media import VideoJob, VideoRequest
from prefect_media.errors import (
    InvalidRequest,
)
from prefect_media.providers import videos
from prefect_media.providers.dialects import dialects
from prefect_media.purchases.video_steps import submit
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator

pytestmark = pytest.mark.usefixtures("short_pauses")


def png(width=128, height=72):
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, "PNG")
    return file.getvalue()


def test_every_dialect_has_a_profile_a_source_and_a_date():
    assert list(dialects()) == NAMES == list(TEXT)
    for dialect in dialects().values():
        assert len(dialect.source) > 20
        assert dialect.checked.year >= 2026
        assert dialect.routes["create"] == "POST /videos"


async def test_text_to_video(server, place):
    asset = await buy_video(connection(server), video(), place, TERMS)
    assert sent(server) == TEXT[server.name]
    assert (asset.width, asset.height, asset.seconds, asset.warnings) == (128, 72, 2, ())
    [job] = server.jobs
    assert asset.source.job_id == job.id
    looks = [seen.path for seen in server.requests if seen.method == "GET"]
    content = f"/v1/videos/{job.id}/content" + ("?index=0" if server.name == "openrouter" else "")
    assert looks[-1] == content
    assert set(looks[:-1]) == {f"/v1/videos/{job.id}"}


async def test_image_to_video(server, place):
    picture = png()
    asset = await buy_video(connection(server), video(image=picture), place, TERMS)
    kind, body = sent(server)
    if server.name == "openrouter":
        assert kind == JSON
        [frame] = body["frame_images"]
        assert (frame["type"], frame["frame_type"], list(frame)) == (
            "image_url",
            "first_frame",
            ["type", "image_url", "frame_type"],
        )
        head, _, data = frame["image_url"]["url"].partition(",")
        assert (head, base64.b64decode(data)) == ("data:image/png;base64", picture)
    else:
        assert kind == FORM
        upload = body["input_reference"]
        assert (upload.content_type, upload.data) == ("image/png", picture)
        assert {**body, "input_reference": None} == {**ASKED, "seconds": "2", "input_reference": None}
    assert server.jobs[0].film.reference == picture
    assert (asset.width, asset.height) == (128, 72)


EXTRA = {"seed": 7, "extra_params": {"flow_shift": 3.0}}
BRACKETS = {"seed": "7", "extra_params": {"flow_shift": "3.0"}}
STRINGS = {"seed": "7", "extra_params": '{"flow_shift": 3.0}'}


EXTRAS = {
    **{name: BRACKETS for name in ("openai", "azure")},
    **{name: STRINGS for name in ("vllm-omni", "new-api")},
    **{name: EXTRA for name in ("sglang", "trtllm", "litellm", "openrouter")},
}


async def test_what_only_the_server_knows_arrives_in_its_own_form(server):
    await videos.submit(connection(server), video(extra=EXTRA), image=None, fingerprint="f")
    _, body = sent(server)
    assert {name: body[name] for name in EXTRA} == EXTRAS[server.name]


async def test_one_order_is_one_job_in_one_request(server, place):
    first = await submit(connection(server), video(), place, TERMS)
    assert await submit(connection(server), video(), place, TERMS) == first
    assert (first.dialect, first.id) == (server.name, server.jobs[0].id)
    assert VideoJob.model_validate_json(first.model_dump_json()) == first
    assert len([seen for seen in server.requests if seen.method == "POST"]) == 1


async def test_another_model_than_the_one_that_is_served(servers):
    at = connection(servers["vllm-omni"])
    mismatch = {"detail": "Model mismatch: request specifies model 'wan' but server is running 'h3'."}
    servers["vllm-omni"].faults.append(Fault("POST", "/videos$", "answer", status=400, body=mismatch))
    with pytest.raises(InvalidRequest, match=r"nothing was bought.*server is running 'h3'"):
        await videos.submit(at, video(), image=None, fingerprint="f")


async def test_a_json_field_of_a_form_is_a_string(servers):
    server = servers["vllm-omni"]
    del server.requests[:]
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    request = video(extra={"image_reference": {"image_url": url}, "lora": {"name": "x"}})
    await videos.submit(connection(server), request, image=None, fingerprint="f")
    _, body = sent(server)
    assert json.loads(body["image_reference"]) == {"image_url": url}
    assert json.loads(body["lora"]) == {"name": "x"}
    assert server.jobs[-1].film.reference == png()


FRAMES = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}, "frame_type": "first_frame"}]
BY_LITELLM = {"seed": 7, "generate_audio": True, "duration": 4, "frame_images": FRAMES}


@pytest.mark.parametrize("dialect", ["litellm", "auto"])
async def test_litellm_takes_what_the_model_of_that_name_did_not(dialect, place):
    """The model behind a name is whatever the proxy's owner has put there."""
    with Simulator(profile="litellm", latency=0) as server:
        credentials = server.credentials.model_copy(update={"dialect": dialect})
        request = VideoRequest(prompt=PROMPT, model="sora-2", seconds=4, size="1280x720", extra=BY_LITELLM)
        order = await submit(credentials.connection(), request, place, TERMS)
        assert order.id == server.jobs[0].id
        kind, body = sent(server)
        assert (kind, {name: body[name] for name in BY_LITELLM}) == (JSON, BY_LITELLM)
        refused = request.model_copy(update={"extra": {"negative_prompt": "rain"}})
        with pytest.raises(InvalidRequest, match="sora-2 does not take negative_prompt"):
            await submit(credentials.connection(), refused, place, TERMS)


async def test_others_take_no_seed_for_it(servers, place):
    server = servers["vllm-omni"]
    request = VideoRequest(prompt=PROMPT, model="sora-2", seconds=4, size="1280x720", extra={"seed": 7})
    with pytest.raises(InvalidRequest, match="sora-2 does not take seed"):
        await submit(connection(server), request, place, TERMS)
