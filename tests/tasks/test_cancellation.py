"""Cancelling: by default a paid job goes on and is picked up again; it is ended only when that was asked for."""

import asyncio
import signal
import subprocess
import sys
import uuid

import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled
from prefect_media.tasks.cancellation import cancel_jobs_of, cancel_remote_jobs

from prefect_media import Budget, VideoRequest
from prefect_media.errors import JobFailed
from prefect_media.ledger import accounts
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator

REQUEST = VideoRequest(prompt="waves", model="sora-2", seconds=4, size="1280x720")
RUN = str(uuid.uuid4())


@pytest.fixture
def simulator():
    with Simulator(latency=60, can_cancel=True) as running:
        yield running


async def cancelled_while_watching(simulator, storage, **terms):
    """Buys a video and is cancelled once the job has been looked at."""
    looked = asyncio.Event()

    def show(step):
        if step.status:
            looked.set()

    terms = PurchaseOptions(scope="x", timeout=60, flow_run_id=RUN, on_step=show, **terms)
    buying = asyncio.create_task(buy_video(simulator.credentials.connection(), REQUEST, storage, terms))
    await looked.wait()
    buying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await buying


async def only(ledger):
    [record] = [record async for record in ledger.purchases()]
    return record


async def test_a_cancelled_wait_leaves_the_job_running_and_it_is_resumed(simulator, store):
    await cancelled_while_watching(simulator, store.storage())
    assert (await only(Ledger(store.storage()))).state == "submitted"
    [job] = simulator.jobs
    assert not job.deleted
    job.latency = 0
    asset = await buy_video(
        simulator.credentials.connection(), REQUEST, store.storage(), PurchaseOptions(scope="x", timeout=60)
    )
    assert asset.source.job_id == job.id
    assert len(simulator.jobs) == 1


async def test_cancel_remote_ends_the_job_and_it_is_not_bought_again_by_accident(simulator, store):
    await cancelled_while_watching(simulator, store.storage(), cancel_remote=True)
    [job] = simulator.jobs
    assert job.deleted
    connection = simulator.credentials.connection()
    with pytest.raises(JobFailed, match="was cancelled") as caught:
        await buy_video(connection, REQUEST, store.storage(), PurchaseOptions(scope="x", timeout=60))
    assert caught.value.code == "cancelled"
    assert len(simulator.jobs) == 1
    simulator.latency = 0
    again = PurchaseOptions(scope="x", timeout=60, retry_failed=True)
    assert (await buy_video(connection, REQUEST, store.storage(), again)).source.job_id != job.id


async def test_a_job_that_failed_before_it_was_cancelled_costs_what_the_server_says(store):
    budget = Budget(usd=1.0, unpriced_usd=0.4)
    with Simulator(profile="openrouter", latency=60) as simulator:
        await cancelled_while_watching(simulator, store.storage(), budget=budget)
        body = {"id": simulator.jobs[0].id, "status": "failed", "error": "gone wrong", "usage": {"cost": 0}}
        simulator.faults.append(Fault("GET", r"/videos/[^/]+$", "answer", status=200, body=body))
        assert await cancel_jobs_of(RUN, simulator.credentials, store) == [simulator.jobs[0].id]
        assert not simulator.jobs[0].deleted
    record = await only(Ledger(store.storage()))
    assert (record.state, record.failure.details["billed"]) == ("failed", False)
    account = accounts.read(await store.storage().read(budget.path(RUN)))
    assert (account.spent_usd, account.reserved) == (0.0, {})


async def test_a_job_that_can_not_be_ended_stays_on_record(store):
    with Simulator(latency=60) as simulator:
        await cancelled_while_watching(simulator, store.storage())
        assert await cancel_jobs_of(RUN, simulator.credentials, store) == []
        assert not simulator.jobs[0].deleted
    assert (await only(Ledger(store.storage()))).state == "submitted"


async def test_the_hook_finds_the_jobs_of_its_run_on_the_ledger(simulator, store):
    await cancelled_while_watching(simulator, store.storage())

    @flow
    def campaign(): ...

    hook = cancel_remote_jobs(simulator.credentials, store)
    other = FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4())
    await asyncio.to_thread(hook, campaign, other, Cancelled())
    assert not simulator.jobs[0].deleted, "another run's jobs are not touched"
    await asyncio.to_thread(hook, campaign, FlowRun(id=RUN, flow_id=uuid.uuid4()), Cancelled())
    assert simulator.jobs[0].deleted
    record = await only(Ledger(store.storage()))
    assert (record.state, record.failure.details["code"]) == ("failed", "cancelled")


async def test_the_hook_leaves_jobs_of_another_account_alone(simulator, store):
    await cancelled_while_watching(simulator, store.storage())
    stranger = simulator.credentials.model_copy(update={"organization": "another"})
    assert await cancel_jobs_of(RUN, stranger, store) == []
    assert not simulator.jobs[0].deleted


SYNC_BUYER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with SIGINT ignored
from prefect_media import OpenAICredentials, VideoRequest, generate_video
request = VideoRequest(prompt="waves", model="sora-2", seconds=4, size="1280x720")
generate_video.fn(OpenAICredentials(base_url=sys.argv[1]), request, store=sys.argv[2], scope="x", cancel_remote=True)
"""


def test_a_sync_task_that_is_interrupted_ends_its_job(simulator, tmp_path):
    looked = Fault("GET", "/videos/video_", "hold", seconds=0)
    simulator.faults.append(looked)
    buyer = subprocess.Popen(
        [sys.executable, "-c", SYNC_BUYER, simulator.url, str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    assert looked.wait(60)
    buyer.send_signal(signal.SIGINT)
    _, complaint = buyer.communicate(timeout=30)
    assert "KeyboardInterrupt" in complaint
    assert simulator.jobs[0].deleted
