"""Links in answers and redirects of content: they lead where references may, and what is ours stays at our server."""

import socket
import ssl

import pytest
from buyer import clip, connection, terms
from certificates import write_certificates
from linked_server import Gateway, Stranger, answer, png

from prefect_media.errors import DownloadCorrupt, MediaError, ProviderUnavailable
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.runtime import retry
from prefect_media.simulator import Simulator
from prefect_media.simulator.drawing.film import Film, shoot
from prefect_media.storage.store import storage_at

KEY, ORGANIZATION, PROJECT = "sk-kept-at-home", "org-kept-at-home", "proj-kept-at-home"
STILL = ImageRequest(prompt="a fox", model="foxes-1")
FILM = shoot(Film("a paper boat", "boats-1", (64, 64), 1))
IMAGES = r"POST /v1/images/generations"
CONTENT = r"GET /v1/videos/[^/]+/content"


@pytest.fixture(autouse=True)
def no_proxy(short_pauses, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def private(configure):
    """Private addresses are fine."""
    configure(allow_private_urls=1)


@pytest.fixture
def gateway():
    with Simulator(latency=0.0) as simulator:
        gateway = Gateway(simulator)
        gateway.simulator = simulator
        yield gateway
        gateway.close()


@pytest.fixture
def stranger():
    stranger = Stranger()
    yield stranger
    stranger.close()


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path / "store"))


def line(gateway, **fields):
    return connection(
        gateway.simulator,
        **{
            "base_url": f"{gateway.url}/v1",
            "api_key": KEY,
            "organization": ORGANIZATION,
            "project": PROJECT,
            **fields,
        },
    )


def link(url):
    return answer(body={"created": 1, "data": [{"url": url}]})


def moved(url, status=302):
    return answer(status, Location=url)


def nothing_of_ours(asked):
    said = str(asked.headers)
    assert not any(secret in said for secret in (KEY, ORGANIZATION, PROJECT))
    return True


async def states(place):
    return [record.state async for record in Ledger(place).purchases()]


# ---------------------------------------------------------------- images


@pytest.mark.parametrize("url", ["/v1/images/7/content", "7/content", "../images/7/content?a=b"])
async def test_a_relative_link_is_of_the_server_that_was_asked(gateway, place, url):
    """So SGLang answers unless it is told otherwise; its own content wants the key."""
    gateway.answers = {IMAGES: link(url), r"GET /v1/images/(generations/)?7/content": answer(body=png())}
    [asset] = await buy_images(line(gateway), STILL, place, terms())
    assert await place.read(place.key_of(asset.uri)) == png()
    [asked] = gateway.at("7/content")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (asked.headers["openai-organization"], asked.headers["openai-project"]) == (ORGANIZATION, PROJECT)


@pytest.mark.parametrize("bearer", [True, False])
async def test_the_key_goes_as_the_server_wants_it(gateway, place, bearer):
    gateway.answers = {IMAGES: link(f"{gateway.url}/file"), "GET /file": answer(body=png())}
    await buy_images(line(gateway, bearer=bearer), STILL, place, terms())
    [asked] = gateway.at("/file")
    sent = asked.headers.get("authorization"), asked.headers.get("api-key")
    assert sent == ((f"Bearer {KEY}", None) if bearer else (None, KEY))


async def test_the_same_host_on_another_port_is_another_origin(gateway, place):
    """It may be private, as our own is, and gets nothing that is for our own."""
    neighbour = Stranger(answer(body=png()), host="127.0.0.1")
    gateway.answers = {IMAGES: link(f"{neighbour.url}/file?signature=x")}
    [asset] = await buy_images(line(gateway), STILL, place, terms())
    assert asset.width == 64
    [asked] = neighbour.asked
    assert asked.path == "/file?signature=x" and nothing_of_ours(asked)


@pytest.mark.parametrize("through", ["link", "redirect"])
async def test_a_private_address_is_not_asked_for_an_image(gateway, stranger, place, through):
    there = f"{stranger.url}/latest/meta-data"
    gateway.answers = {IMAGES: link("/away" if through == "redirect" else there), "GET /away": moved(there)}
    with pytest.raises(DownloadCorrupt, match=r"127\.0\.0\.2 is not a public address.*ALLOW_PRIVATE_URLS") as caught:
        await buy_images(line(gateway), STILL, place, terms())
    assert not caught.value.transient
    assert stranger.lines == 0
    assert await states(place) == ["in_doubt"], "it is paid for"


