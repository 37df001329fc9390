"""Redirects: a paid request is sent to nobody else and not twice, and what is ours stays at our server."""

import pytest
from buyer import clip, connection, terms
from linked_server import Gateway, Stranger, answer

from prefect_media import AzureOpenAICredentials, OpenAICredentials
from prefect_media.errors import InvalidRequest, ProviderUnavailable, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers import videos
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at

KEY, ORGANIZATION, PROJECT = "sk-kept-at-home", "org-kept-at-home", "proj-kept-at-home"
STILL = ImageRequest(prompt="a fox", model="foxes-1")


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def gateway():
    with Simulator(latency=0.0) as simulator:
        gateway = Gateway(simulator)
        gateway.simulator = simulator
        yield gateway
        gateway.close()


@pytest.fixture
def stranger():
    stranger = Stranger(answer(body={"id": "video_strange", "status": "completed", "data": []}))
    yield stranger
    stranger.close()


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path / "store"))


def line(gateway, **fields):
    ours = {"base_url": f"{gateway.url}/v1", "api_key": KEY, "organization": ORGANIZATION, "project": PROJECT}
    return connection(gateway.simulator, **{**ours, **fields})


async def states(place):
    return [record.state async for record in Ledger(place).purchases()]


def posts(gateway):
    return [asked.path for asked in gateway.asked if asked.method == "POST"]


@pytest.mark.parametrize("status", [301, 307, 308])
@pytest.mark.parametrize("kind", ["video", "image"])
async def test_a_paid_request_is_not_sent_elsewhere(gateway, stranger, place, status, kind):
    """These say that it was not taken."""
    gateway.answers = {"POST .*": answer(status, Location=f"{stranger.url}/v1/videos?signature=secret")}
    buy, request = (buy_video, clip()) if kind == "video" else (buy_images, STILL)
    with pytest.raises(
        InvalidRequest, match=rf"redirects to {stranger.url} .*set base_url.*nothing was bought"
    ) as caught:
        await buy(line(gateway), request, place, terms())
    assert "secret" not in str(caught.value)
    assert stranger.lines == 0 and len(posts(gateway)) == 1
    assert await states(place) == ["intent"], "free for the next attempt"


@pytest.mark.parametrize("status", [302, 303])
async def test_some_redirects_may_mean_that_it_was_taken(gateway, stranger, place, status):
    """A 303 is what servers answer to a form that they have taken; clients then get the page with a GET."""
    gateway.answers = {"POST .*": answer(status, Location=f"{stranger.url}/done")}
    with pytest.raises(SubmissionInDoubt, match=f"redirect to {stranger.url}"):
        await buy_images(line(gateway), STILL, place, terms())
    assert stranger.lines == 0 and len(posts(gateway)) == 1
    assert await states(place) == ["in_doubt"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_paid_request_is_not_sent_twice_to_our_own_server(gateway, place, status):
    """Nobody can know whether it was taken before it was sent on."""
    gateway.answers = {"POST /v1/images/.*": answer(status, Location="/v1/elsewhere")}
    with pytest.raises((InvalidRequest, SubmissionInDoubt)):
        await buy_images(line(gateway), STILL, place, terms())
    assert not gateway.at("/elsewhere")
    assert posts(gateway) == ["/v1/images/generations"]


async def test_a_look_goes_on_within_our_server_with_the_key(gateway, place):
    """FastAPI sends paths with a slash too many on."""
    job = await videos.submit(line(gateway), clip(), image=None, fingerprint="f")
    gateway.answers = {f"GET /v1/videos/{job.id}": answer(307, Location=f"/v1/videos/{job.id}/")}
    gateway.answers[f"GET /v1/videos/{job.id}/"] = answer(body={"id": job.id, "status": "queued"})
    assert (await videos.look(line(gateway), job.id)).status == "queued"
    assert gateway.asked[-1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("bearer", [True, False])
async def test_a_look_goes_nowhere_else(gateway, stranger, place, bearer):
    job = await videos.submit(line(gateway), clip(), image=None, fingerprint="f")
    gateway.answers = {"GET .*": answer(302, Location=f"{stranger.url}/v1/videos/{job.id}")}
    with pytest.raises(ProviderUnavailable, match=f"redirects to {stranger.url}"):
        await videos.look(line(gateway, bearer=bearer), job.id)
    assert stranger.lines == 0


@pytest.mark.parametrize("location", ["http://[::1", "ftp://127.0.0.2/x", "javascript:alert(1)"])
async def test_a_redirect_to_nowhere(gateway, place, location):
    gateway.answers = {"GET .*": answer(302, Location=location), "POST .*": answer(307, Location=location)}
    with pytest.raises(ProviderUnavailable, match="redirects to"):
        await videos.look(line(gateway), "video_1")
    with pytest.raises(InvalidRequest, match="nothing was bought"):
        await buy_images(line(gateway), STILL, place, terms())


CREDENTIALS = {
    "openai": lambda url: OpenAICredentials(
        base_url=f"{url}/v1", api_key=KEY, organization=ORGANIZATION, project=PROJECT
    ),
    "azure": lambda url: AzureOpenAICredentials(base_url=url, api_key=KEY),
    "azure, dated": lambda url: AzureOpenAICredentials(base_url=url, api_key=KEY, api_version="2025-04-01-preview"),
    "azure, token": lambda url: AzureOpenAICredentials(base_url=url, azure_ad_token=KEY),
}


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
@pytest.mark.parametrize("kind", CREDENTIALS)
async def test_a_client_for_users_keeps_what_is_ours_at_home(gateway, stranger, kind, sync):
    """Theirs follows links to files, as the SDK's own does; what is paid it sends once and to nobody else."""
    gateway.answers = {".*": answer(307, Location=f"{stranger.url}/models")}
    credentials = CREDENTIALS[kind](gateway.url)
    client = (credentials.get_client() if sync else credentials.get_async_client()).with_options(max_retries=0)
    listed = client.get("/models", cast_to=object)
    if not sync:
        await listed
    [asked] = stranger.asked
    assert not any(secret in str(asked.headers) for secret in (KEY, ORGANIZATION, PROJECT))
    assert KEY in str(gateway.asked[-1].headers)
    with pytest.raises(Exception, match="307"):
        made = client.post("/images/generations", body={"prompt": "a fox"}, cast_to=object)
        if not sync:
            await made
    assert len(stranger.asked) == 1
