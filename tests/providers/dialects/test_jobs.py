"""Jobs at each kind of server: looked at, listed, ended, and unknown."""

import base64

import pytest
from dialect_servers import TERMS, VARIATIONS, connection, video

from prefect_media import RemixRequest
from prefect_media.errors import (
    ContentRejected,
    InvalidRequest,
    JobFailed,
    MediaError,
    NotFound,
)
from prefect_media.providers import videos
from prefect_media.providers.dialects import dialects
from prefect_media.purchases.videos import buy_video

pytestmark = pytest.mark.usefixtures("short_pauses")


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
