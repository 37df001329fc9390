"""The flow that holds no worker: each run takes a moment, one of them orders, a later one collects."""

import pytest
from prefect import State
from prefect_media.flows.deferred import deferred

from prefect_media import Manifest, VideoRequest
from prefect_media.errors import JobFailed

pytestmark = pytest.mark.usefixtures("prefect")

REQUEST = VideoRequest(prompt="a paper boat", model="sora-2", seconds=4, size="1280x720")


async def run(simulator, store, request=REQUEST) -> State:
    return await deferred(simulator.credentials, request, "boat", store=store, return_state=True)


async def test_ordered_by_one_run_and_collected_by_another(media_simulator, store):
    media_simulator.latency = 60
    first, second = await run(media_simulator, store), await run(media_simulator, store)
    assert (first.name, second.name) == ("Rendering", "Rendering")
    assert first.is_completed()
    [job] = media_simulator.jobs
    job.latency = 0
    state = await run(media_simulator, store)
    manifest = await state.aresult()
    assert isinstance(manifest, Manifest)
    assert manifest.assets[0].source.job_id == job.id
    again = await (await run(media_simulator, store)).aresult()
    assert again.assets == manifest.assets
    assert len(media_simulator.jobs) == 1


async def test_a_job_that_failed_fails_the_run_that_finds_it(media_simulator, store):
    state = await run(media_simulator, store, REQUEST.model_copy(update={"prompt": "explode"}))
    while state.name == "Rendering":
        state = await run(media_simulator, store, REQUEST.model_copy(update={"prompt": "explode"}))
    with pytest.raises(JobFailed):
        await state.aresult()
    assert len(media_simulator.jobs) == 1
