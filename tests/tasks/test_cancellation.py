"""Cancelling: by default a paid job goes on and is picked up again; it is ended only when that was asked for."""

import asyncio
import signal
import subprocess
import sys
import time
import uuid

import cancelled_flows
import httpx
import pytest
from cancelled_flows import NAME, film
from prefect import flow, get_client, runtime
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import CancelledRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Cancelling
from prefect_media.tasks import cancelled_runs
from prefect_media.tasks.cancellation import cancel_jobs_of, cancel_remote_jobs

from prefect_media import Budget, MediaStore, VideoRequest, agenerate_video, generate_video
from prefect_media.cli.demo_servers import stop_process
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


@pytest.mark.usefixtures("prefect")  # the hook logs for a flow run, and Prefect would start a server for that
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


# Prefect's own task runner: its threads are not interrupted when a flow run is cancelled.


@pytest.fixture
def watched_closely(monkeypatch):
    monkeypatch.setattr(cancelled_runs, "LOOK_SECONDS", 0.05)


@pytest.mark.usefixtures("prefect", "watched_closely")
@pytest.mark.parametrize("task", [generate_video, agenerate_video], ids=["sync", "async"])
def test_jobs_of_threads_end_with_their_flow_run(task, simulator, tmp_path):
    @flow
    def film():
        future = task.submit(simulator.credentials, REQUEST, store=str(tmp_path), cancel_remote=True)
        looked.wait(60)
        assert not simulator.jobs[0].deleted
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(runtime.flow_run.id, Cancelling(), force=True)
        future.wait(60)
        with pytest.raises(CancelledRun, match="the flow run was cancelled"):
            future.result()
        seen.append(True)

    seen, looked = [], Fault("GET", "/videos/video_", "hold", seconds=0)
    simulator.faults.append(looked)
    film(return_state=True)
    assert seen and simulator.jobs[0].deleted


@pytest.mark.usefixtures("watched_closely")
async def test_the_log_says_that_prefect_can_not_be_asked(simulator, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cancelled_runs, "PATIENCE", 0.05)
    options = PurchaseOptions(scope="x", timeout=60, flow_run_id=RUN, cancel_remote=True)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), cancelled_runs.ended_with_flow_run(options):
        async with asyncio.timeout(30):
            while "Prefect can't be asked whether the flow run was cancelled" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


def test_a_flow_run_that_is_cancelled_on_a_worker(prefect_server, simulator, family, tmp_path):
    """Jobs in threads of the default task runner end while they are waited for, what is left ends by the hook."""

    async def deploy():
        await simulator.credentials.asave(NAME, overwrite=True)
        await MediaStore(url=str(tmp_path / "store")).asave(NAME, overwrite=True)
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name=NAME, type="process"))
            deployment = await client.create_deployment(
                flow_id=await client.create_flow(film),
                name="it",
                entrypoint=f"{cancelled_flows.__file__}:film",
                path=str(tmp_path),
                work_pool_name=NAME,
            )
            return str((await client.create_flow_run_from_deployment(deployment)).id)

    def ask(method, path, **options):
        for _ in range(240):
            answer = httpx.request(method, f"{prefect_server.api_url}{path}", timeout=60, **options)
            if answer.status_code != 503:  # so the server says that its database is busy
                break
            time.sleep(0.25)
        return answer.raise_for_status().json()

    def until(condition):
        deadline = time.monotonic() + 180
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert condition()

    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        run = asyncio.run(deploy())
    env = {**prefect_server.env, **family.env, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", NAME, "--type", "process"]
    with (tmp_path / "worker.log").open("w") as log:
        worker = subprocess.Popen(command, env=env, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: len(simulator.jobs) == 3)
        ask("POST", f"/flow_runs/{run}/set_state", json={"state": {"type": "CANCELLING"}})
        until(lambda: ask("GET", f"/flow_runs/{run}")["state"]["type"] == "CANCELLED")
    finally:
        stop_process(worker)
    assert [job.deleted for job in simulator.jobs] == [True] * 3
    logs = ask("POST", "/logs/filter", json={"logs": {"flow_run_id": {"any_": [run]}}})
    ended = {log["message"]: log["task_run_id"] is not None for log in logs if log["message"].startswith("Ended job")}
    third = next(job.id for job in simulator.jobs if job.prompt == cancelled_flows.THIRD.prompt)
    assert ended.pop(f"Ended job {third}") is False, "it stands in the log of the flow run itself"
    assert len(ended) == 2 and all(ended.values())
