"""Which calls of servers are believed. They are signed here by the letter of Standard Webhooks."""

import base64
import json
import subprocess

import pytest
from webhooks import event, signed, signed_by_openrouter

from prefect_media.providers import callbacks as rules
from prefect_media.providers.callbacks import Callbacks, OpenRouterCallbacks, Refused
from prefect_media.runtime import clock

SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes secret").decode()
OWN = "a secret of my own servers"
DONE = event("batch.completed", "batch_1")


@pytest.fixture
def openai():
    return Callbacks(SECRET)


@pytest.mark.parametrize("kind", ["batch.completed", "batch.failed", "batch.expired", "video.completed"])
def test_an_event_names_its_job(openai, kind):
    body = event(kind, "batch_1")
    assert openai.job_of_event(signed(body, SECRET), body) == "batch_1"


def test_an_event_about_something_else_is_about_no_job(openai):
    body = event("response.completed", "resp_1")
    assert openai.job_of_event(signed(body, SECRET), body) is None


LIES = {
    "another secret": lambda: (signed(DONE, "whsec_" + base64.b64encode(b"x" * 24).decode()), DONE),
    "another body": lambda: (signed(DONE, SECRET), event("batch.completed", "batch_2")),
    "ten minutes old": lambda: (signed(DONE, SECRET, age=600), DONE),
    "ten minutes too new": lambda: (signed(DONE, SECRET, age=-600), DONE),
    "not signed": lambda: ({}, DONE),
    "signed with nothing": lambda: ({**signed(DONE, SECRET), "webhook-signature": "v1,"}, DONE),
    "no time": lambda: ({**signed(DONE, SECRET), "webhook-timestamp": "now"}, DONE),
    "another id": lambda: ({**signed(DONE, SECRET), "webhook-id": "wh_2"}, DONE),
    "no JSON": lambda: (signed(b"{", SECRET), b"{"),
    "no text": lambda: (signed(b"\xff\xfe", SECRET), b"\xff\xfe"),
    "no object": lambda: (signed(b"[1]", SECRET), b"[1]"),
    "deep": lambda: (signed(b"[" * 60_000, SECRET), b"[" * 60_000),
    "an id with a line break": lambda: (
        signed(event("batch.completed", "a\nb"), SECRET),
        event("batch.completed", "a\nb"),
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_proves_nothing_is_refused(openai, lie):
    headers, body = LIES[lie]()
    with pytest.raises(Refused):
        openai.job_of_event(headers, body)
    assert openai.job_of_event(signed(DONE, SECRET), DONE) == "batch_1"


def test_a_call_counts_once(openai):
    headers = signed(DONE, SECRET)
    assert openai.job_of_event(headers, DONE)
    with pytest.raises(Refused):
        openai.job_of_event(headers, DONE)
    openai.forget(headers)
    assert openai.job_of_event(headers, DONE)


def test_calls_are_forgotten_when_they_are_too_old_to_come_again_and_no_more_than_some_are_kept(openai, monkeypatch):
    monkeypatch.setattr(rules, "MOST_REMEMBERED", 3)
    for _ in range(5):
        openai.job_of_event(signed(DONE, SECRET), DONE)
    assert len(openai._memory) == 3
    later = clock.monotonic() + 2 * rules.TOLERANCE + 1
    monkeypatch.setattr(clock.source, "monotonic", lambda: later)
    openai.job_of_event(signed(DONE, SECRET), DONE)
    assert len(openai._memory) == 1


def test_a_server_of_ones_own_names_the_job_twice():
    own, body = Callbacks(OWN), json.dumps({"id": "video_1"}).encode()
    assert own.job_of_call("video_1", signed(body, OWN), body) == "video_1"
    with pytest.raises(Refused):
        own.job_of_call("video_2", signed(body, OWN), body)


ROUTED = event("video.generation.completed", "Nxff2D1Z6w4Zk9iNuZam")


@pytest.fixture
def openrouter():
    return OpenRouterCallbacks(OWN)


def test_the_example_of_openrouters_documentation_is_read_to_the_letter(openrouter):
    """The signature as `openssl dgst -sha256 -hmac` made it, of the time, a comma and the body."""
    body = b'{"type":"video.generation.failed","data":{"id":"job_test"}}'
    moment = int(clock.now().timestamp())
    made = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", OWN],
        input=f"{moment},".encode() + body,
        capture_output=True,
        check=True,
    )
    digest = made.stdout.decode().split()[-1]
    assert openrouter.job_of_event({"x-openrouter-signature": f"t={moment},v1={digest}"}, body) == "job_test"


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
def test_an_event_of_openrouter_names_its_job(openrouter, status):
    body = event(f"video.generation.{status}", "Nxff2D1Z6w4Zk9iNuZam")
    assert openrouter.job_of_event(signed_by_openrouter(body, OWN), body) == "Nxff2D1Z6w4Zk9iNuZam"


SIGNATURE = "x-openrouter-signature"
ROUTED_LIES = {
    "another secret": lambda: (signed_by_openrouter(ROUTED, SECRET), ROUTED),
    "another body": lambda: (signed_by_openrouter(ROUTED, OWN), event("video.generation.completed", "another")),
    "ten minutes old": lambda: (signed_by_openrouter(ROUTED, OWN, age=600), ROUTED),
    "ten minutes too new": lambda: (signed_by_openrouter(ROUTED, OWN, age=-600), ROUTED),
    "not signed": lambda: ({}, ROUTED),
    "no hash": lambda: ({SIGNATURE: signed_by_openrouter(ROUTED, OWN)[SIGNATURE].split(",")[0]}, ROUTED),
    "no time": lambda: ({SIGNATURE: signed_by_openrouter(ROUTED, OWN)[SIGNATURE].split(",")[1]}, ROUTED),
    "a time of many digits": lambda: ({SIGNATURE: f"t={'9' * 5000},v1={'0' * 64}"}, ROUTED),
    "signed as OpenAI does": lambda: (signed(ROUTED, OWN), ROUTED),
    "no JSON": lambda: (signed_by_openrouter(b"{", OWN), b"{"),
    "deep": lambda: (signed_by_openrouter(b"[" * 60_000, OWN), b"[" * 60_000),
}


@pytest.mark.parametrize("lie", ROUTED_LIES)
def test_what_proves_nothing_about_openrouter_is_refused(openrouter, lie):
    headers, body = ROUTED_LIES[lie]()
    with pytest.raises(Refused):
        openrouter.job_of_event(headers, body)
    assert openrouter.job_of_event(signed_by_openrouter(ROUTED, OWN), ROUTED)


def test_a_call_of_openrouter_counts_once_whatever_its_unsigned_key(openrouter):
    headers = signed_by_openrouter(ROUTED, OWN)
    assert openrouter.job_of_event(headers, ROUTED)
    with pytest.raises(Refused):
        openrouter.job_of_event({**headers, "x-openrouter-idempotency-key": "another"}, ROUTED)
    openrouter.forget(headers)
    assert openrouter.job_of_event(headers, ROUTED)
