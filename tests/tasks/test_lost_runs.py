"""Flow runs whose worker is lost: Prefect's server and the commands here free them, and leave hopeless ones alone."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect_media.tasks import recovery
from prefect_media.tasks.recovery import (
    aremove_recovery,
    asave_recovery,
    connection_recovery,
    crash_recovery,
    heartbeat_watch,
)
from prefect_media.tasks.stuck_runs import arecover_stuck

from prefect_media.cli.recovery import recover
from prefect_media.errors import InvalidRequest
from prefect_media.runtime import clock


class Api:
    """Prefect's server, asked over HTTP alone: a deployment that no worker serves, and runs of it."""

    def __init__(self, url):
        self.http = httpx.Client(base_url=url, timeout=60)
        self.flow = f"lost-{uuid4().hex[:8]}"
        self.flow_id = self.post("/flows/", {"name": self.flow})["id"]
        self.deployment = self.deploy("it")

    def deploy(self, name):
        return self.post("/deployments/", {"name": name, "flow_id": self.flow_id, "entrypoint": "it.py:it"})["id"]

    def post(self, path, body):
        for _ in range(20):
            answer = self.http.post(path, json=body)
            if answer.status_code != 503:  # so the server says that its database is busy
                break
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def start(self, *states, deployment=None):
        """A run of the deployment that goes through these states; returns its id."""
        run = self.post(
            f"/deployments/{deployment or self.deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}}
        )["id"]
        for state in states:
            self.set(run, state)
        return run

    def set(self, run, state, message=""):
        type_, _, name = state.partition("/")
        body = {"state": {"type": type_, "name": name or None, "message": message}, "force": True}
        self.post(f"/flow_runs/{run}/set_state", body)

    def beat(self, run, *seconds_ago):
        now = datetime.now(UTC)
        self.post(
            "/events",
            [
                {
                    "occurred": (now - timedelta(seconds=ago)).isoformat(),
                    "event": "prefect.flow-run.heartbeat",
                    "resource": {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.name": "it"},
                    "related": [
                        {
                            "prefect.resource.id": f"prefect.flow.{uuid4()}",
                            "prefect.resource.role": "flow",
                            "prefect.resource.name": self.flow,
                        },
                        {
                            "prefect.resource.id": f"prefect.deployment.{self.deployment}",
                            "prefect.resource.role": "deployment",
                        },
                    ],
                    "id": str(uuid4()),
                }
                for ago in seconds_ago
            ],
        )

    def wait_for_beats(self, count, seconds=60):
        """Return when so many heartbeats of the deployment are in the server's database, which takes it seconds."""
        now, deadline = datetime.now(UTC), time.monotonic() + seconds
        times = {"since": (now - timedelta(hours=1)).isoformat(), "until": (now + timedelta(hours=1)).isoformat()}
        related = {"id": [f"prefect.deployment.{self.deployment}"]}
        beats = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "related": related, "occurred": times}
        while self.post("/events/filter", {"filter": beats})["total"] < count:
            assert time.monotonic() < deadline
            time.sleep(0.25)

    def state(self, run):
        state = self.http.get(f"/flow_runs/{run}").json()["state"]
        return state["type"], state["name"]

    def wait_for(self, run, state, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.state(run) != state:
            time.sleep(0.25)
        return self.state(run)


@pytest.fixture
def api(prefect_server):
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        yield Api(prefect_server.api_url)


@pytest.fixture
def later(monkeypatch):
    """The clock of the command alone, `ahead` of the others: nobody waits for a run to be stuck."""

    class Later(clock.System):
        ahead = timedelta(minutes=20)

        def now(self):
            return super().now() + self.ahead

    later = Later()
    monkeypatch.setattr(clock, "source", later)
    return later


async def test_runs_that_never_started_are_scheduled_again(api, later):
    pending, submitting = api.start("PENDING"), api.start("PENDING/Submitting")
    waiting, done = api.start(), api.start("PENDING", "RUNNING", "COMPLETED")
    freed = await arecover_stuck(timedelta(minutes=10), flow_name=api.flow)
    assert {str(run.id): (run.state, run.crashed) for run in freed} == {
        pending: ("Pending", False),
        submitting: ("Submitting", False),
    }
    assert api.state(pending) == api.state(submitting) == ("SCHEDULED", "AwaitingRetry")
    assert api.state(waiting)[0] == "SCHEDULED" and api.state(done)[0] == "COMPLETED"


async def test_a_run_that_is_about_to_start_is_left_alone(api):
    pending = api.start("PENDING")
    assert await arecover_stuck(timedelta(minutes=10), flow_name=api.flow) == []
    assert api.state(pending) == ("PENDING", "Pending")


async def test_a_running_run_is_freed_only_when_its_heartbeats_stopped(api, later):
    lost, living, slow = (api.start("PENDING", "RUNNING") for _ in range(3))
    lost_at_once = api.start("PENDING", "RUNNING")
    of_a_mute_worker = api.start("PENDING", "RUNNING", deployment=api.deploy("mute"))
    api.beat(living, -20 * 60, -20 * 60 + 30)
    api.beat(slow, 0, -15 * 60)  # a beat every 15 minutes: five minutes of silence say nothing
    api.beat(lost, 0, -30)  # seen from 20 minutes later: the last one is 20 minutes old
    api.wait_for_beats(6)
    freed = {str(run.id) for run in await arecover_stuck(timedelta(minutes=4), flow_name=api.flow)}
    assert freed == {lost, lost_at_once}
    assert api.state(lost) == api.state(lost_at_once) == ("SCHEDULED", "AwaitingRetry")
    assert {api.state(run)[0] for run in (living, slow, of_a_mute_worker)} == {"RUNNING"}


async def test_a_run_without_a_heartbeat_is_freed_by_the_interval_that_is_set(api, later):
    """Nobody else of its deployment has had two heartbeats by which their interval could be told."""
    lost, other = (api.start("PENDING", "RUNNING") for _ in range(2))
    api.beat(other, -30)
    api.wait_for_beats(1)
    later.ahead = timedelta(minutes=3)
    assert await arecover_stuck(timedelta(seconds=90), flow_name=api.flow) == [], "three times 180 s are not over"
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30}):
        freed = await arecover_stuck(timedelta(seconds=90), flow_name=api.flow)
    assert lost in {str(run.id) for run in freed}


