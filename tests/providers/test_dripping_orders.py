"""Answers that come in drips: each piece is in time, and the whole never would be."""

import asyncio
import json
import threading
import time
from base64 import b64encode

import pytest
from buyer import clip, connection, terms
from faulty_server import Raw, forward, hand_on

from prefect_media.errors import ProviderUnavailable, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers import listing, videos
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at

LIMIT = 1.5
"""Seconds that credentials in these tests give one answer."""

PROMPTLY = 15.0
"""Seconds after which it is said at the latest; without a limit, the drips below take 30 s and more."""

STILL = ImageRequest(prompt="a boat", model="gpt-image-2", size="1024x1024", quality="low")


class Dripping(Raw):
    """Hands requests on to a simulator, but answers what fits `drips` byte by byte for half a minute, head included.

    Attributes:
        drips: Method and end of the path; nothing else is touched.
        answer: What is dripped.
        accepts: Whether the simulator hears of it before.
    """

    def __init__(self, simulator, drips, answer, *, accepts=True):
        self.root, self.drips, self.answer, self.accepts = simulator.url.removesuffix("/v1"), drips, answer, accepts
        self.given_up = threading.Event()
        super().__init__()

    def serve(self, line, asked):
        body = asked.file.read(asked.length)
        method, end = self.drips
        if asked.method != method or not asked.path.partition("?")[0].endswith(end):
            return hand_on(line, asked, self.root, body)
        if self.accepts:
            forward(asked, self.root, body)
        try:
            for place in range(len(self.answer)):
                line.sendall(self.answer[place : place + 1])
                time.sleep(0.25)
        except OSError:
            self.given_up.set()
        return False


def http(body, kind="application/json", length=None):
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture
def simulator():
    with Simulator(latency=0.0) as simulator:
        yield simulator


@pytest.fixture
def storage(tmp_path, monkeypatch, configure):
    monkeypatch.setattr("prefect_media.purchases.lost_jobs.LOOKS", (0.0,))
    configure(poll_seconds=0.05)
    return storage_at(str(tmp_path))


@pytest.fixture
def dripping(simulator):
    servers = []

    def serve(*args, **kwargs):
        servers.append(Dripping(simulator, *args, **kwargs))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def to(server, **fields):
    return connection(server, **{"base_url": f"{server.url}/v1", "request_timeout": LIMIT, **fields})


async def the_record(storage):
    [record] = [record async for record in Ledger(storage).purchases()]
    return record


async def test_an_order_whose_answer_drips_is_given_up_and_its_job_adopted(simulator, storage, dripping):
    body = json.dumps({"id": "video_x", "status": "queued", "pad": "x" * 60}).encode()
    server = dripping(("POST", "/videos"), http(body))
    began = time.monotonic()
    asset = await buy_video(to(server), clip(), storage, terms(timeout=30))
    assert time.monotonic() - began < PROMPTLY
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]
    assert server.given_up.wait(5), "the connection is closed, too"


async def test_without_a_list_the_doubt_is_raised(simulator, storage, dripping):
    server = dripping(("POST", "/videos"), http(b'{"pad": "' + b"x" * 60))
    began = time.monotonic()
    with pytest.raises(SubmissionInDoubt):
        await buy_video(to(server, dialect="new-api"), clip(), storage, terms(timeout=30))
    assert time.monotonic() - began < PROMPTLY
    assert (await the_record(storage)).state == "in_doubt"


async def test_images_whose_answer_drips_are_in_doubt(simulator, storage, dripping):
    body = json.dumps({"data": [{"b64_json": b64encode(b"x" * 60).decode()}]}).encode()
    server = dripping(("POST", "/images/generations"), http(body))
    began = time.monotonic()
    with pytest.raises(SubmissionInDoubt, match=r"not whole after 1\.5 s"):
        await buy_images(to(server), STILL, storage, terms(timeout=30))
    assert time.monotonic() - began < PROMPTLY
    assert (await the_record(storage)).state == "in_doubt"


async def test_a_stream_of_previews_that_never_ends_is_in_doubt(simulator, storage, dripping):
    server = dripping(("POST", "/images/generations"), http(b": still here\n\n" * 10, "text/event-stream"))
    began = time.monotonic()
    previews = terms(timeout=30, on_partial=lambda picture, number: None, partial_images=1)
    with pytest.raises(SubmissionInDoubt, match=r"not whole after 1\.5 s"):
        await buy_images(to(server), STILL, storage, previews)
    assert time.monotonic() - began < PROMPTLY


@pytest.mark.parametrize("ask", ["look", "list"])
async def test_looks_and_lists_whose_answer_drips_are_given_up(simulator, dripping, ask):
    server = dripping(("GET", "/videos" if ask == "list" else "/videos/video_x"), http(b" " * 60), accepts=False)
    began = time.monotonic()
    with pytest.raises(ProviderUnavailable):
        if ask == "look":
            await videos.look(to(server), "video_x")
        else:
            await listing.page(to(server), after=None)
    assert time.monotonic() - began < PROMPTLY


async def test_an_error_that_drips_is_given_up(simulator, storage, dripping):
    answer = http(b"x" * 60).replace(b"200 OK", b"400 Bad Request")
    server = dripping(("POST", "/images/generations"), answer, accepts=False)
    began = time.monotonic()
    with pytest.raises(SubmissionInDoubt):
        await buy_images(to(server), STILL, storage, terms(timeout=30))
    assert time.monotonic() - began < PROMPTLY


async def test_an_answer_that_is_merely_slow_is_waited_for(simulator, storage):
    simulator.faults.append(Fault("POST", "/videos$", "drip", nbytes=40, seconds=0.1))
    began = time.monotonic()
    await buy_video(connection(simulator, request_timeout=20), clip(), storage, terms(timeout=30))
    assert time.monotonic() - began > 0.5
    assert len(simulator.jobs) == 1


async def test_time_that_the_store_takes_is_not_the_servers(simulator, storage, monkeypatch):
    """Six pictures come at once and are stored one by one, slowly: together for longer than an answer may take."""
    from prefect_media.purchases import store_images

    store_image, limit = store_images.store_image, 6.0  # a slow machine draws six pictures in it

    async def slowly(*args):
        await asyncio.sleep(1.2)
        return await store_image(*args)

    monkeypatch.setattr(store_images, "store_image", slowly)
    request, began = STILL.model_copy(update={"n": 6}), time.monotonic()
    assets = await buy_images(connection(simulator, request_timeout=limit), request, storage, terms(timeout=60))
    assert len(assets) == 6
    assert time.monotonic() - began > limit
