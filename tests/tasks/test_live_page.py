"""The page, the names and the log that a flow run leaves by itself."""

import asyncio
import re
from collections import OrderedDict

import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_media.tasks import agather, agenerate_video, run_names
from prefect_media.tasks.live_page import LivePage, bar, duration
from prefect_media.tasks.run_names import name_of_run
from prefect_media.tasks.shots import Origin

from prefect_media import ImageRequest, VideoRequest
from prefect_media.budget import BudgetState
from prefect_media.errors import JobFailed
from prefect_media.runtime import clock
from prefect_media.simulator import Simulator
from prefect_media.steps import Step


def step(kind, purchase="p", **more):
    fields = {"operation": "generate", "media": "video", "model": "boats-1", "host": "h", "prompt": "a | <b>boat</b>"}
    return Step(kind=kind, at=clock.now(), purchase=purchase, **fields, **more)


def test_the_headline_counts_what_is_made_running_and_failed():
    page = LivePage("Boats")
    page.expect(40)
    page.report(step("reserved", "1", budget=BudgetState("b", 20.0, 0.0, 1.0)), Origin())
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
    for kind in ("stored", "reused"):
        page.report(step(kind, cost_usd=1.0), Origin())
    assert "**1 made · 1.00 USD**" in page.markdown("")


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

        assert len(await boats()) == 3
    page = await _written("media-boats-without-asking", "2 of 3 made · 1 failed")
    assert page.task_run_id is None and page.data.count("data:image/jpeg") == 2
    await _written("media-boats-without-asking-progress", "100")
    assert "Ordered video 'boat 1' (boats-1, 64x64, 4 s) as video_" in caplog.text
    assert "Made video 'boat 1'" in caplog.text and "Failed video 'explode'" in caplog.text


async def test_a_page_that_can_not_be_written_fails_nothing(prefect, tmp_path, monkeypatch, caplog):
    """The purchase is made, and what is wrong is logged once."""
    from prefect_media.tasks import page_writer

    def broken(*_):
        raise ConnectionError("the API is down")

    monkeypatch.setattr(page_writer, "_send", broken)
    with Simulator(latency=0.1) as simulator:

        @flow(name="boats unseen")
        async def boats():
            request = VideoRequest(prompt="boat", model="boats-1", seconds=4, size="64x64")
            return await agenerate_video(simulator.credentials, request, store=str(tmp_path))

        assert (await boats()).size_bytes > 0
    await asyncio.sleep(12)  # for three tries
    assert caplog.text.count("could not be written") == 1


@pytest.mark.parametrize("fault", ["down", "slow", "413"])
async def test_a_broken_api_neither_fails_nor_delays_what_is_paid(prefect, tmp_path, monkeypatch, fault):
    """The API that pages go to is not there, never answers, or refuses the size."""
    from prefect_media.tasks import page_writer

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
