"""`prefect-media receive` in a process of its own: signed calls wake a flow run that sleeps, others change nothing."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
from deployed import Deployed
from prefect import flow
from prefect_media.blocks import MediaStore
from prefect_media.tasks.waiting import auntil_finished
from webhooks import event, signed, signed_by_openrouter

from prefect_media import ImageRequest, VideoRequest, asubmit_image_batch, asubmit_video
from prefect_media.simulator import Simulator
from prefect_media.waiting import records

NAME = "called"
ROUTED = "called-by-openrouter"
SECRET, ROUTING, OWN = "a secret that OpenAI made", "a secret of the workspace", "a secret of my own servers"


@contextmanager
def receiver(store, env, **secrets):
    command = [sys.executable, "-m", "prefect_media", "receive", "--port", "0", "--store", str(store)]
    ours = {"OPENAI_WEBHOOK_SECRET": SECRET, "OPENROUTER_WEBHOOK_SECRET": ROUTING, "PREFECT_MEDIA_WEBHOOK_SECRET": OWN}
    environment = {**os.environ, **env, **ours, **secrets}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        address = re.fullmatch(r"Listening on (http://127\.0\.0\.1:\d+), until Ctrl-C\n", process.stderr.readline())
        assert address, process.stderr.read()
        with httpx.Client(base_url=address[1]) as client:
            yield client
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
        assert process.returncode == 0, said
        assert said.endswith("Stopped\n")
        assert not [secret for secret in (SECRET, ROUTING, OWN) if secret in said]
    finally:
        process.kill()


@flow(persist_result=False)
async def asleep(store: str):
    batch = await asubmit_image_batch(NAME, [ImageRequest(prompt="a", model="gpt-image-1")], store=store)
    job = await asubmit_video(NAME, VideoRequest(prompt="b", model="boats-1", seconds=1, size="64x64"), store=store)
    await auntil_finished([batch, job], suspend_after=0.2, store=store)


async def woken(run, seconds=30.0):
    """Seconds until the flow run was resumed."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        if (await run.state()).name == "Resuming":
            return time.monotonic() - began
        await asyncio.sleep(0.1)
    return None


async def test_signed_calls_wake_a_flow_run_and_others_change_nothing(prefect, media_simulator, tmp_path, monkeypatch):
    monkeypatch.setattr("prefect_media.tasks.waiting.AWAKE", 1.0)
    media_simulator.latency = 60
    await media_simulator.credentials.asave(NAME, overwrite=True)
    run = Deployed(asleep, MediaStore(url=str(tmp_path)), store=str(tmp_path))
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    [job], [batch] = media_simulator.jobs, media_simulator.batches
    for _ in range(2):
        await run.round()  # the two requests of this minute are used up
    from prefect.settings import PREFECT_API_URL

    with receiver(tmp_path, {"PREFECT_API_URL": PREFECT_API_URL.value()}) as client:
        done = event("batch.completed", batch.id)
        lost = event("batch.completed", "batch_of_another_store")
        early = client.post("/openai", content=done, headers=signed(done, SECRET))
        assert early.status_code == 202  # verified, but the batch is not finished
        assert client.post("/openai", content=lost, headers=signed(lost, SECRET)).status_code == 202
        assert client.post("/openai", content=done, headers=signed(done, OWN)).status_code == 401
        assert client.post("/openai", content=done, headers=signed(done, SECRET, age=600)).status_code == 401
        twice = signed(lost, SECRET)
        codes = [client.post("/openai", content=lost, headers=twice).status_code for _ in range(2)]
        assert codes == [202, 401]
        large = b" " * 10_000_000
        assert client.post("/openai", content=large, headers=signed(large, SECRET)).status_code == 413
        mine = json.dumps({"id": job.id}).encode()
        assert client.post("/done/another", content=mine, headers=signed(mine, OWN)).status_code == 401
        assert await woken(run, 3.0) is None
        assert len(await run.records()) == 1

        batch.latency = job.latency = 0
        assert client.post("/openai", content=done, headers=signed(done, SECRET)).status_code == 202
        assert await woken(run, 3.0) is None  # the video is not known to be finished
        assert client.post(f"/done/{job.id}", content=mine, headers=signed(mine, OWN)).status_code == 202
        assert await woken(run) is not None
        codes = {client.post("/openai", content=b"").status_code for _ in range(60)}
        assert codes == {401, 429}
    assert await run.records() == []
    assert (len(media_simulator.jobs), len(media_simulator.batches)) == (1, 1)


