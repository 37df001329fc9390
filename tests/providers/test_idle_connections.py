"""Idle connections are given up before servers close them, so that no request is lost that is sent just then."""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import uvicorn

from prefect_media import OpenAICredentials
from prefect_media.providers import connection
from prefect_media.providers.connection import IDLE_SECONDS


@pytest.fixture
def server():
    """A server that keeps connections, and notes the port that each request came from."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            ports.append(self.client_address[1])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    ports = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", ports
        server.shutdown()


async def test_a_connection_is_used_again_at_once_and_not_when_it_was_idle(server, monkeypatch):
    url, ports = server
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.2)
    at = OpenAICredentials(base_url=url, api_key="k").connection()
    async with connection._http_async(at, ours=True) as http:
        for pause in (0.0, 0.0, 0.3):
            await asyncio.sleep(pause)
            assert (await http.get(f"{url}/models")).status_code == 200
    assert ports[0] == ports[1] != ports[2]


def test_it_is_given_up_well_before_a_server_closes_it():
    assert uvicorn.Config("").timeout_keep_alive > IDLE_SECONDS + 2
