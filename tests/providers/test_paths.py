"""Nothing that is put into the path of a request leads to another route, and no odd id is ever asked for."""

from __future__ import annotations

import pytest
from buyer import clip, connection, terms
from pydantic import ValidationError

from prefect_media.errors import InvalidRequest, ProviderUnavailable, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers import batches as batch_wire
from prefect_media.providers import videos
from prefect_media.providers.address import id_problem, origin_of, segment
from prefect_media.providers.connection import Connection
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.video_steps import fetch, job_at, wait
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageEditRequest, ImageRequest, RemixRequest, VideoExtendRequest, VideoRequest
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at

pytestmark = pytest.mark.usefixtures("short_pauses")

ODD = [
    "../../files",
    "..",
    ".",
    "a/b",
    "a\\b",
    "a?b=c",
    "a#b",
    "a\nb",
    "a\r\nX: y",
    "a b",
    "a\x00b",
    "a\ufffdb",
    "x" * 1025,
]
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAf"
    "FcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def simulator():
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def storage(tmp_path):
    return storage_at(str(tmp_path))


@pytest.mark.parametrize("name", ["../../files", "a/b", "a?b", "a#b", "..", "x" * 2000])
@pytest.mark.parametrize("operation", ["generations", "edits"])
async def test_a_deployment_name_does_not_leave_its_place_in_the_path(simulator, storage, name, operation):
    azure = Connection(
        provider="azure",
        base_url=f"{simulator.azure_url}/openai/v1",
        api_key="sk-simulated",
        bearer=False,
        api_version="2025-04-01-preview",
        dialect="azure",
    )
    request = ImageRequest(prompt="a paper boat", model=name)
    if operation == "edits":
        request = ImageEditRequest(prompt="a paper boat", model=name, images=[PNG])
    with pytest.raises(InvalidRequest, match=r"deployment name .* is malformed: .*nothing was sent"):
        await buy_images(azure, request, storage, terms())
    assert not simulator.requests


def test_an_api_version_does_not_add_to_the_query():
    azure = Connection(provider="azure", base_url="https://x/openai/v1", api_key="k", api_version="2025-04-01&a=b#c")
    assert azure.images_url("edits", "aé").endswith(
        "/deployments/a%C3%A9/images/edits?api-version=2025-04-01%26a%3Db%23c"
    )


@pytest.mark.parametrize("name", ["a\nb", "a\x00b", "a\u2028b", "a\x1b[31m", "a\ud800b"])
@pytest.mark.parametrize("kind", [ImageRequest, VideoRequest])
def test_a_model_with_a_line_break_is_no_model(kind, name):
    with pytest.raises(
        ValidationError, match=r"not allowed in a model's name|valid string|NUL character|surrogate pair"
    ):
        kind(prompt="a paper boat", model=name)


@pytest.mark.parametrize("odd", ODD)
async def test_an_odd_job_id_is_refused_before_anything_is_sent(simulator, storage, odd):
    at = connection(simulator, dialect="openai")
    with pytest.raises(InvalidRequest, match=r"job id .* is malformed"):
        job_at(at, odd)
    job = job_at(at, "video_1").model_copy(update={"id": odd})
    for verb in (videos.look, videos.delete):
        with pytest.raises(InvalidRequest, match=r"job id .* is malformed"):
            await verb(at, odd)
    for step in (wait, fetch):
        with pytest.raises(InvalidRequest, match=r"job id .* is malformed"):
            await step(at, job, storage, terms())
    for kind, more in ((RemixRequest, {}), (VideoExtendRequest, {"seconds": 4})):
        with pytest.raises(
            (InvalidRequest, ValidationError), match=r"job id .* is malformed|is not a job id|half of a"
        ):
            await buy_video(at, kind(video=job, prompt="x", **more), storage, terms())
    with pytest.raises(InvalidRequest, match=r"batch id .* is malformed"):
        await batch_wire.look(at, odd)
    with pytest.raises(ProviderUnavailable, match=r"names a malformed file id .* for batch batch_1: "):
        async for _ in batch_wire.answers(at, odd, "batch_1", [ImageRequest(prompt="x", model="foxes-1")]):
            pass
    assert not simulator.requests


@pytest.mark.parametrize("odd", ["../../files", "a\nb", "a?b", "\ud800", "x" * 2000])
@pytest.mark.parametrize("dialect", ["litellm", "openai"])
async def test_a_server_that_gives_such_an_id_leaves_a_doubt(simulator, storage, odd, dialect):
    """It took the order, so nothing is bought again; nor is anything asked for by that id."""
    body = {"id": odd, "object": "video", "status": "queued", "model": "boats-1"}
    simulator.faults.append(Fault("POST", "/videos$", "answer_after", times=None, body=body, status=200))
    simulator.faults.append(Fault("GET", "/videos", "answer", times=None, body={"data": []}, status=200))
    with pytest.raises(SubmissionInDoubt, match=r"its id .* is malformed|LiteLLM proxy can't list"):
        await buy_video(connection(simulator, dialect=dialect), clip(), storage, terms())
    assert [request.method for request in simulator.requests].count("POST") == 1
    assert not [request for request in simulator.requests if request.path.startswith("/v1/videos/")]
    [record] = [record async for record in Ledger(storage).purchases()]
    assert record.state == "in_doubt"


def test_what_an_id_may_be():
    for good in ("video_68d7512d07848190b3e45da0ecbebcde", "task_a:b", "bGl0ZWxsbTo=", "a..b", "クリップ", "~x@y+z"):
        assert id_problem(good) is None
    assert segment("job id", "a%2F=é") == "a%252F%3D%C3%A9"


def test_origins_are_compared_by_what_they_mean():
    assert origin_of("HTTPS://API.example.com/v1") == origin_of("https://api.example.com:443/x")
    assert origin_of("http://[::1]:80/v1") == "http://[::1]:80"
    assert origin_of("http://a.example") != origin_of("https://a.example")
    for none in ("", "ftp://a", "http://", "http://a:99999999/", "http://u@a/", "http://a\\b/", "http://a b/"):
        assert origin_of(none) is None