@flow(persist_result=False)
async def asleep_at_two(store: str):
    batch = await asubmit_image_batch(NAME, [ImageRequest(prompt="a", model="gpt-image-1")], store=store)
    job = await asubmit_video(ROUTED, VideoRequest(prompt="b", model="boats-1", seconds=1, size="64x64"), store=store)
    await auntil_finished([batch, job], suspend_after=0, store=store)


async def test_what_providers_say_by_themselves_wakes_a_flow_run(prefect, tmp_path, monkeypatch, configure):
    """OpenAI's `batch.completed` and OpenRouter's callback, signed and posted by the simulators; no waker is there."""
    from prefect.settings import PREFECT_API_URL

    monkeypatch.setattr("prefect_media.tasks.waiting.AWAKE", 1.0)
    run = Deployed(asleep_at_two, MediaStore(url=str(tmp_path)), store=str(tmp_path))
    await records.beat(run.storage, 60)
    with (
        receiver(tmp_path, {"PREFECT_API_URL": PREFECT_API_URL.value()}) as client,
        Simulator(latency=3600, webhook_url=str(client.base_url.join("/openai")), webhook_secret=SECRET) as openai,
        Simulator(latency=3600, profile="openrouter", webhook_secret=ROUTING) as openrouter,
    ):
        configure(callback_url=client.base_url.join("/openrouter"))
        await openai.credentials.asave(NAME, overwrite=True)
        await openrouter.credentials.asave(ROUTED, overwrite=True)
        assert (await run.execute()).name == "Suspended"
        openrouter.jobs[0].latency = 0
        for _ in range(600):  # the receiver looks at the video
            if any("/videos/" in request.path and request.status == 200 for request in openrouter.requests[2:]):
                break
            await asyncio.sleep(0.1)
        assert (await run.state()).name == "Suspended", "the batch goes on"
        forged = event("batch.completed", openai.batches[0].id)
        assert client.post("/openrouter", content=forged, headers=signed(forged, ROUTING)).status_code == 401
        old = signed_by_openrouter(forged, ROUTING, age=600)
        assert client.post("/openrouter", content=forged, headers=old).status_code == 401
        openai.batches[0].latency = 0
        assert await woken(run) is not None
        assert (await run.execute()).is_completed()
    assert await run.records() == []
    assert (len(openai.batches), len(openrouter.jobs)) == (1, 1)


@pytest.mark.parametrize(
    ("secrets", "words"),
    [
        ({"OPENAI_WEBHOOK_SECRET": "", "PREFECT_MEDIA_WEBHOOK_SECRET": ""}, "has 0 characters"),
        ({"OPENAI_WEBHOOK_SECRET": "short"}, "has 5 characters; use a random one of at least 16"),
    ],
)
def test_without_a_secret_it_does_not_listen(tmp_path, secrets, words):
    command = [sys.executable, "-m", "prefect_media", "receive", "--port", "0", "--store", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, **secrets}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert words in done.stderr
    assert "short;" not in done.stderr


def test_no_secret_at_all(tmp_path):
    env = {name: value for name, value in os.environ.items() if not name.endswith("WEBHOOK_SECRET")}
    command = [sys.executable, "-m", "prefect_media", "receive", "--port", "0", "--store", str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "set OPENAI_WEBHOOK_SECRET" in done.stderr
