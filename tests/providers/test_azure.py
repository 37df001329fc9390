"""Azure: every way to write an endpoint, every api-version and every secret lead to the documented URL and headers."""

import http.server
import json
import threading
import time
from typing import ClassVar
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

from prefect_media import AzureOpenAICredentials, ImageRequest, RemixRequest, VideoRequest
from prefect_media.errors import AuthenticationFailed, InvalidRequest, ModelRetired, ProviderUnavailable
from prefect_media.providers.azure_login import token_provider
from prefect_media.providers.wire import ask
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at

pytestmark = pytest.mark.usefixtures("short_pauses")

TERMS = PurchaseOptions(scope="test", timeout=60)
DATED = "2025-04-01-preview"
KEY = {"api_key": SecretStr("the-key")}
TOKEN = {"azure_ad_token": SecretStr("the-token")}
JWT_AS_KEY = {"api_key": SecretStr("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln")}
STILL = ImageRequest(prompt="a still", model="pictures", size="1024x1024")
MOTION = VideoRequest(prompt="it moves", model="films", seconds=4, size="720x1280")


@pytest.fixture(scope="module")
def simulator():
    with Simulator(latency=0) as running:
        yield running


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path))


PASTED = ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/", "/api/projects/mine", "/models/", " "]


@pytest.mark.parametrize("pasted", PASTED)
@pytest.mark.parametrize(
    ("api_version", "images", "videos"),
    [
        (None, "/openai/v1/images/generations", "/openai/v1/videos"),
        ("v1", "/openai/v1/images/generations", "/openai/v1/videos"),
        ("preview", "/openai/v1/images/generations?api-version=preview", "/openai/v1/videos?api-version=preview"),
        (DATED, f"/openai/deployments/pictures/images/generations?api-version={DATED}", "/openai/v1/videos"),
    ],
)
@pytest.mark.parametrize("secret", [KEY, TOKEN, JWT_AS_KEY], ids=["key", "token", "jwt as key"])
async def test_urls_and_headers(simulator, place, pasted, api_version, images, videos, secret):
    del simulator.requests[:]
    credentials = AzureOpenAICredentials(base_url=simulator.azure_url + pasted, api_version=api_version, **secret)
    connection = credentials.connection()
    await buy_images(connection, STILL, place, TERMS)
    clip = await buy_video(connection, MOTION, place, TERMS)
    job = f"/openai/v1/videos/{clip.source.job_id}"
    query = videos.removeprefix("/openai/v1/videos")
    seen = simulator.requests
    assert [(request.method, request.path) for request in seen] == [
        ("POST", images),
        ("POST", videos),
        ("GET", f"{job}{query}"),
        ("GET", f"{job}/content{query}"),
    ]
    for request in seen:
        assert request.status == 200
        if secret is KEY:
            assert request.headers["api-key"] == "the-key"
            assert "authorization" not in request.headers
        else:
            [value] = secret.values()
            assert request.headers["authorization"] == f"Bearer {value.get_secret_value()}"
            assert "api-key" not in request.headers


@pytest.mark.parametrize(
    ("pasted", "root"),
    [
        ("https://me.openai.azure.com", "https://me.openai.azure.com"),
        ("https://me.openai.azure.com/openai/v1/?api-version=preview", "https://me.openai.azure.com"),
        ("https://me.services.ai.azure.com/api/projects/one", "https://me.services.ai.azure.com"),
        ("https://me.services.ai.azure.com/models", "https://me.services.ai.azure.com"),
        ("https://me.cognitiveservices.azure.com/", "https://me.cognitiveservices.azure.com"),
        ("https://gateway.azure-api.net/media/openai", "https://gateway.azure-api.net/media"),
        ("https://gateway.example.com/team/a", "https://gateway.example.com/team/a"),
    ],
)
def test_hosts(pasted, root):
    connection = AzureOpenAICredentials(base_url=pasted, **KEY).connection()
    assert connection.base_url == f"{root}/openai/v1"
    assert (connection.catalog_host == "azure") == (".azure" in root)
    assert (connection.api_version == "preview") == ("api-version" in pasted)


@pytest.mark.parametrize("version", ["2025-04-01-preview", "preview"])
async def test_an_api_version_in_the_url_wins_over_the_field(simulator, place, version):
    del simulator.requests[:]
    url = f"{simulator.azure_url}/openai/deployments/other/images/generations?api-version={version}"
    other = "preview" if version != "preview" else "2024-02-01"
    credentials = AzureOpenAICredentials(base_url=url, api_version=other, **KEY)
    await buy_images(credentials.connection(), STILL, place, TERMS)
    assert simulator.requests[0].path.endswith(f"images/generations?api-version={version}")


