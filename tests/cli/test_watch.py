"""`prefect-media watch` from outside: lines through a pipe, a picture on a terminal, a clean end."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import uuid

import pytest

from prefect_media.errors import JobFailed
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.videos import finish_video, order_video
from prefect_media.requests import VideoRequest
from prefect_media.storage.store import storage_at

BOAT = VideoRequest(prompt="A paper boat with [bold]brackets[/]", model="wan-2.2", seconds=5)
RUN_ID = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def ledger(tmp_path):
    return Ledger(storage_at(str(tmp_path / "store")))


@pytest.fixture
def watch(ledger, family):
    """Starts `prefect-media watch` on the store."""

    def start(*arguments, stdout=subprocess.PIPE, **env):
        command = [sys.executable, "-m", "prefect_media", "watch", *arguments, "--store", ledger.storage.url]
        return subprocess.Popen(
            [*command, "--every", "0.5"],
            env={**os.environ, **family.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


async def ordered(ledger, simulator, request=BOAT, run_id=None):
    terms = PurchaseOptions(scope="named:test", timeout=30, flow_run_id=run_id)
    return await order_video(simulator.credentials.connection(), request, ledger, terms)


def line_with(process, word):
    while word not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    return line


async def test_lines_through_a_pipe_until_ctrl_c(watch, ledger, media_simulator):
    """A line when a job is under way, one when it is done, and the sums at the end; no provider is asked."""
    media_simulator.latency = 3600
    claim, job = await ordered(ledger, media_simulator)
    asked = len(media_simulator.requests)
    process = watch()
    line = line_with(process, "submitted")
    for word in (claim.record.key[:12], "video", "wan-2.2", job.id, '"A paper boat with [bold]'):
        assert word in line
    await ledger.move(claim, state="done", cost_usd=0.25)
    assert "0.250 USD" in line_with(process, "done")
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=30)
    assert (process.returncode, complaints) == (0, "")
    assert said == "1 of 1 made, 0 under way, 0.25 USD\n"
    assert len(media_simulator.requests) == asked


async def test_json_lines_and_a_bounded_time(watch, ledger, media_simulator):
    claim, job = await ordered(ledger, media_simulator)
    process = watch("--json", "--timeout", "0")
    said, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (0, "")
    [record] = map(json.loads, said.splitlines())
    assert (record["key"], record["job"]["id"]) == (claim.record.key, job.id)


async def test_a_picture_on_a_terminal(watch, ledger, media_simulator):
    """Colours, a bar from what such jobs took before, and the cursor back at the end."""
    media_simulator.latency = 3600
    _, job = await ordered(ledger, media_simulator)
    took = {"model": job.model, "size": job.size, "seconds": job.seconds, "took": [30.0, 60.0, 90.0]}
    host = re.sub(r"[^0-9.]+", "-", media_simulator.url.removeprefix("http://").removesuffix("/v1"))
    await ledger.storage.create(f"experience/{host}.json", json.dumps({"jobs": [took]}).encode())
    ours, theirs = pty.openpty()
    process = watch(stdout=theirs, TERM="xterm-256color", COLUMNS="160", LINES="30")
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + 60
    while b"of about 1:00" not in shown and time.monotonic() < deadline:
        if select.select([ours], [], [], 1)[0]:
            shown += os.read(ours, 65536)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
    shown += os.read(ours, 65536)
    os.close(ours)
    text = shown.decode()
    assert "0 of 1 made, 1 under way" in text and "of about 1:00" in text
    assert "\x1b[36msubmitted" in text and "━" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
    assert process.stderr.read() == ""


@pytest.mark.parametrize(("end", "code"), [("COMPLETED", 0), ("FAILED", 1)])
async def test_a_flow_run_is_followed_to_its_end(watch, ledger, media_simulator, prefect_server, end, code):
    """Only its own purchases are shown, and how it ended is the exit code."""
    from prefect import flow
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import StateType
    from prefect.states import Running, State

    @flow
    def film():
        pass

    async with PrefectClient(prefect_server.api_url) as client:
        run = await client.create_flow_run(film, state=Running())
        await ordered(ledger, media_simulator, run_id=str(run.id))
        await ordered(ledger, media_simulator, BOAT.model_copy(update={"variant": 1}), run_id=RUN_ID)
        process = watch(str(run.id), **prefect_server.env)
        line_with(process, "submitted")
        await client.set_flow_run_state(run.id, State(type=StateType[end]), force=True)
        said, complaints = process.communicate(timeout=60)
    assert (process.returncode, complaints) == (code, "")
    assert said == "0 of 1 made, 1 under way\n"


async def test_what_is_no_flow_run_and_no_store_is_one_sentence(watch, ledger, media_simulator, tmp_path):
    for arguments, complaint in (
        (("nonsense",), "'nonsense' is not the id of a flow run"),
        ((str(uuid.uuid4()),), "there is no store at"),
    ):
        process = watch(*arguments)
        said, complaints = process.communicate(timeout=60)
        assert (process.returncode, said) == (1, "")
        assert complaints.startswith(complaint) and len(complaints.splitlines()) == 1


async def test_a_failed_purchase_says_why(watch, ledger, media_simulator):
    claim, job = await ordered(ledger, media_simulator, BOAT.model_copy(update={"prompt": "it will explode"}))
    connection = media_simulator.credentials.connection()
    with pytest.raises(JobFailed):
        await finish_video(connection, job, ledger, claim, PurchaseOptions(scope="named:test", timeout=30))
    process = watch("--timeout", "0")
    said, _ = process.communicate(timeout=60)
    assert "failed" in said and f"job {job.id} failed" in said
    assert said.endswith("0 of 1 made, 0 under way, 1 failed\n") or " USD" in said.splitlines()[-1]
