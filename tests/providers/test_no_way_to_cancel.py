"""Servers that can't end a job: it is said, nothing is sent that could lose the film, and the job is fetched later."""

import asyncio
import logging
import uuid

import pytest
from buyer import terms
from prefect_media.blocks import VideoJobBlock
from prefect_media.tasks.cancellation import cancel_jobs_of

from prefect_media import MediaStore, VideoRequest
from prefect_media.errors import InvalidRequest, JobExpired, NotFound
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers import videos
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator

REQUEST = VideoRequest(prompt="waves", model="wan", seconds=2, size="128x72")
RUN = str(uuid.uuid4())

NO_ROUTE = {
    "404 of FastAPI": Fault("*", "", "answer", status=404, body={"detail": "Not Found"}),
    "404 of OpenAI": Fault(
        "*", "", "answer", status=404, body={"error": {"message": "Invalid URL (DELETE /v1/videos)"}}
    ),
    "404 of nginx": Fault("*", "", "answer", status=404, body="<html><title>404 Not Found</title></html>"),
    "405": Fault("*", "", "answer", status=405, body={"detail": "Method Not Allowed"}),
    "501": Fault("*", "", "answer", status=501, body={"detail": "not implemented"}),
}


@pytest.fixture
def store(tmp_path):
    return MediaStore(url=str(tmp_path))


@pytest.fixture
def sglang():
    with Simulator(profile="sglang", latency=60) as simulator:
        yield simulator


def run_of(simulator, store):
    return VideoJobBlock(credentials=simulator.credentials, request=REQUEST, store=store, scope="x").trigger()


async def state_in(store):
    [record] = [record async for record in Ledger(store.storage()).purchases()]
    return record.state


def endings(simulator):
    return [seen for seen in simulator.requests if seen.method == "DELETE" or seen.path.endswith("/cancel")]


async def cancelled_while_watching(simulator, store, **fields):
    looked = asyncio.Event()

    def show(step):
        if step.status:
            looked.set()

    how = terms("x", timeout=60, flow_run_id=RUN, on_step=show, **fields)
    buying = asyncio.create_task(buy_video(simulator.credentials.connection(), REQUEST, store.storage(), how))
    await looked.wait()
    buying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await buying


async def fetched_later(simulator, store):
    simulator.jobs[0].latency = 0
    asset = await buy_video(simulator.credentials.connection(), REQUEST, store.storage(), terms("x"))
    return asset.source.job_id == simulator.jobs[0].id and len(simulator.jobs) == 1


def test_the_block_says_that_it_is_unsupported(sglang, store):
    run = run_of(sglang, store)
    with pytest.raises(InvalidRequest, match="can't cancel") as caught:
        run.cancel()
    assert caught.value.details["unsupported"] == "cancel"
    assert endings(sglang) == [], "a deletion would lose the film"
    assert asyncio.run(state_in(store)) == "submitted"
    sglang.jobs[0].latency = 0
    assert run.fetch_result().source.job_id == run.job.id


@pytest.mark.parametrize("profile", ["openai", "vllm-omni", "trtllm"])
@pytest.mark.parametrize("fault", NO_ROUTE.values(), ids=NO_ROUTE.keys())
def test_a_server_without_the_route_is_unsupported_too(store, profile, fault):
    with Simulator(profile=profile, latency=60) as simulator:
        run = run_of(simulator, store)
        simulator.faults.append(Fault("DELETE", "/videos/", "answer", times=None, status=fault.status, body=fault.body))
        with pytest.raises(InvalidRequest, match=r"can't cancel videos.*can be fetched") as caught:
            run.cancel()
        assert caught.value.details["unsupported"] == "cancel"
        assert caught.value.job_id == run.job.id
        assert asyncio.run(state_in(store)) == "submitted"


async def test_a_job_that_is_gone_is_not_a_missing_route(store):
    with Simulator(profile="vllm-omni", latency=60) as simulator:
        with pytest.raises(NotFound) as caught:
            await videos.delete(simulator.credentials.connection(), "video_gen_nobody")
        assert not isinstance(caught.value, JobExpired), "nobody knows whether there ever was such a job"
        run = run_of(simulator, store)
        simulator.jobs.clear()
        with pytest.raises(JobExpired, match=f"job {run.job.id} is gone at the provider"):
            await run.acancel()


async def test_a_404_that_speaks_of_the_video_is_not_a_missing_route(store):
    with Simulator(profile="vllm-omni", latency=60) as simulator:
        run = run_of(simulator, store)
        gone = {"detail": "The video was deleted an hour ago"}
        simulator.faults.append(Fault("DELETE", "/videos/", "answer", times=None, status=404, body=gone))
        with pytest.raises(JobExpired, match="was deleted an hour ago"):
            await run.acancel()


async def test_cancel_remote_says_so_and_leaves_the_job(sglang, store, caplog):
    with caplog.at_level(logging.WARNING, "prefect_media"):
        await cancelled_while_watching(sglang, store, cancel_remote=True)
    assert "could not be ended; it stays on record, to be fetched later" in caplog.text
    assert endings(sglang) == []
    assert await state_in(store) == "submitted"
    assert await fetched_later(sglang, store)


async def test_the_hook_says_so_and_leaves_the_job(sglang, store, caplog):
    await cancelled_while_watching(sglang, store)
    with caplog.at_level(logging.WARNING):
        assert await cancel_jobs_of(RUN, sglang.credentials, store) == []
    assert "could not be ended; it stays on record, to be fetched later" in caplog.text
    assert endings(sglang) == []
    assert await state_in(store) == "submitted"
    assert await fetched_later(sglang, store)