async def test_whoever_allows_private_addresses_reaches_them_without_the_key(gateway, stranger, place, private):
    stranger.given = answer(body=png())
    gateway.answers = {IMAGES: link("/away"), "GET /away": moved(f"{stranger.url}/file")}
    await buy_images(line(gateway), STILL, place, terms())
    [asked] = stranger.asked
    assert nothing_of_ours(asked)


async def test_who_was_sent_away_comes_back_without_the_key(gateway, stranger, place, private):
    """Otherwise a stranger could choose what our server is asked for in our name."""
    stranger.given = moved(f"{gateway.url}/admin")
    gateway.answers = {IMAGES: link(f"{stranger.url}/file"), "GET /admin": answer(body=png())}
    await buy_images(line(gateway), STILL, place, terms())
    [asked] = gateway.at("/admin")
    assert nothing_of_ours(asked)


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "metadata.google.internal", "[fd00:ec2::254]"])
async def test_no_setting_opens_a_clouds_metadata(gateway, place, private, host):
    gateway.answers = {IMAGES: link(f"http://{host}/latest")}
    with pytest.raises(DownloadCorrupt, match=r"is a metadata.* address and is blocked"):
        await buy_images(line(gateway), STILL, place, terms("link"))
    gateway.answers = {CONTENT: moved(f"http://{host}/latest")}
    with pytest.raises(DownloadCorrupt, match=r"is a metadata.* address and is blocked"):
        await buy_video(line(gateway), clip(), place, terms("content"))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "javascript:alert(1)", "http://[::1", ""])
async def test_other_links(gateway, place, url):
    gateway.answers = {IMAGES: link(url or " ")}
    with pytest.raises(MediaError):
        await buy_images(line(gateway), STILL, place, terms())
    assert await states(place) == ["in_doubt"]


async def test_what_a_neighbour_answers_is_in_no_error(gateway, place, monkeypatch):
    monkeypatch.setattr(retry, "clock", Hurried(retry.clock))
    neighbour = Stranger(answer(500, b"a secret of the house"), host="127.0.0.1")
    gateway.answers = {IMAGES: link(f"{neighbour.url}/file"), CONTENT: moved(f"{neighbour.url}/file")}
    with pytest.raises(DownloadCorrupt, match="HTTP 500") as caught:
        await buy_images(line(gateway), STILL, place, terms())
    assert "secret" not in str(caught.value)
    with pytest.raises(MediaError, match="answers HTTP 500") as caught:
        await buy_video(line(gateway), clip(), place, terms())
    assert "secret" not in str(caught.value)
    assert caught.value.job_id == gateway.simulator.jobs[0].id


class Hurried:
    """A clock on which nobody sleeps."""

    def __init__(self, clock):
        self._clock = clock

    def __getattr__(self, name):
        return getattr(self._clock, name)

    async def sleep(self, seconds):
        await self._clock.sleep(0)


# ---------------------------------------------------------------- videos


async def test_a_private_address_is_not_asked_for_a_video(gateway, stranger, place):
    gateway.answers = {CONTENT: moved(f"{stranger.url}/film?signature=secret")}
    with pytest.raises(DownloadCorrupt, match=r"127\.0\.0\.2 is not a public address.*ALLOW_PRIVATE_URLS") as caught:
        await buy_video(line(gateway), clip(), place, terms())
    assert caught.value.job_id == gateway.simulator.jobs[0].id and not caught.value.transient
    assert "can be fetched again" in str(caught.value) and "secret" not in str(caught.value)
    assert stranger.lines == 0
    assert await states(place) == ["submitted"]
    gateway.answers = {}
    await buy_video(line(gateway), clip(), place, terms())
    assert len(gateway.simulator.jobs) == 1


async def test_the_next_redirect_is_checked_too(gateway, stranger, place, private):
    stranger.given = moved("http://169.254.169.254/latest")
    gateway.answers = {CONTENT: moved(f"{stranger.url}/film")}
    with pytest.raises(DownloadCorrupt, match=r"is a metadata.* address and is blocked"):
        await buy_video(line(gateway), clip(), place, terms())
    [asked] = stranger.asked
    assert nothing_of_ours(asked)


async def test_a_round_of_redirects_ends(gateway, place):
    gateway.answers = {CONTENT: moved("content")}
    with pytest.raises(DownloadCorrupt, match="redirects more than 5 times"):
        await buy_video(line(gateway), clip(), place, terms())
    assert len(gateway.at("/content")) == 6


