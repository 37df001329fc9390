"""How the dialect of a server is found out, once and for free."""

import asyncio

import pytest
from dialect_servers import TERMS, TEXT, sent, video
from pydantic import SecretStr

from prefect_media import OpenAICredentials, RemixRequest
from prefect_media.errors import (
    InvalidRequest,
)
from prefect_media.providers.detection import dialect_of
from prefect_media.purchases.remix_fallback import buy_remix
from prefect_media.purchases.video_steps import submit
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator

pytestmark = pytest.mark.usefixtures("short_pauses")


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
