"""How an object is served and kept, as it goes over the wire to Azure; S3's part is in test_publish.py."""

import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from prefect_media.storage.attributes import NONE, Attributes
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import Storage

SERVED = Attributes(cache_control="no-cache", storage_class="Cool", tags={"a": "b c"}, metadata={"sha256": "0" * 64})
MB = 1024 * 1024


@pytest.fixture
def azure(monkeypatch):
    """Writes down what Azure's blob service would get, and takes everything."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((urlsplit(self.path), {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(201)
            self.send_header("ETag", '"0x1"')
            self.send_header("Last-Modified", "Sun, 22 Nov 2026 12:00:00 GMT")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "films")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"key").decode())
    options = StorageOptions(endpoint_url=f"http://127.0.0.1:{server.server_port}")
    yield Storage("az://container", options), asked
    server.shutdown()
    server.server_close()


def blocks(size):
    while size > 0:
        yield b"\0" * min(size, MB)
        size -= MB


@pytest.mark.parametrize("way", ["put", "pour", "pour in parts"])
async def test_azure_gets_them(azure, way):
    storage, asked = azure
    if way == "put":
        await storage.put("fox.mp4", b"film", content_type="video/mp4", attributes=SERVED)
    else:
        from prefect_media.storage.body import Given

        size = MB if way == "pour" else 12 * MB
        await storage.upload(lambda _: ("fox.mp4", "video/mp4"), Given(blocks(size), size), attributes=SERVED)
    [(_, headers)] = [(url, headers) for url, headers in asked if parse_qs(url.query).get("comp") != ["block"]]
    assert headers["x-ms-blob-content-type"] == "video/mp4"
    assert headers["x-ms-blob-cache-control"] == "no-cache"
    assert headers["x-ms-access-tier"] == "Cool"
    assert headers["x-ms-tags"] in ("a=b+c", "a=b%20c")
    assert headers["x-ms-meta-sha256"] == "0" * 64
    assert len(asked) == (4 if way == "pour in parts" else 1)


async def test_nothing_is_said_unless_asked(azure):
    storage, asked = azure
    await storage.put("fox.mp4", b"film", content_type="video/mp4")
    [(_, headers)] = asked
    assert not [name for name in headers if name in ("x-ms-tags", "x-ms-access-tier", "x-ms-blob-cache-control")]


def test_a_fingerprint_tells_wishes_apart_and_leaves_notes_out():
    assert NONE.names == frozenset()
    assert SERVED.names == {"cache_control", "storage_class", "tags"}
    prints = {
        Attributes(**each).fingerprint
        for each in ({}, {"cache_control": "a"}, {"storage_class": "a"}, {"tags": {"a": "b"}}, {"tags": {"b": "a"}})
    }
    assert len(prints) == 5
    assert Attributes(metadata={"sha256": "1"}).fingerprint == NONE.fingerprint
    assert Attributes(tags={"a": "1", "b": "2"}).fingerprint == Attributes(tags={"b": "2", "a": "1"}).fingerprint
