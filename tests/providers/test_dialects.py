"""A conversation with each kind of server, over a real socket: what is sent is what the server's source asks for."""

import asyncio
import base64
import io
import json

import pytest
from PIL import Image
from pydantic import SecretStr

from prefect_media import OpenAICredentials, RemixRequest, VideoEditRequest, VideoExtendRequest, VideoJob, VideoRequest
from prefect_media.errors import (
    ContentRejected,
    DownloadCorrupt,
    InvalidRequest,
    JobExpired,
    JobFailed,
    MediaError,
    NotFound,
    ProviderUnavailable,
)
from prefect_media.providers import videos
from prefect_media.providers.detection import dialect_of
from prefect_media.providers.dialects import dialects
from prefect_media.providers.download import content_of
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.remix_fallback import buy_remix
from prefect_media.purchases.video_steps import submit
from prefect_media.purchases.videos import buy_video
from prefect_media.settings import settings
from prefect_media.simulator import Fault, Simulator
from prefect_media.simulator.profiles import PROFILES
from prefect_media.storage.store import storage_at

pytestmark = pytest.mark.usefixtures("short_pauses")

NAMES = list(PROFILES)
TERMS = PurchaseOptions(scope="test", timeout=30)
PROMPT = "a paper boat"
ASKED = {"prompt": PROMPT, "model": "wan", "size": "128x72"}


@pytest.fixture(scope="module")
def servers():
    """A simulator of every kind, all running."""
    running = {name: Simulator(profile=name, latency=0.05) for name in NAMES}
    for server in running.values():
        server.start()
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(params=NAMES)
def server(request, servers):
    server = servers[request.param]
    server.name = request.param
    del server.requests[:], server.jobs[:], server.faults[:]
    return server


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path))


def connection(server):
    return server.credentials.connection()


def video(**fields):
    return VideoRequest(**{**ASKED, "seconds": 2, **fields})


def png(width=128, height=72):
    file = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, "PNG")
    return file.getvalue()


def sent(server, path="/v1/videos", method="POST"):
    [request] = [seen for seen in server.requests if (seen.method, seen.path) == (method, path)]
    kind = request.headers.get("content-type", "").partition(";")[0]
    return kind, request.body


# The documented form of an order for text: content type and fields. Source and date of each are in dialects.toml.
FORM, JSON = "multipart/form-data", "application/json"
TEXT = {
    "openai": (FORM, {**ASKED, "seconds": "2"}),
    "azure": (FORM, {**ASKED, "seconds": "2"}),
    "vllm-omni": (FORM, {**ASKED, "seconds": "2"}),
    "sglang": (JSON, {**ASKED, "seconds": 2}),
    "trtllm": (JSON, {**ASKED, "seconds": 2}),
    "litellm": (JSON, {**ASKED, "seconds": "2"}),
    "new-api": (FORM, {**ASKED, "seconds": "2"}),
    "openrouter": (JSON, {**ASKED, "duration": 2}),
}


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


async def test_looks_tell_where_a_job_stands(server, monkeypatch):
    monkeypatch.setattr(server, "latency", 60)
    at = connection(server)
    job = await videos.submit(at, video(), image=None, fingerprint="f")
    assert (await videos.look(at, job.id)).phase == "waiting"
    server.jobs[0].latency = 0
    state = await videos.look(at, job.id)
    assert state.phase == "done"
    if server.name == "trtllm":
        assert (state.seconds, state.progress) == ("2.0", None)


@pytest.mark.parametrize(("prompt", "error"), [("explode", JobFailed), ("forbidden", JobFailed)])
async def test_a_failed_job_is_told_with_the_servers_words_and_not_asked_for_again(server, place, prompt, error):
    with pytest.raises(MediaError) as caught:
        await buy_video(connection(server), video(prompt=prompt), place, TERMS)
    said = {"explode": "could not be generated", "forbidden": "moderation system"}[prompt]
    assert said in str(caught.value)
    assert caught.value.job_id == server.jobs[0].id
    moderated = prompt == "forbidden" and server.name in ("openai", "azure", "litellm", "new-api")
    assert isinstance(caught.value, ContentRejected if moderated else error)
    last = [seen for seen in server.requests if seen.method == "GET"][-2:]
    assert last[-1].status == (500 if server.name == "vllm-omni" else 200)
    assert len(last) < 2 or last[0].status == 200, "an HTTP error that carries the job is sent once"


