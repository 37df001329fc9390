"""The page, the names and the log that a flow run leaves by itself."""

import asyncio
import os
import re
import struct
import subprocess
import sys
import threading
import zlib
from collections import OrderedDict
from urllib.parse import urlsplit

import pytest
from outage import Door
from prefect import flow, tags
from prefect.artifacts import Artifact
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_media.blocks import MediaStore, VideoJobBlock
from prefect_media.tasks import agather, agenerate_images, agenerate_video, page_writer, posters, run_names
from prefect_media.tasks.live_page import LivePage, bar, duration
from prefect_media.tasks.run_names import name_of_run
from prefect_media.tasks.shots import Origin

from prefect_media import Asset, ImageRequest, VideoRequest
from prefect_media.budget import BudgetState
from prefect_media.errors import JobFailed
from prefect_media.runtime import clock
from prefect_media.simulator import Simulator
from prefect_media.steps import Step


def step(kind, purchase="p", **more):
    fields = {"operation": "generate", "media": "video", "model": "boats-1", "host": "h", "prompt": "a | <b>boat</b>"}
    return Step(kind=kind, at=clock.now(), purchase=purchase, **fields | more)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A thread that writes sooner, and ends sooner."""
    monkeypatch.setattr(page_writer, "INTERVAL", 0.1)
    monkeypatch.setattr(page_writer, "LINGER", 0.5)


def test_the_headline_counts_what_is_made_running_and_failed():
    page = LivePage("Boats")
    page.expect(40)
    page.report(step("reserved", "never ordered", budget=BudgetState("b", 20.0, 0.0, 1.0)), Origin())
    page.report(step("submitted", "1"), Origin())
    page.report(step("progress", "2", progress=50.0), Origin())
    for index in range(12):
        page.report(step("stored", f"made-{index}", cost_usd=0.25), Origin("a boat"))
    page.report(step("failed", "bad", error=JobFailed("no GPU")), Origin())
    text = page.markdown("")
    assert re.search(r"12 of 40 made · 2 running · 1 failed · 3.00 of 20.00 USD · about \d+ s left", text)
    assert "█████░░░░░ 50 %" in text and "<b>boat" not in text and "\n\n|" not in text
    assert page.progress == pytest.approx((13 + 0.5) / 40 * 100, abs=0.1)


def test_a_retry_is_no_second_failure_and_a_purchase_is_counted_once():
    page = LivePage("Boats")
    page.report(step("failed", error=JobFailed("no GPU")), Origin())
    page.report(step("submitted"), Origin())
    assert "1 running" in page.markdown("") and "failed" not in page.markdown("")
    film = Asset(uri="file:///boat.mp4", kind="video", content_type="video/mp4", size_bytes=1, sha256="a" * 64)
    for kind in ("stored", "reused"):
        page.report(step(kind, cost_usd=1.0, assets=(film,)), Origin())
    assert "**1 made · 1.00 USD**" in page.markdown("")


def test_what_is_cancelled_is_under_way_no_more_and_may_go_on():
    page = LivePage("Boats")
    for kind in ("submitted", "progress", "interrupted", "cancelled"):
        page.report(step(kind, job_id="video_1"), Origin())
    assert page.is_idle and "1 cancelled" in page.markdown("")
    page.report(step("reused", job_id="video_1"), Origin())
    assert not page.is_idle and "1 running" in page.markdown("") and "cancelled" not in page.markdown("")
    page.report(step("stored", cost_usd=0.5), Origin())
    assert page.is_idle and "**1 made · 0.50 USD**" in page.markdown("")


def test_a_batch_is_no_shot_and_is_over_when_it_is_finished():
    page = LivePage("Boats")
    for kind in ("submitted", "reused", "started", "finished"):
        page.report(step(kind, "batch", operation="batch"), Origin())
        assert page.is_idle == (kind == "finished")
    page.report(step("stored", "image", cost_usd=0.5), Origin())
    assert "**1 made · 0.50 USD**" in page.markdown("") and page.progress == 100


def test_bars_and_lengths_of_time():
    assert (bar(None), bar(0), bar(100)) == ("░" * 10, "░" * 10 + " 0 %", "█" * 10 + " 100 %")
    assert (duration(5), duration(360), duration(7200)) == ("5 s", "6 min", "2.0 h")


def test_names_say_what_is_made_in_safe_characters(monkeypatch, configure):
    monkeypatch.setattr(run_names, "_counted", OrderedDict())  # tasks outside of flow runs are counted together
    request = VideoRequest(prompt="the <b>boat</b> `drifts`; $(rm) \u202e", model="wan-2.2", seconds=5)
    assert name_of_run({"request": request}) == "clip: the b boat b drifts (rm) (wan-2.2, 5 s)"
    assert name_of_run({"request": request.model_copy(update={"variant": 1})}).startswith("clip 02: ")
    assert name_of_run({"request": request}).startswith("clip: ")
    assert name_of_run({"request": 5}) == name_of_run({}) == "media"
    configure(log_prompts=0)
    name = name_of_run({"request": ImageRequest(prompt="x", model="m")})
    assert re.fullmatch(r"still: prompt [0-9a-f]{8} \(m\)", name)


async def _written(key, words, within=150.0):  # pages of earlier tests may come first, one request in 2 s
    deadline = clock.monotonic() + within
    while clock.monotonic() < deadline:
        found = await Artifact.aget(key)
        if found and words in str(found.data):
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"{key} has no {words!r}: {found and str(found.data)[:400]}")


async def test_a_flow_run_leaves_its_page_without_being_asked(prefect, tmp_path, caplog):
    with Simulator(latency=0.3) as simulator:

        @flow(name="boats without asking")
        async def boats():
            requests = [
                VideoRequest(prompt=f"boat {index}", model="boats-1", seconds=4, size="64x64") for index in (1, 2)
            ]
            requests.append(VideoRequest(prompt="explode", model="boats-1", seconds=4, size="64x64"))
            return [made async for made in agather(simulator.credentials, requests, store=str(tmp_path))]

        with tags("autumn"):
            assert len(await boats()) == 3
    page = await _written("media-boats-without-asking", "2 of 3 made · 1 failed")
    assert page.task_run_id is None and page.data.count("data:image/jpeg") == 2
    assert page.data.count("<kbd>autumn</kbd>") == 3
    await _written("media-boats-without-asking-progress", "100")
    assert "Ordered video 'boat 1' (boats-1, 64x64, 4 s) as video_" in caplog.text
    assert "Made video 'boat 1'" in caplog.text and "Failed video 'explode'" in caplog.text


async def test_a_video_of_a_block_is_on_the_page_too(prefect, tmp_path, caplog):
    with Simulator(latency=0.3) as simulator:
        request = VideoRequest(prompt="boat of a block", model="boats-1", seconds=4, size="64x64")
        block = VideoJobBlock(
            credentials=simulator.credentials, request=request, store=MediaStore(url=str(tmp_path)), scope="run"
        )

        @flow(name="a block at work")
        async def make():
            return await (await block.atrigger()).afetch_result()

        await make()
    page = await _written("media-a-block-at-work", "**1 made")
    assert "boat of a block" in page.data and page.data.count("data:image/jpeg") == 1
    assert "Made video 'boat of a block'" in caplog.text


async def _until(condition, within=60.0):
    deadline = clock.monotonic() + within
    while not condition() and clock.monotonic() < deadline:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.05)
    assert condition()


async def test_a_page_that_can_not_be_written_fails_nothing(prefect, tmp_path, monkeypatch, caplog):
    """The purchase is made; what is wrong is logged once, by a step of the run and never by the thread that writes."""
    tries = []

    def broken(page, *_):
        if page.key == "media-boats-unseen":  # the thread may still write pages of runs before
            tries.append(threading.current_thread())
        raise ConnectionError("the API is down")

    monkeypatch.setattr(page_writer, "_send", broken)
    with Simulator(latency=3600) as simulator:

        @flow(name="boats unseen")
        async def boats():
            request = VideoRequest(prompt="boat", model="boats-1", seconds=4, size="64x64")
            film = asyncio.ensure_future(agenerate_video(simulator.credentials, request, store=str(tmp_path)))
            await _until(lambda: len(tries) > 2)
            simulator.jobs[0].latency = 0
            return await film

        assert (await boats()).size_bytes > 0
    assert threading.main_thread() not in tries
    [complaint] = [each for each in caplog.records if "could not be written" in each.getMessage()]
    assert "the API is down" in complaint.getMessage() and complaint.threadName != tries[0].name


async def test_the_page_of_a_cancelled_task_comes_to_rest_and_so_does_its_thread(prefect, tmp_path):
    with Simulator(latency=3600) as simulator:

        @flow(name="boats called back")
        async def boats():
            request = VideoRequest(prompt="boat", model="boats-1", seconds=4, size="64x64")
            film = asyncio.ensure_future(agenerate_video(simulator.credentials, request, store=str(tmp_path)))
            await _until(lambda: simulator.jobs)
            await _written("media-boats-called-back", "1 running")
            film.cancel()
            await asyncio.wait([film])

        await boats()
    await _written("media-boats-called-back", "1 cancelled")
    await _until(lambda: page_writer._thread is None)


BOMB = zlib.compress(b"\0" * (30_000 * 30_001 // 8), 9)


def _png(header, data):
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


BAD_PICTURES = {
    "no picture": b"not a picture at all " * 50,
    "cut": _png(struct.pack(">IIBBBBB", 640, 640, 8, 2, 0, 0, 0), b"\x78\x9c\x03"),
    "900 megapixels": _png(struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0), BOMB),
    "gone": None,
    "hangs": None,
}


@pytest.mark.parametrize("bad", BAD_PICTURES)
async def test_a_bad_picture_neither_fails_nor_delays_what_is_paid(prefect, tmp_path, monkeypatch, bad):
    """The page shows a sign in its place, and the good picture beside it."""
    monkeypatch.setattr(posters, "PATIENCE", 0.3)
    spoilt, stuck = threading.Event(), threading.Event()
    opened = posters.storage_of

    def storage_of(uri):
        """Spoils the first picture just before it is drawn, as whoever else may write to the store could."""
        storage, key = opened(uri)
        if not spoilt.is_set():
            spoilt.set()
            if bad == "hangs":
                return _Hanging(), key
            path = tmp_path / "store" / key
            path.unlink() if bad == "gone" else path.write_bytes(BAD_PICTURES[bad])
        return storage, key

    class _Hanging:
        async def open(self, key):
            stuck.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(posters, "storage_of", storage_of)
    name = f"boats with {bad}"
    with Simulator() as simulator:

        @flow(name=name)
        async def boats():
            still = ImageRequest(prompt="a boat", model="gpt-image-2", n=2)
            return await agenerate_images(simulator.credentials, still, store=str(tmp_path / "store"))

        assert len(await boats()) == 2
    page = await _written(f"media-{name.replace(' ', '-')}", "1 made")
    await _until(lambda: page_writer._thread is None)
    page = await Artifact.aget(page.key)
    assert (page.data.count("data:image/jpeg"), page.data.count("data:image/svg")) == (1, 1)
    assert spoilt.is_set() and stuck.is_set() == (bad == "hangs")


@pytest.mark.parametrize("fault", ["down", "slow", "413"])
async def test_a_broken_api_neither_fails_nor_delays_what_is_paid(prefect, tmp_path, monkeypatch, fault):
    """The API that pages go to is not there, never answers, or refuses the size."""
    requests = 0

    async def answer(reader, writer):
        nonlocal requests
        requests += 1
        if fault == "slow":
            await asyncio.sleep(60)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = 9 if fault == "down" else server.sockets[0].getsockname()[1]
    get_client, tries = page_writer.get_client, []

    def client(**options):
        """Prefect's own, for another server."""
        tries.append(clock.monotonic())
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
            return get_client(**options)

    monkeypatch.setattr(page_writer, "get_client", client)
    with Simulator(latency=0.1) as simulator:

        @flow(name=f"boats with {fault}")
        async def boats():
            began = clock.monotonic()
            request = VideoRequest(prompt="boat", model="boats-1", seconds=4, size="64x64")
            asset = await agenerate_video(simulator.credentials, request, store=str(tmp_path))
            return asset, clock.monotonic() - began

        asset, seconds = await boats()
        assert asset.size_bytes > 0 and len(simulator.jobs) == 1
        assert seconds < 15  # a slow answer takes 60 s
        deadline = clock.monotonic() + 30
        while len(tries) < 2 and clock.monotonic() < deadline:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.1)
    assert len(tries) >= 2  # it was tried, and is tried again later
    assert bool(requests) == (fault != "down")
    server.close()


