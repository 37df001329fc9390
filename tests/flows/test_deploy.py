"""The deployments of prefect.yaml, made and run as their users would: server, worker and provider are real."""

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_api import Prefect

from prefect_media import ImageRequest
from prefect_media.budget import FOLDER
from prefect_media.catalog.check import check
from prefect_media.catalog.data import catalog
from prefect_media.cli.demo_servers import stop_process
from prefect_media.ledger.accounts import read

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def deployments(prefect_server):
    """What `prefect deploy --all` made, by name."""
    prefect_server.run("work-pool", "create", "media", "--type", "process")
    prefect_server.run("deploy", "--all", cwd=ROOT)
    return {
        name: json.loads(prefect_server.run("deployment", "inspect", f"storyboard/{name}", "--output", "json").stdout)
        for name in ("storyboard", "storyboard-daily")
    } | {"campaign": json.loads(prefect_server.run("deployment", "inspect", "campaign/campaign", "-o", "json").stdout)}


@pytest.fixture
def worker(prefect_server, family, tmp_path):
    """A process worker of the pool, with its log."""
    log = tmp_path / "worker.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", "media", "--type", "process"],
            env={**prefect_server.env, **family.env, "PREFECT_WORKER_QUERY_SECONDS": "1"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.log = log
    yield process
    stop_process(process)


def test_one_deployment_on_demand_and_one_by_the_clock(deployments):
    """Both run the same flow with blocks by name; the scheduled one waits to be switched on, and never overlaps."""
    on_demand, daily = deployments["storyboard"], deployments["storyboard-daily"]

    assert on_demand["schedules"] == []
    [schedule] = daily["schedules"]
    assert schedule["schedule"]["cron"] == "0 6 * * *"
    assert schedule["schedule"]["timezone"] == "Europe/Berlin"
    assert schedule["active"] is False
    assert daily["global_concurrency_limit"]["limit"] == 1
    assert daily["concurrency_options"]["collision_strategy"] == "ENQUEUE"
    for deployment in (on_demand, daily):
        assert deployment["entrypoint"] == "flows/storyboard.py:storyboard"
        assert deployment["work_pool_name"] == "media"
        assert (deployment["parameters"]["credentials"], deployment["parameters"]["store"]) == ("demo", "demo")


def test_the_form_in_the_ui_describes_every_parameter(deployments):
    for name in ("storyboard", "campaign"):
        properties = deployments[name]["parameter_openapi_schema"]["properties"]
        assert {name for name, field in properties.items() if not field.get("description")} == set()


def test_no_field_of_a_form_is_null(deployments):
    for name in ("storyboard", "campaign"):
        assert '"null"' not in json.dumps(deployments[name]["parameter_openapi_schema"])


@pytest.mark.parametrize(
    ("name", "parameters", "status"),
    [
        ("storyboard", {}, 201),
        ("storyboard", {"store": None, "destination": None, "image_credentials": None}, 201),
        ("storyboard", {"destination": "s3://elsewhere", "image_credentials": "openai"}, 201),
        ("storyboard", {"credentials": {"$ref": {"block_document_id": str(uuid.uuid4())}}}, 201),
        ("storyboard", {"still": {"prompt": "a", "model": "m", "size": "64x64", "quality": "low"}}, 201),
        ("storyboard", {"still": {"prompt": "a", "model": "m", "options": {"size": "64x64", "quality": "low"}}}, 201),
        ("storyboard", {"still": {"prompt": "a", "model": "m", "aspect_ratio": None, "options": {}}}, 201),
        ("storyboard", {"still": {"prompt": "a", "model": "m", "options": {"output_compression": 101}}}, 409),
        ("storyboard", {"still": {"prompt": "a"}}, 409),
        ("storyboard", {"motion": {"prompt": "a", "model": "m", "seconds": 0}}, 409),
        ("campaign", {"budget": None, "defaults": None}, 201),
        ("campaign", {"budget": {"usd": 5}, "defaults": {"model": "m"}}, 201),
        ("campaign", {"concurrency": "many"}, 409),
    ],
)
def test_the_server_takes_what_a_form_sends_and_what_was_taken_before(
    prefect_server, deployments, name, parameters, status
):
    api = Prefect(prefect_server.api_url)
    made = api.send(
        "POST",
        f"/deployments/{deployments[name]['id']}/create_flow_run",
        parameters=deployments[name]["parameters"] | parameters,
        enforce_parameter_schema=True,
        # the worker of the next test is not to take it, even if it can not be deleted
        state={"type": "SCHEDULED", "state_details": {"scheduled_time": "2100-01-01T00:00:00Z"}},
    )
    assert made.status_code == status, made.text
    if status == 201:
        api.send("DELETE", f"/flow_runs/{made.json()['id']}").raise_for_status()


def test_the_deployed_image_model_is_in_use(deployments):
    """The catalog knows the model named in prefect.yaml, and that it has not ended at its own host."""
    still = ImageRequest(**deployments["storyboard"]["parameters"]["still"])
    assert still.model in catalog().models
    assert check(still, "openai").model == still.model


def test_a_run_on_a_worker_fills_the_bucket(prefect_server, deployments, worker, family, media_simulator, s3):
    """Deployed, picked up by a worker, Completed: one picture, two videos, each bought once, and a manifest.

    And when the worker is ended, nobody is left.
    """
    store = s3.store("films")

    async def save():
        await media_simulator.credentials.asave("demo", overwrite=True)
        await store.asave("demo", overwrite=True)

    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        asyncio.run(save())

    done = prefect_server.run("deployment", "run", "storyboard/storyboard", "--watch", "--watch-timeout", "120")

    assert "Completed" in done.stdout, done.stdout + worker.log.read_text()
    assert [image.operation for image in media_simulator.images] == ["generate"]
    assert [job.operation for job in media_simulator.jobs] == ["generate", "remix"]

    async def published():
        storage = store.storage()
        [manifest] = [key async for key, _ in storage.list() if key.endswith("manifest.json")]
        assets = json.loads(await storage.read(manifest))["assets"]
        return [
            (asset["kind"], asset["size_bytes"], await storage.size(storage.key_of(asset["uri"]))) for asset in assets
        ]

    async def accounts():
        storage = store.storage()
        return [read((await storage.fetch(path)).data) async for path, _ in storage.list(FOLDER)]

    found = asyncio.run(published())
    assert [kind for kind, _, _ in found] == ["image", "video", "video"]
    assert all(said == there for _, said, there in found)

    # Another flow on the same worker: a budget from JSON, and a file of shots beside the flow.
    done = prefect_server.run("deployment", "run", "campaign/campaign", "--watch", "--watch-timeout", "120")
    assert "Completed" in done.stdout, done.stdout + worker.log.read_text()
    assert (len(media_simulator.images), len(media_simulator.jobs)) == (2, 4)
    [account] = asyncio.run(accounts())
    assert account.purchases == 3
    assert account.spent_usd > 2 * 0.5

    stop_process(worker)
    assert family.gone()
