"""The package's own tasks, submitted, called and as sync twins."""

import asyncio
import threading
import time

import pytest
from plain_tasks import Interrupted, both, in_flow, read_task_run

from prefect_media import (
    ImageRequest,
    VideoRequest,
    agenerate_images,
    agenerate_video,
    generate_images,
    generate_video,
)
from prefect_media.errors import ContentRejected
from prefect_media.runtime import per_loop
from prefect_media.runtime.sync import background_loop, run_sync
from prefect_media.simulator import Fault

pytestmark = pytest.mark.usefixtures("prefect")


STILL = ImageRequest(prompt="a paper boat", model="gpt-image-2", size="1024x1024")
MOTION = VideoRequest(prompt="it sails", model="sora-2", seconds=4, size="1280x720")


@pytest.mark.parametrize("twin", [agenerate_images, generate_images], ids=["async", "sync twin"])
@both
def test_fifty_submitted_tasks_share_one_client_and_its_connections(sync, twin, media_simulator, tmp_path):
    requests = [STILL.model_copy(update={"variant": number}) for number in range(50)]
    threads = set()

    def body():
        futures = [twin.submit(media_simulator.credentials, one, store=str(tmp_path)) for one in requests]
        threads.update(thread.name for thread in threading.enumerate())
        return [asset for future in futures for asset in future.result()]

    before = threading.active_count()
    assets = in_flow(body, sync=sync)
    assert len({asset.uri for asset in assets}) == 50
    assert len(media_simulator.images) == 50
    connection = media_simulator.credentials.connection()
    loops = [loop for loop, things in per_loop._by_loop.items() if ("wire", connection) in things]
    assert loops == [background_loop()]
    assert len(threads) < before + 20, "no thread for each"


def test_sync_twins_and_direct_calls_and_submitted_tasks_share_what_they_use(media_simulator, tmp_path):
    here = {"store": str(tmp_path)}

    def body():
        future = agenerate_video.submit(media_simulator.credentials, MOTION, **here)
        twin = generate_video.submit(media_simulator.credentials, MOTION.model_copy(update={"variant": 1}), **here)
        direct = generate_video(media_simulator.credentials, MOTION.model_copy(update={"variant": 2}), **here)
        return [future.result(), twin.result(), direct]

    videos = in_flow(body, sync=True)
    assert {video.kind for video in videos} == {"video"}
    assert len(media_simulator.jobs) == 3
    connection = media_simulator.credentials.connection()
    assert [loop for loop, things in per_loop._by_loop.items() if ("wire", connection) in things] == [background_loop()]


def test_a_twin_keeps_its_options_when_it_runs_as_its_original(media_simulator, tmp_path):
    busy = Fault("POST", "/images", "answer", times=2, status=429, body={"error": {"message": "slow down"}})
    media_simulator.faults.append(busy)
    hurried = generate_images.with_options(retry_delay_seconds=0.01, task_run_name="hurried", tags=["x"])

    def body():
        future = hurried.submit(media_simulator.credentials, STILL, store=str(tmp_path))
        return future.result(), future.task_run_id

    [_], run_id = in_flow(body, sync=True)
    assert busy.hits == 2
    [run] = run_sync(read_task_run(run_id))
    assert run.name == "hurried"
    assert run.tags == ["x"]
    assert run.run_count == 3
    assert not asyncio.iscoroutinefunction(generate_images.fn), "the twin itself is as it was"
    assert not generate_images.isasync


def test_errors_come_out_of_a_twin_as_they_are(media_simulator, tmp_path):
    forbidden = STILL.model_copy(update={"prompt": "forbidden"})
    with pytest.raises(ContentRejected):
        in_flow(
            lambda: generate_images.submit(media_simulator.credentials, forbidden, store=str(tmp_path)).result(),
            sync=True,
        )


def test_a_job_of_an_interrupted_flow_is_resumed_by_the_next(media_simulator, tmp_path):
    media_simulator.latency = 60

    def body():
        future = generate_video.submit(media_simulator.credentials, MOTION, store=str(tmp_path), scope="forever")
        deadline = time.monotonic() + 20
        while not media_simulator.jobs and time.monotonic() < deadline:
            time.sleep(0.01)
        raise Interrupted(future)

    with pytest.raises(Interrupted):
        in_flow(body, sync=True)
    media_simulator.jobs[0].latency = 0
    again = in_flow(
        lambda: generate_video.submit(
            media_simulator.credentials, MOTION, store=str(tmp_path), scope="forever"
        ).result(),
        sync=True,
    )
    assert len(media_simulator.jobs) == 1
    assert again.source.job_id == media_simulator.jobs[0].id