# LiteLLM before 1.108.4 has the routes, but could not find the jobs again: see test_variations_of_proxies.py.
ALL = {"remix", "edit", "extend"}
VARIATIONS = {"openai": ALL, "litellm": ALL, "azure": {"remix"}, "new-api": {"remix"}}


@pytest.mark.parametrize("operation", ["remix", "edit", "extend"])
async def test_variations_where_there_are_any(server, place, operation):
    at = connection(server)
    source = await buy_video(at, video(), place, TERMS)
    told = {"video": source, "prompt": "at night"}
    request, path, body = {
        "remix": (RemixRequest(**told), f"/v1/videos/{source.source.job_id}/remix", {}),
        "edit": (VideoEditRequest(**told), "/v1/videos/edits", {"video": {"id": source.source.job_id}}),
        "extend": (
            VideoExtendRequest(**told, seconds=4),
            "/v1/videos/extensions",
            {"video": {"id": source.source.job_id}, "seconds": "4"},
        ),
    }[operation]
    del server.requests[:]
    if operation in VARIATIONS.get(server.name, ()):
        asset = await buy_video(at, request, place, TERMS)
        assert sent(server, path) == (JSON, {"prompt": "at night", **body})
        assert asset.source.remixed_from == source.source.job_id
        assert asset.source.operation == operation
        assert asset.seconds == (6 if operation == "extend" else 2)
        assert asset.warnings == ()
    else:
        with pytest.raises(InvalidRequest, match=f'can\'t {operation} videos.*fallback="last_frame"'):
            await buy_video(at, request, place, TERMS)
        assert server.requests == []
        assert len(server.jobs) == 1


async def test_where_there_is_no_remix_the_last_frame_goes_on(server, place):
    at = connection(server)
    source = await buy_video(at, video(), place, TERMS)
    request = RemixRequest(video=source, prompt="at night")
    asset = await buy_remix(at, request, place, TERMS, fallback="last_frame")
    assert await buy_remix(at, request, place, TERMS, fallback="last_frame") == asset
    assert len(server.jobs) == 2
    assert asset.source.remixed_from == source.source.job_id
    if server.name in VARIATIONS:
        assert server.jobs[1].operation == "remix"
    else:
        assert server.jobs[1].operation == "generate"
        assert Image.open(io.BytesIO(server.jobs[1].film.reference)).size == (128, 72)
        assert (asset.seconds, asset.source.model) == (2, "wan")


async def test_the_list_is_whole_where_there_is_one(server):
    at = connection(server)
    if "list" not in dialects()[server.name].routes:
        with pytest.raises(InvalidRequest, match="can't list videos"):
            _ = [state async for state in videos.recent(at, since=lambda: 0.0)]
        assert server.requests == []
        return
    ids = [(await videos.submit(at, video(prompt=f"{n}"), image=None, fingerprint="f")).id for n in range(101)]
    listed = [state async for state in videos.recent(at, since=lambda: 0.0)]
    assert sorted(state.id for state in listed) == sorted(ids)
    assert {state.prompt for state in listed} == ({None} if server.name == "sglang" else {f"{n}" for n in range(101)})
    assert [state async for state in videos.recent(at, since=lambda: server.jobs[-1].created + 60)] == []


ENDS = {
    "openai": "DELETE /v1/videos/{id}",
    "azure": "DELETE /v1/videos/{id}",
    "vllm-omni": "DELETE /v1/videos/{id}",
    "trtllm": "DELETE /v1/videos/{id}",
}


async def test_ending_a_job_that_runs(server, monkeypatch):
    monkeypatch.setattr(server, "latency", 60)
    at = connection(server)
    job = await videos.submit(at, video(), image=None, fingerprint="f")
    del server.requests[:]
    if server.name not in ENDS:
        with pytest.raises(InvalidRequest, match="can't cancel videos"):
            await videos.delete(at, job.id)
        assert server.requests == []
        return
    if server.name in ("openai", "azure"):
        with pytest.raises(InvalidRequest, match="still being generated"):
            await videos.delete(at, job.id)
    else:
        await videos.delete(at, job.id)
        assert server.jobs[0].deleted or server.jobs[0].cancelled
    [seen] = server.requests
    assert f"{seen.method} {seen.path}" == ENDS[server.name].format(id=job.id)


