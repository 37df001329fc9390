"""The Azure face of the simulator, its keys, and what it says of models and unknown paths."""

import base64

import httpx
import openai
import pytest
from openai.types import ImagesResponse, Model

from prefect_media.simulator import Simulator

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

CLASSIC = "/openai/deployments/gpt-image-2/images/generations"
BODY = {"prompt": "a hill", "size": "256x256", "model": "gpt-image-2.5-flare"}


@pytest.fixture
def http(media_simulator: Simulator):
    with httpx.Client(base_url=media_simulator.azure_url) as client:
        yield client


def openai_client(simulator: Simulator, key: str = "any") -> openai.OpenAI:
    return openai.OpenAI(api_key=key, base_url=simulator.url, max_retries=0)


@pytest.mark.parametrize("headers", [{"api-key": "k"}, {"Authorization": "Bearer token"}])
def test_azure_takes_a_key_or_a_token(http, headers):
    body = {"prompt": "a boat", "model": "sora-2"}
    answer = http.post("/openai/v1/videos?api-version=preview", json=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["apim-request-id"] and "x-request-id" not in answer.headers


def test_openai_takes_no_azure_key(http):
    assert http.get("/v1/models", headers={"api-key": "k"}).status_code == 401


def test_azure_refuses_in_its_own_words(http):
    for headers in ({}, {"api-key": "sk-invalid-1"}, {"Authorization": "Bearer sk-invalid-1"}):
        answer = http.post("/openai/v1/images/generations", json=BODY, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "401"
        assert answer.json()["error"]["message"].startswith("Access denied due to invalid subscription key")


def test_a_deployment_in_the_path_stands_for_the_model(http, media_simulator):
    body = {"prompt": "a hill", "size": "1024x1024"}
    answer = http.post(CLASSIC + "?api-version=2025-04-01-preview", json=body, headers={"api-key": "k"})
    assert ImagesResponse.model_validate(answer.json()).quality == "high"  # Azure's "auto"
    assert [image.model for image in media_simulator.images] == ["gpt-image-2"]


def test_the_sdk_for_azure_reaches_both_image_endpoints(media_simulator):
    client = openai.AzureOpenAI(
        azure_endpoint=media_simulator.azure_url, api_version="2025-04-01-preview", api_key="k", max_retries=0
    )
    drawn = client.images.generate(model="my-pictures", prompt="a hill", size="64x64").data[0].b64_json
    client.images.edit(model="my-pictures", prompt="foggy", image=base64.b64decode(drawn), size="64x64")
    assert [(image.operation, image.model) for image in media_simulator.images] == [
        ("generate", "my-pictures"),
        ("edit", "my-pictures"),
    ]


def test_the_classic_path_needs_an_api_version(http, media_simulator):
    answer = http.post(CLASSIC, json=BODY, headers={"api-key": "k"})
    assert (answer.status_code, answer.json()) == (404, {"error": {"code": "404", "message": "Resource not found"}})
    assert media_simulator.images == []


def test_azure_draws_no_webp(http):
    answer = http.post("/openai/v1/images/generations", json=BODY | {"output_format": "webp"}, headers={"api-key": "k"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "output_format")


def test_openai_refuses_a_bad_key_in_its_own_words(media_simulator):
    with pytest.raises(openai.AuthenticationError) as caught:
        client = openai_client(media_simulator, "sk-invalid-1234567890")
        client.images.generate(prompt="a hill", model="gpt-image-2")
    assert caught.value.body["message"].startswith("Incorrect API key provided: sk-inval")
    assert "1234567" not in str(caught.value.body)
    assert (caught.value.code, caught.value.type, caught.value.param) == (
        *("invalid_api_key", "invalid_request_error", None),
    )
    assert caught.value.request_id


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Basic abc"}])
def test_openai_refuses_no_key(http, headers):
    answer = http.get("/v1/models", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.json()["error"]["message"].startswith("You didn't provide an API key")


def test_models_tell_when_they_are_switched_off(media_simulator):
    client = openai_client(media_simulator)
    listed = {model.id: model for model in client.models.list()}
    assert listed["gpt-image-1-mini"].shutdown_date == "2026-12-01"
    one = Model.model_validate(client.models.retrieve("gpt-image-2").model_dump())
    assert (one.id, one.shutdown_date) == ("gpt-image-2", None)
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


def test_only_the_models_named_are_served(http):
    with Simulator(models=["wan-2.2"]) as simulator:
        client = openai_client(simulator)
        assert [model.id for model in client.models.list()] == ["wan-2.2"]
        client.videos.create(prompt="a boat", model="wan-2.2")
        for refused in (
            lambda: client.videos.create(prompt="a boat", model="sora-2"),
            lambda: client.images.generate(prompt="a boat", model="gpt-image-2"),
            lambda: client.models.retrieve("sora-2"),
        ):
            with pytest.raises(openai.NotFoundError) as caught:
                refused()
            assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        azure = httpx.post(
            simulator.azure_url + CLASSIC + "?api-version=2025-04-01-preview", json=BODY, headers={"api-key": "k"}
        )
        assert azure.json()["error"]["code"] == "DeploymentNotFound"
        assert (len(simulator.jobs), len(simulator.images)) == (1, 0)


def test_an_unknown_path_is_not_found_in_each_providers_shape(http):
    answer = http.post("/v1/nothing", headers={"Authorization": "Bearer k"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "Invalid URL (POST /v1/nothing)")
    answer = http.get("/openai/v1/nothing", headers={"api-key": "k"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "404")
    assert http.get("/elsewhere").status_code == 404


def test_a_server_may_lack_what_openai_has():
    with Simulator(latency=0, can_list=False, can_remix=False, can_delete=False) as simulator:
        client = openai_client(simulator)
        job = client.videos.create(prompt="a boat", model="open")
        for lacking in (
            client.videos.list,
            lambda: client.videos.remix(job.id, prompt="x"),
            lambda: client.videos.delete(job.id),
        ):
            with pytest.raises(openai.NotFoundError) as caught:
                lacking()
            assert caught.value.response.json() == {"detail": "Not Found"}
        assert client.videos.retrieve(job.id).status == "completed"
        assert len(simulator.jobs) == 1


def test_a_body_that_cannot_be_read_is_refused(http):
    headers = {"Authorization": "Bearer k", "content-type": "application/json"}
    for body in (b"{", b"[]", b""):
        answer = http.post("/v1/videos", content=body, headers=headers)
        assert answer.status_code == 400
        assert "could not parse" in answer.json()["error"]["message"]
    form = headers | {"content-type": "multipart/form-data; boundary=x"}
    assert http.post("/v1/videos", content=b"--y broken", headers=form).status_code == 400