async def test_a_video_elsewhere_is_taken_up_where_it_broke_off_without_the_key(gateway, stranger, place, private):
    parts = iter([len(FILM) // 2, 0])

    def given(asked):
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        said = {"Content_Range": f"bytes {start}-{len(FILM) - 1}/{len(FILM)}"} if start else {}
        return answer(206 if start else 200, FILM[start:], ETag='"a"', **said)[: -next(parts) or None]

    stranger.given = given
    gateway.answers = {CONTENT: moved(f"{stranger.url}/film")}
    asset = await buy_video(line(gateway), clip(), place, terms())
    assert await place.read(place.key_of(asset.uri)) == FILM
    assert len(stranger.asked) == 2 and all(map(nothing_of_ours, stranger.asked))


@pytest.fixture
def names(monkeypatch):
    """A phone book of our own in place of DNS, by name; each look-up takes the next addresses."""
    real, book = socket.getaddrinfo, {}

    def getaddrinfo(host, port, *args, **options):
        host = host.decode() if isinstance(host, bytes) else host
        if host not in book:
            return real(host, port, *args, **options)
        return [entry for address in book[host].pop(0) for entry in real(address, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return book


@pytest.mark.parametrize("kind", ["image", "video"])
async def test_a_name_leads_to_the_address_that_was_checked(gateway, stranger, place, names, private, kind):
    """Looked up a second time it would lead into the cloud's metadata."""
    stranger.given = answer(body=png() if kind == "image" else FILM)
    names["films.example"] = [["127.0.0.2"], ["169.254.169.254"]]
    there = f"http://films.example:{stranger.port}/film"
    gateway.answers = {IMAGES: link(there), CONTENT: moved(there)}
    if kind == "image":
        await buy_images(line(gateway), STILL, place, terms())
    else:
        await buy_video(line(gateway), clip(), place, terms())
    [asked] = stranger.asked
    assert asked.headers["host"] == f"films.example:{stranger.port}"
    assert names["films.example"] == [["169.254.169.254"]]


async def test_a_name_with_one_private_address_is_refused(gateway, stranger, place, names):
    names["films.example"] = [["1.1.1.1", "127.0.0.2"]]
    gateway.answers = {CONTENT: moved(f"http://films.example:{stranger.port}/film")}
    with pytest.raises(DownloadCorrupt, match=r"127\.0\.0\.2 is not a public address"):
        await buy_video(line(gateway), clip(), place, terms())
    assert stranger.lines == 0


async def test_the_next_address_is_tried_when_one_is_dead(gateway, stranger, place, names, private):
    stranger.given = answer(body=FILM)
    names["films.example"] = [["127.0.0.3", "127.0.0.2"]]
    gateway.answers = {CONTENT: moved(f"http://films.example:{stranger.port}/film")}
    await buy_video(line(gateway), clip(), place, terms())
    assert len(stranger.asked) == 1


@pytest.fixture
def trusted(tmp_path, trust):
    """A context for servers called localhost, which this process trusts."""
    authority = write_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    trust(authority)
    return context


async def test_certificates_are_checked_against_the_name(gateway, place, names, private, trusted):
    films = Stranger(answer(body=FILM), host="127.0.0.1", context=trusted)
    names["localhost"], names["wolf.example"] = [["127.0.0.1"]], [["127.0.0.1"]] * 3
    gateway.answers = {CONTENT: moved(f"https://localhost:{films.port}/film")}
    await buy_video(line(gateway), clip(), place, terms())
    assert len(films.asked) == 1
    gateway.answers = {CONTENT: moved(f"https://wolf.example:{films.port}/film")}
    with pytest.raises(ProviderUnavailable, match="could not be reached"):
        await buy_video(line(gateway), clip("another boat"), place, terms())
    assert len(films.asked) == 1


async def test_what_the_proxy_reaches_is_checked_as_far_as_it_can_be(gateway, place, monkeypatch):
    proxy = Stranger(answer(body=FILM), host="127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("http_proxy", proxy.url)
    gateway.answers = {CONTENT: moved("http://10.0.0.1/film")}
    with pytest.raises(DownloadCorrupt, match="not a public address"):
        await buy_video(line(gateway), clip(), place, terms())
    gateway.answers = {CONTENT: moved("http://1.1.1.1/film")}
    await buy_video(line(gateway), clip(), place, terms())
    [asked] = proxy.asked
    assert asked.path == "http://1.1.1.1/film" and nothing_of_ours(asked)
