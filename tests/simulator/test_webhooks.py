"""Events that the simulator posts: the SDK reads what it says of batches; of videos, they are as OpenRouter's are."""

import base64
import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import openai
import pytest

from prefect_media.simulator import Simulator

SECRET = "whsec_" + base64.b64encode(b"twenty-four bytes secret").decode()
BODY = b'{"model": "gpt-image-1", "prompt": "a"}'
LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/images/generations", "body": %s}' % BODY


@pytest.fixture
def receiver():
    """A server that keeps what is posted to it; its first answer is that it is away."""
    calls, refused = queue.Queue(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204 if refused.is_set() else 503)
            self.end_headers()
            if refused.is_set():
                calls.put(({name.lower(): value for name, value in self.headers.items()}, body))
            refused.set()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", calls
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("ends", "kind"), [("", "batch.completed"), ("cancel", "batch.cancelled"), ("lie", "batch.failed")]
)
def test_the_sdk_believes_what_is_said_of_a_batch(receiver, ends, kind):
    url, calls = receiver
    with Simulator(latency=0.1, webhook_url=url, webhook_secret=SECRET) as simulator:
        client = openai.OpenAI(base_url=simulator.url, api_key="sk-simulated", webhook_secret=SECRET)
        file = client.files.create(file=("a.jsonl", b"{" if ends == "lie" else LINE), purpose="batch")
        endpoint = "/v1/images/generations"
        batch = client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
        if ends == "cancel":
            client.batches.cancel(batch.id)
        headers, body = calls.get(timeout=20)
        event = client.webhooks.unwrap(body, headers)
        assert (event.type, event.data.id) == (kind, batch.id)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(body.replace(b"batch_", b"hctab_"), headers)
    assert calls.empty(), "once"


@pytest.mark.parametrize(("prompt", "status"), [("a boat", "completed"), ("explode", "failed")])
def test_openrouter_says_when_a_video_has_ended(receiver, prompt, status):
    url, calls = receiver
    with Simulator(latency=0.1, profile="openrouter", webhook_secret=SECRET) as simulator:
        order = {"model": "boats-1", "prompt": prompt, "duration": 1, "size": "64x64"}
        key = {"authorization": "Bearer sk-simulated"}
        made = httpx.post(f"{simulator.url}/videos", json={**order, "callback_url": url}, headers=key)
        headers, body = calls.get(timeout=20)
        assert headers["x-openrouter-signature"].startswith("t=")
        assert headers["x-openrouter-idempotency-key"] == f"{made.json()['id']}-{status}"
        assert f'"type": "video.generation.{status}"'.encode() in body
        refused = httpx.post(f"{simulator.url}/videos", json={**order, "callback_url": "http://a.example"}, headers=key)
        assert refused.status_code == 400
