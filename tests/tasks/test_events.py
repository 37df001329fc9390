"""Events of each step, as Prefect's server has them; each payload is of its documented schema."""

import asyncio
import re
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL
from prefect_api import Prefect
from prefect_media.flows.model_watch import model_watch
from prefect_media.tasks import events
from prefect_media.tasks.event_payloads import PAYLOADS, PREFIX

from prefect_media import (
    Budget,
    ImageRequest,
    VideoRequest,
    afetch_image_batch,
    agenerate_images,
    agenerate_video,
    apublish,
    asubmit_image_batch,
    asubmit_video,
    await_for_video,
    generate_video,
)
from prefect_media.errors import BudgetExceeded, ContentRejected, JobFailed, SubmissionInDoubt
from prefect_media.settings import settings
from prefect_media.simulator import Fault

ROOT = Path(__file__).parents[2]
ONE = r"/videos/[^/?]+$"


def clip(prompt="a paper boat"):
    return VideoRequest(prompt=prompt, model="sora-2", seconds=4, size="1280x720")


def still(prompt="a paper boat", model="gpt-image-2"):
    return ImageRequest(prompt=prompt, model=model, size="1024x1024", quality="low")


def arrived(run_id, *names, within=60.0):
    """The events of a flow run by name, once all of `names` are at the server; each of its documented schema.

    A name that is given twice is waited for twice.
    """
    related = {"id": [f"prefect.flow-run.{run_id}"]}
    asked = {"filter": {"event": {"prefix": [PREFIX]}, "related": related, "order": "ASC"}, "limit": 50}
    deadline = time.monotonic() + within
    while True:
        by_name = {}
        for event in Prefect(PREFECT_API_URL.value()).ask("POST", "/events/filter", **asked)["events"]:
            name = event["event"].removeprefix(PREFIX)
            PAYLOADS[name].model_validate(event["payload"], strict=False)
            assert {row["prefect.resource.role"] for row in event["related"]} >= {"flow-run", "flow"}
            assert "sk-simulated" not in str(event)
            assert "paper boat" not in str(event.get("payload"))  # the name of the task run, among the related, has it
            by_name.setdefault(name, []).append(event)
        missing = Counter(names) - Counter({name: len(events) for name, events in by_name.items()})
        if not missing:
            return by_name
        assert time.monotonic() < deadline, f"{missing} did not arrive, only {by_name.keys()}"
        time.sleep(0.5)


def run(body):
    """Run an async function as a flow, and return the flow run's id."""
    ids = []

    @flow(name="events")
    async def events_flow():
        from prefect.runtime import flow_run

        ids.append(str(flow_run.id))
        await body()

    asyncio.run(events_flow())
    return ids[0]


@pytest.fixture
def server(media_simulator, tmp_path, configure):
    media_simulator.latency = 0.3
    prices = tmp_path / "prices.toml"
    prices.write_text('[prices."sora-2"]\nper_second = 0.1\n')
    configure(prices=prices, poll_seconds=0.1)
    return media_simulator


def test_a_run_that_makes_things(prefect, server, tmp_path):
    place, credentials = str(tmp_path / "store"), server.credentials

    async def make():
        images = await agenerate_images(credentials, still(), store=place)
        server.latency = 3.0  # so that it is seen to run
        video = await agenerate_video(credentials, clip(), store=place, budget=Budget(usd=0.5, name="clips"))
        server.latency = 0.3
        await agenerate_video(credentials, clip(), store=place)  # reused: no event
        await apublish([*images, video], str(tmp_path / "out"), prefix="p")
        batch = await asubmit_image_batch(credentials, [still("b")], store=place)
        await afetch_image_batch(credentials, batch, store=place)

    names = ("image.created", "video.submitted", "video.started", "video.completed", "budget.reserved", "published")
    made = arrived(run(make), *names, "image.created", "batch.submitted", "batch.completed")
    assert {name: len(each) for name, each in made.items()} == {
        "image.created": 2,
        "video.submitted": 1,
        "video.started": 1,
        "video.completed": 1,
        "budget.reserved": 1,
        "published": 1,
        "batch.submitted": 1,
        "batch.completed": 1,
    }
    [job] = server.jobs
    [completed], [submitted], [reserved] = made["video.completed"], made["video.submitted"], made["budget.reserved"]
    assert completed["resource"] == {**submitted["resource"]}
    assert completed["payload"]["job_id"] == submitted["payload"]["job_id"] == job.id
    assert completed["payload"]["cost_usd"] == submitted["payload"]["estimated_usd"] == 0.4
    assert completed["payload"]["assets"][0].startswith((tmp_path / "store").as_uri())
    assert reserved["payload"]["used_percent"] == 80
    assert reserved["resource"]["prefect-media.budget.level"] == "80"
    assert {row["prefect.resource.role"] for row in completed["related"]} >= {"task-run"}
    [published] = made["published"]
    assert published["payload"]["count"] == 2 and published["payload"]["manifest"].endswith("manifest.json")