SCRIPT = """
import sys, time
from prefect import flow
from prefect_media import ImageRequest, OpenAICredentials, generate_images
from prefect_media.tasks import page_writer

page_writer.INTERVAL = 3600  # what follows the first request is left for the end
write_the_last = page_writer._write_the_last

def timed():
    began = time.monotonic()
    write_the_last()
    print(f"waited {time.monotonic() - began:.2f}", flush=True)

page_writer._write_the_last = timed

@flow
def boats():
    generate_images(OpenAICredentials(base_url=sys.argv[1], api_key="k"), still, store=sys.argv[2])

still = ImageRequest(prompt="a boat", model="gpt-image-2")
boats()
print("over", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("outage", ["shut", "fall_silent"])
def test_a_server_that_is_gone_at_the_end_of_the_process_is_no_traceback_and_hardly_waited_for(
    prefect, tmp_path, outage
):
    server = urlsplit(PREFECT_API_URL.value()).port
    with Simulator() as simulator, Door(server) as door:
        env = os.environ | {
            "PREFECT_API_URL": f"http://127.0.0.1:{door.port}/api",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
        }
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT, simulator.url, str(tmp_path)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            said = process.stdout.readline()
            getattr(door, outage)()
            process.stdin.write("\n")
            process.stdin.flush()
            told = process.stdout.readline()
            if outage == "fall_silent":
                process.kill()  # Prefect waits 10 s more for its own events
            _, complaints = process.communicate(timeout=120)
    assert (said, process.returncode) == ("over\n", -9 if outage == "fall_silent" else 0), complaints
    seconds = float(told.removeprefix("waited "))
    assert seconds < 2 * page_writer.PATIENCE_AT_END, "one request is tried, and none after it"
    for word in ("Traceback", "Logging error", "prefect_media", "could not be written"):
        assert word not in complaints