async def test_a_run_that_started_five_times_is_marked_as_crashed(api, later):
    run = api.start(*["PENDING", "RUNNING"] * 5, "PENDING")
    [freed] = await arecover_stuck(timedelta(minutes=10), flow_name=api.flow)
    assert freed.crashed
    assert api.state(run) == ("CRASHED", "Crashed")


async def test_the_command_prints_each_run_as_json(api, later, capsys):
    stuck, hopeless = api.start("PENDING"), api.start(*["PENDING", "RUNNING"] * 5, "PENDING")
    await asyncio.to_thread(recover, "10m", flow=api.flow, max_starts=5, every=None, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {(row["id"], row["state"], row["crashed"]) for row in rows} == {
        (stuck, "Pending", False),
        (hopeless, "Pending", True),
    }
    for row in rows:
        assert row["name"] and row["seconds"] >= 600 and set(row) == {"id", "name", "state", "seconds", "crashed"}


async def test_a_crash_that_the_automation_missed_is_run_again(api, later):
    """Prefect's server tries an action once; here the automation is saved too late to see the crash at all."""
    missed, hopeless = api.start("PENDING", "RUNNING", "CRASHED"), api.start(*["PENDING", "RUNNING"] * 5, "CRASHED")
    assert await arecover_stuck(timedelta(minutes=10), flow_name=api.flow) == [], "nobody asked for crashed runs"
    automation = await crash_recovery(api.flow).acreate()
    try:
        later.ahead = timedelta()
        assert await arecover_stuck(timedelta(minutes=10), flow_name=api.flow) == [], "it may still come"
        later.ahead = timedelta(seconds=30)
        freed = await arecover_stuck(timedelta(minutes=10), flow_name=api.flow)
        assert [(str(run.id), run.state, run.crashed) for run in freed] == [(missed, "Crashed", False)]
        assert api.state(missed) == ("SCHEDULED", "AwaitingRetry")
        assert api.state(hopeless) == ("CRASHED", "Crashed")
    finally:
        await automation.adelete()


async def test_times_that_would_free_living_runs_are_refused():
    with pytest.raises(InvalidRequest, match=r"59 s is too short.*allowed: 60 s or more"):
        await arecover_stuck(timedelta(seconds=59))
    with pytest.raises(InvalidRequest, match="window of 30 s without a heartbeat is too short"):
        heartbeat_watch(window=timedelta(seconds=30))
    with pytest.raises(InvalidRequest, match="max_starts=0 is not possible"):
        await asave_recovery(max_starts=0)


async def test_saving_the_automations_again_changes_nothing_and_removing_takes_them_back(api):
    crash = crash_recovery(api.flow, name=recovery.RECOVERY)  # as the version before named it
    await crash.acreate()

    def names():
        rows = api.post("/automations/filter", {})
        return sorted(row["name"] for row in rows if api.flow in row["name"] or row["name"] == recovery.RECOVERY)

    three = sorted(f"{title} ({api.flow})" for title in (recovery.RECOVERY, recovery.HEARTBEAT, recovery.GIVE_UP))
    for _ in range(2):
        assert sorted(await asave_recovery(api.flow)) == three
        assert names() == three
    await asave_recovery(api.flow, also=["connection-errors"])
    assert len(names()) == 4
    await asave_recovery(api.flow)  # without it again
    assert names() == three
    assert sorted(await aremove_recovery(api.flow)) == three
    assert names() == []


async def test_a_run_without_a_heartbeat_crashes_and_is_run_again_until_it_started_five_times(api):
    watch = heartbeat_watch(api.flow)
    watch.trigger.within = timedelta(seconds=10)  # the least that Prefect's server allows
    automations = [await watch.acreate(), await crash_recovery(api.flow).acreate()]
    try:
        run, completed = api.start("PENDING", "RUNNING"), api.start("PENDING", "RUNNING", "COMPLETED")
        api.beat(completed, 0)  # one that arrives late
        api.beat(run, 0)
        assert api.wait_for(run, ("SCHEDULED", "AwaitingRetry")) == ("SCHEDULED", "AwaitingRetry")
        for _ in range(4):
            assert api.wait_for(run, ("SCHEDULED", "AwaitingRetry")) == ("SCHEDULED", "AwaitingRetry")
            for state in ("PENDING", "RUNNING", "CRASHED"):
                api.set(run, state)
        assert api.wait_for(run, ("SCHEDULED", "AwaitingRetry"), seconds=10) == ("CRASHED", "Crashed")
        assert api.state(completed)[0] == "COMPLETED"
    finally:
        for automation in automations:
            await automation.adelete()


async def test_only_errors_of_prefects_own_connection_run_a_failed_run_again(api):
    automation = await connection_recovery(api.flow).acreate()
    try:
        lost, own = api.start("PENDING", "RUNNING"), api.start("PENDING", "RUNNING")
        api.set(own, "FAILED", "Flow run encountered an exception: InvalidRequest: size is not possible")
        api.set(lost, "FAILED", "Flow run encountered an exception: ConnectError: All connection attempts failed")
        assert api.wait_for(lost, ("SCHEDULED", "AwaitingRetry")) == ("SCHEDULED", "AwaitingRetry")
        assert api.state(own) == ("FAILED", "Failed")
    finally:
        await automation.adelete()


def run_command(prefect_server, *words):
    command = [sys.executable, "-m", "prefect_media", *words]
    return subprocess.run(command, env=prefect_server.env, capture_output=True, text=True, timeout=120)


def test_the_commands_save_free_and_remove(prefect_server, api):
    saved = run_command(prefect_server, "recover-crashed", "--flow", api.flow, "--also", "connection-errors")
    assert saved.stdout.count("Saved the automation") == 4, saved.stderr
    assert "PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30" in saved.stdout
    removed = run_command(prefect_server, "recover-crashed", "--flow", api.flow, "--remove")
    assert removed.stdout.count("Deleted the automation") == 4, removed.stderr
    assert run_command(prefect_server, "recover", "--flow", api.flow).stdout == ""
    wrong = run_command(prefect_server, "recover", "--stuck", "soon")
    assert wrong.returncode == 1
    assert "--stuck soon is not a time; allowed: a number and s, m or h" in wrong.stderr


def test_recover_goes_on_while_prefects_server_is_away():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "prefect_media", "recover", "--every", "1"]
    env = {**os.environ, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        complaints = [process.stderr.readline() for _ in range(2)]
        process.terminate()
        assert process.wait(30) == 0
    assert all("This round failed" in each and "could not be reached" in each for each in complaints), complaints
