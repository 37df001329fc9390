"""The deployments of examples/docker and examples/kubernetes: made at Prefect's server, and what their workers start.

Prefect's server knows the job templates of these workers, and core renders them as the workers do. Where prefect-docker
and prefect-kubernetes are installed, their own classes render them, too.
"""

import re
import shlex
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.templating import apply_values
from prefect.workers.base import BaseJobConfiguration

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "examples/docker/Dockerfile").read_text()


@pytest.fixture(scope="module", params=["docker", "kubernetes"])
def deployed(request, prefect_server):
    """The kind of a pool, the job template that the server has for it, and the deployment of its example."""
    kind = request.param
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}), get_client(sync_client=True) as client:
        [worker] = [known[kind] for known in client.read_worker_metadata().values() if kind in known]
        template = worker["default_base_job_configuration"]
        client.create_work_pool(WorkPoolCreate(name=f"media-{kind}", type=kind, base_job_template=template))
        prefect_server.run("deploy", "--all", "--prefect-file", f"examples/{kind}/prefect.yaml", cwd=ROOT)
        deployment = client.read_deployment_by_name(f"campaign/campaign-{kind}")
    return kind, template, deployment.model_dump(mode="json")


def test_the_flow_is_where_the_image_has_it(deployed):
    _, _, deployment = deployed
    [step] = deployment["pull_steps"]
    folder = step["prefect.deployments.steps.set_working_directory"]["directory"]
    assert f"WORKDIR {folder}\nCOPY flows flows\n" in DOCKERFILE
    path, _, function = deployment["entrypoint"].partition(":")
    assert f"def {function}(" in (ROOT / path).read_text()
    assert (ROOT / deployment["parameters"]["shots"]).is_file()
    assert {"credentials", "store", "shots", "scope", "budget"} == set(deployment["parameters"])


def test_every_job_variable_is_known_and_reaches_what_the_worker_starts(deployed):
    kind, template, deployment = deployed
    variables = deployment["job_variables"]
    assert set(variables) <= set(template["variables"]["properties"]), "an unknown one is ignored without a word"
    known = template["variables"]["properties"]
    defaults = {name: field["default"] for name, field in known.items() if "default" in field}
    job = apply_values(template["job_configuration"], {**defaults, **variables})
    if kind == "docker":
        assert {name: job[name] for name in variables} == variables
        return
    manifest = job["job_manifest"]
    pod = manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert (manifest["apiVersion"], manifest["kind"], manifest["metadata"]["namespace"]) == ("batch/v1", "Job", "media")
    assert manifest["spec"]["backoffLimit"] == 0, "the automations run it again, with a bound"
    assert manifest["spec"]["ttlSecondsAfterFinished"] == 3600
    assert (container["image"], pod["serviceAccountName"]) == ("media-flows:1", "media-flows")
    assert container["resources"]["requests"] == {"cpu": "250m", "memory": "512Mi"}
    assert container["resources"]["limits"]["memory"] == "1Gi"


@pytest.fixture
async def job(deployed, prefect_server):
    """What the worker's own class would start for a flow run; core's where it is not installed."""
    kind, template, deployment = deployed
    configuration = BaseJobConfiguration
    if kind == "docker" and find_spec("prefect_docker"):
        from prefect_docker.worker import DockerWorkerJobConfiguration as configuration
    if kind == "kubernetes" and find_spec("prefect_kubernetes"):
        from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration as configuration
    with temporary_settings({PREFECT_API_URL: prefect_server.api_url}):
        job = await configuration.from_template_and_values(template, deployment["job_variables"])
    job.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=uuid.uuid4(), name="paper boats"))
    return job


async def test_the_worker_starts_prefects_engine_for_the_flow_run(job):
    manifest = getattr(job, "job_manifest", None)
    command = manifest["spec"]["template"]["spec"]["containers"][0]["args"] if manifest else shlex.split(job.command)
    assert command in (["prefect", "flow-run", "execute"], ["python", "-m", "prefect.engine"])
    if manifest:
        [container] = manifest["spec"]["template"]["spec"]["containers"]
        environment = {each["name"] for each in container["env"]}
        assert container["image"] == "media-flows:1"
        assert "PREFECT__FLOW_RUN_ID" in environment
    else:
        assert "PREFECT__FLOW_RUN_ID" in job.env


def test_what_the_image_copies_is_there_once_the_package_is_built():
    """No Docker is needed for this: what it copies is in the checkout, and the comments of all examples build it."""
    sources = re.findall(r"^COPY (\S+) ", DOCKERFILE, re.M)
    assert sources == ["dist/prefect_media-*.whl", "flows"]
    assert (ROOT / "flows/campaign.py").is_file()
    build = DOCKERFILE.splitlines()[0]
    assert build.startswith("# make build && docker build -f examples/docker/Dockerfile -t media-flows:1 .")
    for kind in ("docker", "kubernetes"):
        assert (ROOT / f"examples/{kind}/prefect.yaml").read_text().startswith(build)