async def test_what_is_not_known_is_said_to_be(server):
    at = connection(server)
    with pytest.raises(NotFound):
        await videos.look(at, "video_nobody_made")
    if server.name in VARIATIONS:
        unknown = "video_x"
        if server.name == "litellm":  # which refuses ids of another shape before it asks anybody
            plain = "litellm:custom_llm_provider:openai;model_id:wan;video_id:video_x;deployment_id:x"
            unknown = "video_" + base64.b64encode(plain.encode()).decode()
        with pytest.raises(InvalidRequest, match=f": video {unknown} not found; it may be deleted, expired, or"):
            request = RemixRequest(video=unknown, prompt="at night")
            await videos.submit(at, request, image=None, fingerprint="f")
    assert server.jobs == []


async def begin_download(at, job_id):
    """Read the first bytes of a job's content."""
    body = await content_of(at, job_id)
    await asyncio.to_thread(next, iter(body))


async def test_content_that_is_not_there(server, monkeypatch):
    monkeypatch.setattr(server, "latency", 60)
    at = connection(server)
    job = await videos.submit(at, video(), image=None, fingerprint="f")
    early = ProviderUnavailable if PROFILES[server.name].not_ready == 400 else JobExpired
    with pytest.raises(early):
        await begin_download(at, job.id)
    server.jobs[0].latency = server.jobs[0].expires_in = 0
    with pytest.raises(JobExpired, match=f"the content of job {job.id[:9]}.* is gone"):
        await begin_download(at, job.id)
    server.faults.append(Fault("GET", "/content", "answer", times=None, status=200, body=b""))
    with pytest.raises(DownloadCorrupt, match="0 bytes"):
        await begin_download(at, job.id)
    server.faults[:] = [
        Fault("GET", "/content", "answer", times=None, status=422, body={"detail": "Generation failed"})
    ]
    with pytest.raises(JobFailed, match="Generation failed"):
        await begin_download(at, job.id)


async def test_content_from_another_host_is_fetched_without_the_key(place):
    """Servers that keep films elsewhere send a link; whoever is there learns nothing of the key."""
    with Simulator(latency=0) as server, Simulator() as elsewhere:
        job = await videos.submit(connection(server), video(), image=None, fingerprint="f")
        location = {"location": f"{elsewhere.url}/somewhere"}
        server.faults.append(Fault("GET", "/content", "answer", status=307, body="", headers=location))
        elsewhere.faults.append(Fault("GET", "/somewhere", "answer", status=200, body=b"\0\0\0\x0cftypisom" * 20))
        body = await content_of(connection(server), job.id)
        assert b"".join(await asyncio.to_thread(list, body)).startswith(b"\0\0\0\x0cftyp")
        [request] = [request for request in elsewhere.requests if "/somewhere" in request.path]
        assert "authorization" in server.requests[-1].headers
        assert connection(server).api_key not in str(request.headers)


async def test_content_that_comes_a_moment_late_is_waited_for(server, place):
    late = Fault("GET", "/content", "answer", times=2, status=404, body={"detail": "Generation is still in-progress"})
    server.faults.append(late)
    assert (await buy_video(connection(server), video(), place, TERMS)).seconds == 2
    assert late.hits == 2


async def test_done_without_a_video_is_a_rejection(servers, place):
    server = servers["openrouter"]
    with pytest.raises(ContentRejected, match="finished without a video"):
        await buy_video(connection(server), video(prompt="filtered"), place, TERMS)


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


# Finding out who is there


def anonymous(server):
    return OpenAICredentials(base_url=server.url, api_key=SecretStr("sk-x"))


KNOWN = ["openai", "vllm-omni", "sglang", "trtllm", "litellm", "new-api"]


@pytest.mark.parametrize("name", KNOWN)
async def test_the_dialect_is_found_out_once_and_for_free(name, place):
    with Simulator(profile=name, latency=0.05) as server:
        connection = anonymous(server).connection()
        asset = await buy_video(connection, video(), place, TERMS)
        assert sent(server) == TEXT[name]
        again = await submit(connection, video(prompt="another"), place, TERMS)
        assert again.dialect == name
        asked = [seen for seen in server.requests if seen.path == "/v1/models"]
        assert len(asked) == 1
        assert server.requests[0] is asked[0], "before anything is bought"
        assert asset.source.job_id == server.jobs[0].id


