"""Links that open without a login, keys that a server quotes, and what else URLs hold: not in any log or error."""

from __future__ import annotations

import io
import logging
import socket
import threading
import traceback

import pytest
from buyer import MODEL, clip, connection, terms
from PIL import Image
from prefect_media.blocks import AzureOpenAICredentials, OpenAICredentials

from prefect_media.errors import AuthenticationFailed, InvalidRequest
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.simulator import Fault, Simulator
from prefect_media.simulator.drawing.film import shoot

SECRET = "signed-that-nobody-must-see"  # noqa: S105
STILL = ImageRequest(prompt="a paper boat", model=MODEL, size="64x64")


class Bucket:
    """What a signed link leads to. Its first connection ends without an answer."""

    def __init__(self, content):
        self.content = content
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.link = f"http://127.0.0.1:{self.listener.getsockname()[1]}/file?X-Amz-Signature={SECRET}&sig={SECRET}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        for number in range(10):
            line, _ = self.listener.accept()
            with line:
                line.recv(65536)
                if number:
                    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(self.content())}\r\n\r\n"
                    line.sendall(head.encode() + self.content())


@pytest.fixture
def simulator():
    with Simulator(latency=0.0) as simulator:
        yield simulator


async def test_a_signed_link_to_a_film_is_in_no_log(simulator, store, caplog):
    """The content lies in a bucket, the provider redirects there, and the connection breaks: urllib3 warns of that."""
    caplog.set_level(logging.DEBUG)
    bucket = Bucket(lambda: shoot(simulator.jobs[0].film))
    simulator.faults.append(Fault("GET", "/content$", "answer", status=302, headers={"Location": bucket.link}, body=""))
    await buy_video(connection(simulator), clip(), store.storage(), terms())
    assert "/file" in caplog.text
    assert SECRET not in caplog.text


async def test_a_signed_link_to_an_image_is_in_no_log(simulator, store, caplog):
    caplog.set_level(logging.INFO)
    drawn = io.BytesIO()
    Image.new("RGB", (64, 64)).save(drawn, "PNG")
    bucket = Bucket(drawn.getvalue)
    simulator.faults.append(Fault("POST", "/images", "answer_after", status=200, body={"data": [{"url": bucket.link}]}))
    await buy_images(connection(simulator), STILL, store.storage(), terms())
    assert "/file" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("bearer", [True, False])
async def test_a_key_that_the_server_quotes_is_in_no_error(bearer, simulator, store):
    """Some gateways say which key they did not like; tracebacks show causes too."""
    body = {"error": {"message": f"Invalid token passed: {SECRET}"}}
    simulator.faults.append(Fault("POST", "/images", "answer", status=401, body=body))
    line = connection(simulator, api_key=SECRET, bearer=bearer)
    with pytest.raises(AuthenticationFailed, match="Invalid token") as caught:
        await buy_images(line, STILL, store.storage(), terms())
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("kind", [OpenAICredentials, AzureOpenAICredentials])
@pytest.mark.parametrize(
    "base_url", [f"someone:{SECRET}@gateway.example/v1", f"ftp://someone:{SECRET}@gateway.example/v1"]
)
def test_an_address_that_is_none_is_shown_without_its_login(base_url, kind):
    with pytest.raises(InvalidRequest) as caught:
        kind(base_url=base_url, api_key="x").connection()
    assert SECRET not in caught.value.message
    assert "gateway" in caught.value.message


def test_an_address_with_a_query_is_refused():
    """It would end up in every job on the ledger, and no path could follow it."""
    with pytest.raises(InvalidRequest) as caught:
        OpenAICredentials(base_url=f"https://gateway.example/v1?key={SECRET}", api_key="x").connection()
    assert SECRET not in caught.value.message
