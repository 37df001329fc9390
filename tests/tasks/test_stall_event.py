"""A job that stands still is an event at Prefect's server, for automations to act on; the video is stored."""

import time

import httpx
import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL
from prefect_media.tasks import reporting

from prefect_media import VideoRequest, agenerate_video, asubmit_video, await_for_video, generate_video
from prefect_media.settings import settings
from prefect_media.simulator import Fault

REQUEST = VideoRequest(prompt="a paper boat", model="sora-2", seconds=4, size="1280x720")
ONE = r"/videos/[^/?]+$"


@pytest.fixture
def stalling(media_simulator, monkeypatch):
    """A provider whose jobs stand at 42 % for longer than is usual here."""
    monkeypatch.setattr(settings(), "stall_seconds", 0.2)
    media_simulator.latency = 1.0

    def stand_still():
        body = {"id": media_simulator.jobs[-1].id, "status": "in_progress", "progress": 42}
        media_simulator.faults.append(Fault("GET", ONE, "answer", times=6, status=200, body=body))

    media_simulator.faults.append(Fault("POST", "/videos$", "hold_reply", seconds=0, after_accept=stand_still))
    return media_simulator


def arrived(job_id, within=40.0):
    """The events of a job as Prefect's server tells them; they are written there every few seconds."""
    name = f"prefect-media.video-job.{job_id}"
    asked = {"filter": {"event": {"name": [reporting.STALLED]}, "resource": {"id": [name]}}}
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        answer = httpx.post(f"{PREFECT_API_URL.value()}/events/filter", json=asked, timeout=10).raise_for_status()
        if events := answer.json()["events"]:
            return events
        time.sleep(0.3)
    raise AssertionError(f"no event of {job_id} arrived")


@pytest.mark.parametrize("twin", ["sync", "async"])
async def test_a_stall_is_an_event_at_prefects_server(prefect, stalling, tmp_path, twin):
    place = str(tmp_path)

    @flow(name="stalls")
    async def stalls_async():
        return await agenerate_video(stalling.credentials, REQUEST, store=place)

    @flow(name="stalls")
    def stalls():
        return generate_video(stalling.credentials, REQUEST, store=place)

    asset = await stalls_async() if twin == "async" else stalls()
    assert asset.seconds == 4
    [event] = arrived(stalling.jobs[0].id)
    told = event["payload"]
    assert (told["job_id"], told["model"], told["status"], told["progress"]) == (
        *(asset.source.job_id, "sora-2", "in_progress", 42),
    )
    assert told["purchase"] == asset.source.purchase
    assert told["seconds_without_change"] >= 0
    assert {row["prefect.resource.role"] for row in event["related"]} >= {"flow-run", "task-run", "flow"}
    assert "sk-simulated" not in str(event)


async def test_waiting_in_a_step_of_its_own_tells_it_too(prefect, stalling, tmp_path):
    @flow
    async def waits():
        job = await asubmit_video(stalling.credentials, REQUEST, store=str(tmp_path))
        return await await_for_video(stalling.credentials, job, store=str(tmp_path))

    assert len(arrived((await waits()).id)) == 1


async def test_an_event_that_can_not_be_sent_fails_nothing(prefect, stalling, tmp_path, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise OSError("no way out")

    monkeypatch.setattr(reporting, "emit_event", broken)

    @flow
    async def stalls():
        return await agenerate_video(stalling.credentials, REQUEST, store=str(tmp_path))

    assert (await stalls()).seconds == 4
    assert "could not be told: OSError: no way out" in caplog.text


async def test_outside_of_runs_nothing_is_sent(stalling, tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "emit_event", lambda *args, **kwargs: pytest.fail("it was sent"))
    assert (await agenerate_video.fn(stalling.credentials, REQUEST, store=str(tmp_path), scope="a test")).seconds == 4
