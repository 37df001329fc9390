"""Each example automation is saved at a real Prefect server, and does what it says when its event comes."""

import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import PREFECT_API_URL, temporary_settings

EXAMPLES = Path(__file__).parents[2] / "examples" / "automations"


class World:
    """A server with a deployment and a run of it."""

    def __init__(self, server, notes):
        self.server, self.notes = server, notes
        self.client = httpx.Client(base_url=server.api_url, timeout=30)
        flow = self.post("/flows/", name=f"flow-{uuid4().hex[:8]}")
        schedules = [{"schedule": {"interval": 86400}, "active": True}]
        self.deployment = self.post("/deployments/", name="it", flow_id=flow["id"], schedules=schedules)
        made = self.post(f"/deployments/{self.deployment['id']}/create_flow_run", state={"type": "PENDING"})
        self.run_id = made["id"]
        self.become("RUNNING", "Running")

    def ask(self, method, path, **body):
        for _ in range(20):
            answer = self.client.request(method, path, json=body)
            if answer.status_code != 503:  # so the server says that its database is busy
                break
            time.sleep(0.5)
        return answer.raise_for_status()

    def post(self, path, **body):
        return self.ask("POST", path, **body).json()

    def become(self, kind, name):
        self.post(f"/flow_runs/{self.run_id}/set_state", state={"type": kind, "name": name}, force=True)

    def save(self, name, block=""):
        """Save an example as it is, by the API that `prefect automation create` sends it to."""
        rows = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text().replace("BLOCK_ID", block))
        self.post("/automations/", **rows)
        time.sleep(1)  # the triggers are loaded by another service of the server

    def remove_automations(self):
        """They would act on the runs of other tests of this server."""
        for automation in self.post("/automations/filter"):
            self.ask("DELETE", f"/automations/{automation['id']}")

    def emit(self, event, payload, **labels):
        related = [
            {"prefect.resource.id": f"prefect.flow-run.{self.run_id}", "prefect.resource.role": "flow-run"},
            {
                "prefect.resource.id": f"prefect.deployment.{self.deployment['id']}",
                "prefect.resource.role": "deployment",
            },
        ]
        row = {
            "occurred": datetime.now(UTC).isoformat(),
            "event": f"prefect-media.{event}",
            "resource": {"prefect.resource.id": f"prefect-media.it.{uuid4()}", **labels},
            "related": related,
            "payload": payload,
            "id": str(uuid4()),
        }
        self.client.post("/events", json=[row]).raise_for_status()

    def state(self):
        return self.client.get(f"/flow_runs/{self.run_id}").json()["state"]

    def paused(self):
        return self.client.get(f"/deployments/{self.deployment['id']}").json()["paused"]


def until(true, within=60.0):
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "the automation did not act"
        time.sleep(0.5)


@pytest.fixture
def world(prefect_server):
    notes = []

    class Notes(BaseHTTPRequestHandler):
        def do_POST(self):
            notes.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Notes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        world = World(prefect_server, notes)
        world.url = f"http://127.0.0.1:{server.server_port}/"
        yield world
        world.remove_automations()
        server.shutdown()


async def notification_block(world):
    block = CustomWebhookNotificationBlock(name="it", url=world.url, method="POST", json_data={"text": "{{body}}"})
    with temporary_settings({PREFECT_API_URL: world.server.api_url}):
        return str(await block.save("it", overwrite=True))


def test_a_stalled_job_cancels_its_run(world):
    world.save("stalled")
    world.emit("video.completed", {})
    world.emit("video.stalled", {})
    until(lambda: world.state()["type"] in ("CANCELLING", "CANCELLED"))


def test_a_budget_at_80_per_cent_pauses_the_schedules(world):
    world.save("budget")
    world.emit("budget.reserved", {}, **{"prefect-media.budget.level": "50"})
    time.sleep(3)
    assert not world.paused()
    world.emit("budget.reserved", {}, **{"prefect-media.budget.level": "80"})
    until(world.paused)


def test_a_crashed_run_is_scheduled_again(world):
    """This one is saved as docs/events.md says, by the command."""
    world.server.run("automation", "create", "--from-file", str(EXAMPLES / "crashed.yaml"))
    time.sleep(1)
    world.become("CRASHED", "Crashed")
    until(lambda: world.state()["name"] == "AwaitingRetry")


@pytest.mark.parametrize(
    ("name", "event", "payload", "text"),
    [
        ("rejected", "video.rejected", {"model": "m", "message": "refused", "purchase": "abc"}, "refused"),
        (
            "doubt",
            "doubt.raised",
            {"model": "m", "host": "h", "message": "lost", "command": "prefect-media jobs adopt abc video_1"},
            "To clear it: prefect-media jobs adopt abc video_1",
        ),
        (
            "review",
            "review.requested",
            {"question": "Which?", "count": 4, "deadline": "2026-12-06T00:00:00+00:00"},
            "Which? Answer until 2026-12-06T00:00:00+00:00: http",
        ),
    ],
)
async def test_somebody_is_told(world, name, event, payload, text):
    world.save(name, await notification_block(world))
    world.emit(event, payload)
    until(lambda: any(text in note["text"] for note in world.notes))
