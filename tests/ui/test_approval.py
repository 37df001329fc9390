"""The flow `approval` on real workers, answered in Prefect's page: pictures in the form, and nobody waits meanwhile."""

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager

import browser as browsers
import pytest
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_api import Prefect
from prefect_media.flows.approval import approval

from prefect_media import ImageRequest, VideoRequest
from prefect_media.simulator import Simulator

pytestmark = pytest.mark.ui

NAME = "approval-in-a-browser"
STILLS = ImageRequest(prompt="a paper boat", model="gpt-image-2", size="1536x1024", quality="low", n=4)
MOTION = VideoRequest(prompt="it sails", model="boats-1", seconds=1, size="96x64")


@pytest.fixture
def run(prefect_server, s3):
    """A run of the deployed flow that nobody has begun yet, and its provider."""
    if lack := browsers.missing():
        (pytest.fail if browsers.required() else pytest.skip)(lack)

    async def prepare(simulator):
        await simulator.credentials.asave(NAME, overwrite=True)
        await s3.store("approval").asave(NAME, overwrite=True)
        parameters = {"still": STILLS.model_dump(mode="json"), "motion": MOTION.model_dump(mode="json")}
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name=NAME, type="process"))
            deployment = await client.create_deployment(
                flow_id=await client.create_flow(approval),
                name="it",
                entrypoint="prefect_media.flows.approval.approval",
                work_pool_name=NAME,
                parameters={"credentials": NAME, "store": NAME, **parameters},
            )
            return str((await client.create_flow_run_from_deployment(deployment)).id)

    with Simulator(latency=0.2) as simulator:
        with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
            run_id = asyncio.run(prepare(simulator))
        yield run_id, simulator


@contextmanager
def worker(prefect_server, family, name):
    """A worker with room for one flow run."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", NAME, "--name", name, "--limit", "1"]
    env = {**prefect_server.env, **family.env, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    with (prefect_server.home / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:  # now and then Prefect's worker does not listen
                process.kill()
                process.wait()


def wait_for(prefect_server, run_id, *wanted):
    """Until the flow run has gone through these states, and no others but those of its start and its running."""
    api = Prefect(prefect_server.api_url)
    deadline = time.monotonic() + 180
    history = []
    while time.monotonic() < deadline:
        history = [state["name"] for state in api.history(run_id)]
        if [name for name in history if name in ("Suspended", "Completed", "Crashed", "Failed")] == [*wanted]:
            return
        time.sleep(0.2)
    pytest.fail(f"went through {history}")


def answer(page, pictures, option, note, screenshot=None):
    """Open the form, wait until its pictures are there, choose one of the list, send it; what was sent."""
    page.get_by_role("button", name="Resume", exact=True).click()
    page.wait_for_function(browsers.SHOWS.format(pictures=pictures), timeout=20_000)
    form = page.locator(".p-modal__card")
    assert page.evaluate("[...document.images].map(each => each.src.slice(0, 10))") == ["data:image"] * pictures
    form.locator(".p-select-button__icon").click()  # a click on the field itself opens the list and closes it again
    page.locator(".p-select-option", has_text=option).click()
    form.locator("textarea").fill(note)
    if screenshot:
        browsers.save_screenshot(page, screenshot)
    for _ in range(20):
        with page.expect_response(lambda response: response.url.endswith("/resume")) as sent:
            form.get_by_role("button", name="Submit").click()
        if sent.value.status != 503:  # so the server says that its database is busy
            break
        time.sleep(0.5)
    assert sent.value.json()["status"] == "ACCEPT", sent.value.text()


def test_people_answer_in_the_form_and_another_worker_goes_on(run, prefect_server, family):
    run_id, provider = run
    with worker(prefect_server, family, "first") as first:
        wait_for(prefect_server, run_id, "Suspended")
        deadline = time.monotonic() + 30
        while list(family.members()) != [first.pid] and time.monotonic() < deadline:
            time.sleep(0.1)
        assert list(family.members()) == [first.pid], "the flow's process ends, and the worker has room"
    with browsers.chromium() as browser:
        page = browser.page("classic", "light")
        page.goto(f"{prefect_server.url}/runs/flow-run/{run_id}")
        answer(page, 4, "3", "the one with the red sky", screenshot="approval-form")
        with worker(prefect_server, family, "second"):
            wait_for(prefect_server, run_id, "Suspended", "Suspended")
            assert (len(provider.images), len(provider.jobs)) == (1, 1)
            page.goto(f"{prefect_server.url}/runs/flow-run/{run_id}")
            answer(page, 1, "approve", "it sails")
            wait_for(prefect_server, run_id, "Suspended", "Suspended", "Completed")
    assert (len(provider.images), len(provider.jobs)) == (1, 1)