async def test_a_remix_goes_to_the_v1_api(simulator, place):
    connection = AzureOpenAICredentials(base_url=simulator.azure_url, api_version=DATED, **KEY).connection()
    clip = await buy_video(connection, MOTION, place, TERMS)
    del simulator.requests[:]
    await buy_video(connection, RemixRequest(video=clip, prompt="again"), place, TERMS)
    assert simulator.requests[0].path == f"/openai/v1/videos/{clip.source.job_id}/remix"


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (
            404,
            {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}},
            InvalidRequest,
            "name of a deployment",
        ),
        (
            404,
            {"error": {"code": "404", "message": "Resource not found"}},
            InvalidRequest,
            "/openai/v1/images/generations",
        ),
        (410, {"error": {"code": "ModelRetired", "message": "Gone."}}, ModelRetired, "no longer serves"),
        (
            401,
            {"statusCode": 401, "message": "Access denied due to invalid key."},
            AuthenticationFailed,
            "Access denied",
        ),
    ],
)
async def test_what_azure_says_is_explained(simulator, place, status, body, error, said):
    simulator.faults.append(Fault("POST", "/images", "answer", status=status, body=body))
    connection = AzureOpenAICredentials(base_url=simulator.azure_url, **KEY).connection()
    with pytest.raises(error) as caught:
        await buy_images(connection, STILL, place, PurchaseOptions(scope=str(status) + said, timeout=60))
    assert said in str(caught.value)
    assert caught.value.request_id
    assert f"request id {caught.value.request_id}" in str(caught.value), "Azure calls it apim-request-id"


async def test_a_redirect_to_another_origin_is_not_followed(simulator, place):
    with Simulator() as stranger:
        location = {"location": f"{stranger.azure_url}/openai/v1/models"}
        simulator.faults.append(Fault("GET", "/models", "answer", status=307, body="", headers=location))
        connection = AzureOpenAICredentials(base_url=simulator.azure_url, **KEY).connection()
        with pytest.raises(ProviderUnavailable, match=f"redirects to {stranger.url.removesuffix('/v1')}.*set base_url"):
            await ask(connection, "get", connection.url("/models"))
        assert not stranger.requests


class ManagedIdentity(http.server.BaseHTTPRequestHandler):
    """The endpoint that gives tokens to programs in Azure App Service."""

    lifetime = 3600
    given: ClassVar[list[str]] = []

    def do_GET(self):
        self.given.append(self.path)
        now = int(time.time())
        token = {
            "access_token": f"token-{len(self.given)}",
            "expires_on": str(now + self.lifetime),
            "resource": "x",
            "token_type": "Bearer",
        }
        body = json.dumps(token).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def logged_out():
    """Each test logs in by itself; otherwise a login is kept for the life of the process."""
    token_provider.cache_clear()
    yield
    token_provider.cache_clear()


@pytest.fixture
def identity(logged_out, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ManagedIdentity)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_port}/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    ManagedIdentity.given = []
    ManagedIdentity.lifetime = 3600
    yield ManagedIdentity
    server.shutdown()


@pytest.mark.parametrize(
    ("api_version", "scope"), [(None, "https://ai.azure.com"), (DATED, "https://cognitiveservices.azure.com")]
)
async def test_entra_logs_in_once_and_sends_the_token(simulator, place, identity, api_version, scope):
    del simulator.requests[:]
    credentials = AzureOpenAICredentials(base_url=simulator.azure_url, api_version=api_version, use_entra_id=True)
    await buy_images(credentials.connection(), STILL, place, TERMS)
    await buy_video(credentials.connection(), MOTION, place, TERMS)
    assert {request.headers["authorization"] for request in simulator.requests} == {"Bearer token-1"}
    assert len(identity.given) == 1
    assert f"resource={scope}" in unquote(identity.given[0])


async def test_entra_tokens_are_refreshed_before_they_expire(simulator, place, identity):
    identity.lifetime = 1
    del simulator.requests[:]
    credentials = AzureOpenAICredentials(base_url=simulator.azure_url, use_entra_id=True)
    await buy_video(credentials.connection(), MOTION, place, TERMS)
    assert len({request.headers["authorization"] for request in simulator.requests}) > 1


async def test_nobody_is_logged_in(simulator, place, logged_out, monkeypatch):
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    del simulator.requests[:]
    credentials = AzureOpenAICredentials(base_url=simulator.azure_url, use_entra_id=True)
    with pytest.raises(AuthenticationFailed, match="no Azure login was accepted"):
        await buy_images(credentials.connection(), STILL, place, TERMS)
    assert not simulator.requests


def test_the_clients_users_get(simulator, identity):
    from openai import AzureOpenAI, OpenAI

    v1 = AzureOpenAICredentials(base_url=simulator.azure_url, **KEY).get_client()
    dated = AzureOpenAICredentials(base_url=simulator.azure_url, api_version=DATED, **KEY).get_client()
    entra_client = AzureOpenAICredentials(base_url=simulator.azure_url, use_entra_id=True).get_client()
    assert type(v1) is type(entra_client) is OpenAI
    assert type(dated) is AzureOpenAI
    for client in (v1, dated, entra_client):
        del simulator.requests[:]
        answer = client.images.generate(model="pictures", prompt="a still", size="1024x1024")
        assert answer.data[0].b64_json
        [request] = simulator.requests
        assert ("api-key" in request.headers) == (client is not entra_client)
        assert ("authorization" in request.headers) == (client is entra_client)
        assert ("/deployments/pictures/" in request.path) == (client is dated)