def test_a_run_that_fails_in_every_way(prefect, server, tmp_path):
    place, credentials = str(tmp_path / "store"), server.credentials

    async def fail():
        with pytest.raises(JobFailed):
            await agenerate_video(credentials, clip("explode"), store=place)
        with pytest.raises(ContentRejected):
            await agenerate_video(credentials, clip("forbidden"), store=place)
        with pytest.raises(ContentRejected):
            await agenerate_images(credentials, still("forbidden"), store=place)
        with pytest.raises(BudgetExceeded):
            await agenerate_video(credentials, clip("dear"), store=place, budget=0.1)
        server.faults.append(Fault("POST", "/images/generations", "lose_reply"))
        with pytest.raises(SubmissionInDoubt):
            await agenerate_images.with_options(retries=0)(credentials, still("lost"), store=place)

    names = ("video.failed", "video.rejected", "image.rejected", "budget.exceeded", "doubt.raised")
    told = arrived(run(fail), *names)
    assert told["video.failed"][0]["payload"]["error"] == "JobFailed"
    assert told["video.rejected"][0]["payload"]["error"] == "ContentRejected"
    [exceeded] = told["budget.exceeded"]
    assert (exceeded["payload"]["limit_usd"], exceeded["payload"]["needed_usd"]) == (0.1, 0.4)
    assert exceeded["resource"]["prefect-media.budget.level"] == "100"
    [doubt] = told["doubt.raised"]
    key = doubt["payload"]["purchase"][:12]
    assert doubt["payload"]["command"] == f"prefect-media jobs forget {key} --store {(tmp_path / 'store').as_uri()}"


@pytest.mark.parametrize("steps", ["whole", "steps", "sync"])
def test_a_job_that_stalls_and_goes_on(prefect, server, tmp_path, monkeypatch, steps):
    monkeypatch.setattr(settings(), "stall_seconds", 0.2)
    server.latency, place, credentials = 1.0, str(tmp_path), server.credentials

    def stand_still():
        body = {"id": server.jobs[-1].id, "status": "in_progress", "progress": 42}
        server.faults.append(Fault("GET", ONE, "answer", times=6, status=200, body=body))

    server.faults.append(Fault("POST", "/videos$", "hold_reply", seconds=0, after_accept=stand_still))

    async def make():
        if steps == "whole":
            await agenerate_video(credentials, clip(), store=place)
        elif steps == "sync":
            await asyncio.to_thread(generate_video, credentials, clip(), store=place)
        else:
            await await_for_video(credentials, await asubmit_video(credentials, clip(), store=place), store=place)

    [stalled] = arrived(run(make), "video.stalled")["video.stalled"]
    payload = stalled["payload"]
    assert (payload["job_id"], payload["status"], payload["progress"]) == (server.jobs[0].id, "in_progress", 42)
    assert payload["seconds_without_change"] >= 0.2


def test_a_model_that_ends(prefect, server, tmp_path):
    async def watch():
        await model_watch(server.credentials, ["dall-e-3"])

    # the watch is a subflow, whose events are its own
    run(watch)
    asked = {"filter": {"event": {"name": [f"{PREFIX}model.ending"]}}}
    deadline = time.monotonic() + 60
    while True:  # other tests leave such events of other models
        events = Prefect(PREFECT_API_URL.value()).ask("POST", "/events/filter", **asked)["events"]
        if found := [event for event in events if "dall-e-3" in event["resource"]["prefect.resource.id"]]:
            break
        assert time.monotonic() < deadline
        time.sleep(0.5)
    payload = PAYLOADS["model.ending"].model_validate(found[0]["payload"])
    assert payload.what in ("gone", "unlisted") and "dall-e-3" in payload.sentence


@pytest.mark.parametrize("fault", ["raises", "hangs"])
def test_sending_that_fails_or_hangs_delays_nothing(prefect, server, tmp_path, monkeypatch, caplog, fault):
    hold = threading.Event()

    def broken(*args, **kwargs):
        if fault == "raises":
            raise OSError("no way out")
        hold.wait(30)

    monkeypatch.setattr(events, "emit_event", broken)
    monkeypatch.setattr(events, "_sender", events._Sender())
    monkeypatch.setattr(events, "MOST_WAITING", 2)

    async def make():
        began = time.monotonic()
        assert (await agenerate_video(server.credentials, clip(), store=str(tmp_path))).seconds == 4
        assert time.monotonic() - began < 20

    run(make)
    hold.set()
    if fault == "raises":
        assert "could not be sent: OSError: no way out" in caplog.text


def test_more_events_than_there_is_room_for_are_dropped_with_one_warning(
    prefect, server, tmp_path, monkeypatch, caplog
):
    hold = threading.Event()
    monkeypatch.setattr(events, "MOST_WAITING", 1)
    monkeypatch.setattr(events, "emit_event", lambda *args, **kwargs: hold.wait(30))
    monkeypatch.setattr(events, "_sender", events._Sender())

    async def make():
        await agenerate_video(server.credentials, clip(), store=str(tmp_path))

    run(make)
    hold.set()
    assert caplog.text.count("further ones are dropped") == 1


async def test_outside_of_runs_nothing_is_sent(server, tmp_path, monkeypatch):
    monkeypatch.setattr(events, "emit_event", lambda *args, **kwargs: pytest.fail("it was sent"))
    monkeypatch.setattr(events, "_sender", events._Sender())
    assert (await agenerate_video.fn(server.credentials, clip(), store=str(tmp_path), scope="a test")).seconds == 4


def test_the_documentation_names_every_event_and_every_field():
    text = (ROOT / "docs" / "events.md").read_text()
    for name, payload in PAYLOADS.items():
        assert f"`prefect-media.{name}`" in text
        for field in payload.model_fields:
            assert re.search(rf"`{field}`", text), f"{name}: {field}"