async def test_many_jobs_at_once_find_it_out_together(place):
    """The first fifty orders of a process ask once; and so they do when the server can't say."""
    with Simulator(profile="vllm-omni", latency=0) as server:
        await asyncio.gather(*(dialect_of(anonymous(server).connection()) for _ in range(50)))
        assert [request.path for request in server.requests] == ["/v1/models"]
    with Simulator(latency=0) as server:
        server.faults.append(Fault("GET", "/models", "answer", times=None, status=404))
        found = await asyncio.gather(*(dialect_of(anonymous(server).connection()) for _ in range(50)))
        assert {dialect.name for dialect in found} == {"openai"}
        assert len(server.requests) == 1


async def test_openrouter_is_known_by_its_name():
    at = OpenAICredentials(base_url="https://openrouter.ai/api/v1", api_key=SecretStr("sk-x")).connection()
    assert (await dialect_of(at)).name == "openrouter"
    fake = OpenAICredentials(base_url="http://not-openrouter.ai.invalid/v1", api_key=SecretStr("sk-x")).connection()
    assert (await dialect_of(fake)).name == "openai"


async def test_in_doubt_it_is_openais_and_a_failure_is_not_remembered():
    with Simulator(profile="sglang") as server:
        at = anonymous(server).connection()
        server.faults.append(Fault("GET", "/models", "answer", times=3, status=503))
        assert (await dialect_of(at)).name == "openai"
        assert (await dialect_of(at)).name == "sglang"
    with Simulator(profile="sglang") as server:
        at = anonymous(server).connection()
        server.faults.append(Fault("GET", "/models", "answer", status=404, body={"detail": "Not Found"}))
        assert (await dialect_of(at)).name == "openai"
        assert (await dialect_of(at)).name == "openai", "a server without a list of models stays one"
        assert len(server.requests) == 1


async def test_what_the_block_says_wins_and_nothing_is_asked():
    with Simulator(profile="sglang") as server:
        credentials = anonymous(server).model_copy(update={"dialect": "trtllm"})
        assert (await dialect_of(credentials.connection())).name == "trtllm"
        assert server.requests == []


async def test_a_server_that_can_not_remix_and_does_not_say_who_it_is(place):
    with Simulator(can_remix=False, latency=0.05) as server:
        at = server.credentials.connection()
        source = await buy_video(at, video(), place, TERMS)
        with pytest.raises(InvalidRequest, match=r"can't remix videos; nothing was bought"):
            await buy_video(at, RemixRequest(video=source, prompt="at night"), place, TERMS)
        asset = await buy_remix(at, RemixRequest(video=source, prompt="at night"), place, TERMS, fallback="last_frame")
        assert asset.source.operation == "generate"
        for video_ in (source.source.job_id, await submit(at, video(), place, TERMS)):
            with pytest.raises(InvalidRequest, match="needs the Asset"):
                request = RemixRequest(video=video_, prompt="at dusk")
                await buy_remix(at, request, place, TERMS, fallback="last_frame")
        assert len(server.jobs) == 2


async def test_openrouter_is_told_where_to_call_and_the_purchase_is_the_same(servers, configure, place):
    """The address goes along with the job, and is no part of what is bought."""
    server = servers["openrouter"]
    del server.requests[:], server.jobs[:]
    first = await buy_video(connection(server), video(), place, TERMS)
    assert "callback_url" not in sent(server)[1]
    configure(callback_url="https://example.com/openrouter")
    assert await buy_video(connection(server), video(), place, TERMS) == first
    del server.requests[:]
    await buy_video(connection(server), video(variant=1), place, TERMS)
    assert sent(server)[1]["callback_url"] == "https://example.com/openrouter"
    del server.requests[:]
    await buy_video(connection(server), video(extra={"callback_url": "https://example.com/mine"}), place, TERMS)
    assert sent(server)[1]["callback_url"] == "https://example.com/mine"


async def test_other_servers_are_not_told_where_to_call(server, configure, place):
    configure(callback_url="https://example.com/openrouter")
    await buy_video(connection(server), video(), place, TERMS)
    assert ("callback_url" in sent(server)[1]) == (server.name == "openrouter")


@pytest.mark.parametrize("url", ["http://example.com/a", "https://", "example.com", "https://example.com:443a/b"])
def test_an_address_that_nobody_could_call_is_refused_before_anything_is_sent(configure, url):
    configure(callback_url=url)
    with pytest.raises(ValueError, match="PREFECT_MEDIA_CALLBACK_URL"):
        settings()
