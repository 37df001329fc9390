"""What a user's own test suite gets: fixtures, `simulated()`, and no cost where they are not used."""

import subprocess
import sys

import httpx
import openai

import prefect_media
from prefect_media.simulator import Simulator, simulated


def test_the_fixtures_belong_together(media_simulator, media_credentials):
    assert str(media_credentials.base_url).rstrip("/") == media_simulator.url
    client = openai.OpenAI(api_key=media_credentials.api_key.get_secret_value(), base_url=media_simulator.url)
    client.images.generate(model="gpt-image-2", prompt="a hill", size="256x256")
    assert len(media_simulator.images) == 1


def test_simulated_gives_credentials_that_work_for_as_long_as_it_lasts():
    with simulated(latency=0) as credentials:
        client = credentials.get_client().with_options(max_retries=0)
        assert client.models.retrieve("gpt-image-2").id == "gpt-image-2"
    try:
        client.models.retrieve("gpt-image-2")
    except openai.APIConnectionError:
        pass
    else:
        raise AssertionError("the simulator still answers")


def test_azure_credentials_lead_to_the_azure_paths(media_simulator: Simulator):
    credentials = media_simulator.azure_credentials
    assert credentials.base_url == media_simulator.azure_url
    url = credentials.connection().images_url("generations", "gpt-image-2")
    body = {"model": "gpt-image-2", "prompt": "a hill", "size": "256x768"}
    answer = httpx.post(url, json=body, headers={"api-key": credentials.api_key.get_secret_value()})
    assert answer.status_code == 200
    assert media_simulator.requests[-1].path == "/openai/v1/images/generations"


def test_simulated_is_the_packages_own_name_for_it():
    assert prefect_media.simulated is simulated


def test_the_plugin_costs_a_test_session_nothing():
    heavy = "starlette uvicorn PIL av openai httpx prefect pydantic"
    code = (
        "import sys, prefect_media.simulator.pytest_plugin\n"
        f"print([name for name in {heavy!r}.split() if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_simulator_needs_no_prefect():
    code = (
        "import sys\n"
        "from prefect_media.simulator import Simulator\n"
        "with Simulator() as simulator: simulator.url\n"
        "print([name for name in ('prefect', 'openai') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_two_simulators_do_not_know_each_other():
    with Simulator() as one, Simulator() as other:
        assert one.url != other.url
        openai.OpenAI(api_key="k", base_url=one.url).images.generate(model="gpt-image-2", prompt="x", size="256x256")
        assert (len(one.images), len(other.images)) == (1, 0)
