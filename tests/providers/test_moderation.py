"""Moderation before, during and after a video is made, and whether a failure was billed: told once, and told again."""

import pytest

from prefect_media import VideoRequest, agenerate_video
from prefect_media.errors import ContentRejected, JobFailed
from prefect_media.simulator import Fault, Simulator

REQUEST = VideoRequest(prompt="a paper boat", model="wan", seconds=2, size="128x72")
REFUSAL = {"error": {"message": "Your request was blocked.", "type": "invalid_request_error", "code": "sentinel_block"}}


async def twice(simulator, request, store):
    """The error of two attempts in one scope, the second of which has to come from the ledger."""
    caught = []
    for _ in range(2):
        with pytest.raises((ContentRejected, JobFailed)) as error:
            await agenerate_video.fn(simulator.credentials, request, store=store, scope="a test")
        caught.append(error.value)
    assert len([seen for seen in simulator.requests if seen.method == "POST"]) == 1, "asked for once"
    first, second = caught
    assert (type(first), first.billed, first.code) == (type(second), second.billed, second.code)
    assert str(second) == str(first)
    return first


async def test_before_it_is_made(media_simulator, store):
    media_simulator.faults.append(Fault("POST", "/videos$", "answer", times=None, status=400, body=REFUSAL))
    error = await twice(media_simulator, REQUEST, store)
    assert isinstance(error, ContentRejected)
    assert (error.code, error.status_code, error.job_id, error.billed) == ("sentinel_block", 400, None, None)
    assert media_simulator.jobs == []


async def test_while_it_is_made(media_simulator, store):
    error = await twice(media_simulator, REQUEST.model_copy(update={"prompt": "forbidden"}), store)
    assert isinstance(error, ContentRejected)
    assert (error.code, error.stage, error.job_id) == ("moderation_blocked", "output", media_simulator.jobs[0].id)


async def test_after_it_was_made(store):
    with Simulator(profile="openrouter", latency=0.05) as simulator:
        error = await twice(simulator, REQUEST.model_copy(update={"prompt": "filtered"}), store)
    assert isinstance(error, ContentRejected)
    assert " was stopped by moderation (billed 0.4 USD); change the prompt; the provider says: " in str(error)
    assert "filter removed it" in error.provider_message
    assert error.billed is True


@pytest.mark.parametrize(("usage", "billed"), [({"cost": 0.16}, True), ({"cost": 0}, False), ({}, None), (None, None)])
async def test_a_failure_says_whether_it_was_billed_where_the_server_does(store, usage, billed):
    with Simulator(profile="openrouter", latency=0.05) as simulator:
        taken = {"id": "job", "status": "pending"}
        simulator.faults.append(Fault("POST", "/videos$", "answer_after", status=202, body=taken))
        body = {"id": "job", "status": "failed", "error": "gone wrong", "usage": usage}
        simulator.faults.append(Fault("GET", r"/videos/[^/]+$", "answer", times=None, status=200, body=body))
        error = await twice(simulator, REQUEST, store)
    assert isinstance(error, JobFailed)
    assert error.billed is billed
    assert ("billed" in str(error)) is (billed is not None)
