"""A film that the server has put into cloud storage: SGLang then says where on the job, and not when it is asked."""

import pytest
from buyer import clip, connection, terms
from linked_server import Gateway, Stranger, answer

from prefect_media.errors import DownloadCorrupt, JobExpired, ProviderUnavailable
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Simulator
from prefect_media.simulator.drawing.film import Film, shoot
from prefect_media.storage.store import storage_at

KEY = "sk-kept-at-home"
FILM = shoot(Film("a paper boat", "boats-1", (64, 64), 1))
CONTENT = r"GET /v1/videos/[^/]+/content"
SAID = {"detail": "Video has been uploaded to cloud storage. Please use the cloud URL: s3://films/x.mp4"}


@pytest.fixture(autouse=True)
def private_links(short_pauses, configure):
    """The bucket that links lead to is on this machine."""
    configure(allow_private_urls=1)


@pytest.fixture
def bucket():
    bucket = Stranger(answer(body=FILM))
    yield bucket
    bucket.close()


@pytest.fixture
def gateway(bucket):
    """An SGLang whose films lie in `bucket`; its answers name them by `link`."""
    with Simulator(latency=0.0, profile="sglang") as simulator:
        gateway = Gateway(simulator)
        gateway.simulator, gateway.links = simulator, {"url": f"{bucket.url}/films/x.mp4?signature=secret"}
        gateway.answers = {CONTENT: answer(400, SAID)}

        def alter(asked, body):
            if body.get("status") == "completed":
                body.update(gateway.links)
            for row in body.get("data", []) if asked.path.startswith("/v1/videos") else []:
                row.pop("url", None)

        gateway.alter = alter
        yield gateway
        gateway.close()


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path / "store"))


def line(gateway, **fields):
    return connection(
        gateway.simulator, **{"base_url": f"{gateway.url}/v1", "api_key": KEY, "dialect": "sglang", **fields}
    )


@pytest.mark.parametrize("listed", [False, True], ids=["url", "urls"])
async def test_it_is_fetched_from_there_without_the_key(gateway, bucket, place, listed):
    if listed:
        gateway.links = {"url": None, "urls": [gateway.links["url"], "http://10.0.0.1/second"]}
    asset = await buy_video(line(gateway), clip(), place, terms())
    assert await place.read(place.key_of(asset.uri)) == FILM
    [asked] = bucket.asked
    assert asked.path == "/films/x.mp4?signature=secret"
    assert KEY not in str(asked.headers)
    [record] = [record async for record in Ledger(place).purchases()]
    assert "signature" not in record.model_dump_json() + asset.model_dump_json(), "it would open the bucket"


async def test_a_link_to_the_server_itself_goes_with_the_key(gateway, bucket, place):
    gateway.links = {"url": "/outputs/x.mp4"}
    gateway.answers["GET /outputs/x.mp4"] = answer(body=FILM)
    await buy_video(line(gateway), clip(), place, terms())
    assert gateway.at("/outputs/x.mp4")[0].headers["authorization"] == f"Bearer {KEY}"


async def test_content_that_the_server_has_is_taken_from_it(gateway, bucket, place):
    gateway.answers = {CONTENT: answer(body=FILM)}
    await buy_video(line(gateway), clip(), place, terms())
    assert bucket.lines == 0


async def test_it_is_asked_once_and_not_waited_for(gateway, bucket, place):
    await buy_video(line(gateway), clip(), place, terms())
    assert len(gateway.at("/content")) == 1


async def test_a_server_that_changes_its_mind_too_late_is_given_up(gateway, bucket, place):
    waits = [answer(404, {"detail": "Not found"})] * 3
    gateway.answers[CONTENT] = lambda asked: waits.pop() if waits else answer(400, SAID)
    with pytest.raises(JobExpired):
        await buy_video(line(gateway), clip(), place, terms())
    assert len(gateway.at("/content")) == 3


async def test_without_a_link_the_film_stays_to_be_fetched(gateway, bucket, place):
    gateway.links = {}
    with pytest.raises(
        DownloadCorrupt, match=r"is in cloud storage, and .* gives no link to it.*fetched again"
    ) as caught:
        await buy_video(line(gateway), clip(), place, terms())
    assert caught.value.job_id == gateway.simulator.jobs[0].id
    [record] = [record async for record in Ledger(place).purchases()]
    assert record.state == "submitted"
    gateway.links = {"url": f"{bucket.url}/later.mp4"}
    await buy_video(line(gateway), clip(), place, terms())
    assert len(gateway.simulator.jobs) == 1


async def test_a_link_that_no_longer_opens_is_asked_for_anew(gateway, bucket, place):
    def given(asked):
        if "fresh" in asked.path:
            return answer(body=FILM)
        gateway.links = {"url": f"{bucket.url}/films/x.mp4?fresh"}
        return answer(403, b"<Error>Request has expired</Error>")

    bucket.given = given
    await buy_video(line(gateway), clip(), place, terms())
    assert len(bucket.asked) == 2 and len(gateway.simulator.jobs) == 1


async def test_a_film_that_is_gone_from_there_is_gone(gateway, bucket, place):
    bucket.given = answer(404, b"a secret of the house")
    with pytest.raises(JobExpired, match=r"is gone.*answers HTTP 404") as caught:
        await buy_video(line(gateway), clip(), place, terms())
    assert "secret" not in str(caught.value)


async def test_a_link_into_the_network_is_refused(gateway, bucket, place, configure):
    configure(allow_private_urls=0)
    with pytest.raises(DownloadCorrupt, match=r"127\.0\.0\.2 is not a public address") as caught:
        await buy_video(line(gateway), clip(), place, terms())
    assert "secret" not in str(caught.value) and caught.value.job_id
    assert bucket.lines == 0


@pytest.mark.parametrize("field", ["url", "content_url"])
async def test_other_servers_do_not_name_places(bucket, place, field):
    """Only those that are known to keep films elsewhere; a field of that name says nothing at others."""
    with Simulator(latency=0.0) as simulator:
        gateway = Gateway(simulator)
        gateway.simulator, gateway.answers = simulator, {CONTENT: answer(400, {"error": {"message": "no"}})}
        gateway.alter = lambda asked, body: body.update({field: f"{bucket.url}/x.mp4"})
        with pytest.raises(ProviderUnavailable, match="can't be fetched from"):
            await buy_video(line(gateway, dialect="openai"), clip(), place, terms())
        gateway.close()
    assert bucket.lines == 0
