"""Fetching URLs that others wrote: what may be reached, what never, and how much is taken."""

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prefect_media.errors import InvalidRequest
from prefect_media.media import safe_fetch as web
from prefect_media.media.reach import objection
from prefect_media.media.safe_fetch import fetch
from prefect_media.user_input import redact_url


@contextlib.contextmanager
def served(answers, context=None):
    """A server on a local port; `answers` maps a path to its (status, headers, body). Yields it and what it saw."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, dict(self.headers)))
            status, headers, body = answers.get(self.path, (404, {}, b"no"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.seen, server.port = seen, server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Names(dict):
    """Addresses by host name."""

    def __init__(self):
        super().__init__()
        self.asked = []


@pytest.fixture
def names(monkeypatch):
    """A phone book of our own in place of DNS; counts how often it is asked."""
    real, book = socket.getaddrinfo, Names()

    def getaddrinfo(host, port, *args, **options):
        if host not in book:
            return real(host, port, *args, **options)
        book.asked.append(host)
        return [entry for address in book[host] for entry in real(address, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return book


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "240.0.0.1",
    "::1",
    "fd00::1",
    "fec0::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "::7f00:1",
    "2001:db8::1",
]
NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_for_those_who_allow_them(address):
    assert objection(ipaddress.ip_address(address), private=False)
    assert objection(ipaddress.ip_address(address), private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_for_nobody(address):
    assert objection(ipaddress.ip_address(address), private=False)
    assert objection(ipaddress.ip_address(address), private=True)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:1.1.1.1"]
)
def test_public_addresses_are_for_everybody(address):
    assert objection(ipaddress.ip_address(address), private=False) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "localhost", "[::1]"])
async def test_a_private_address_in_any_spelling(host):
    with served({"/": (200, {}, b"secret")}) as server:
        with pytest.raises(InvalidRequest, match=r"is not a public address.*PREFECT_MEDIA_ALLOW_PRIVATE_URLS"):
            await fetch(f"http://{host}:{server.port}/", limit=100)
        assert not server.seen


async def test_a_private_address_behind_a_name(names):
    with served({"/": (200, {}, b"secret")}) as server:
        names["rebind.example"] = ["127.0.0.1"]
        names["mixed.example"] = ["1.1.1.1", "127.0.0.1"]
        for host in names:
            with pytest.raises(InvalidRequest, match=r"127\.0\.0\.1 is not a public address"):
                await fetch(f"http://{host}:{server.port}/", limit=100)
        assert not server.seen


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "metadata.google.internal", "[fd00:ec2::254]"])
async def test_cloud_metadata_is_never_fetched(host, private):
    with pytest.raises(InvalidRequest, match=r"is a metadata.* address and is blocked"):
        await fetch(f"http://{host}/latest/meta-data/", limit=100, private=private)


async def test_a_name_is_resolved_once_and_the_checked_address_is_asked_by_that_name(names):
    with served({"/fox.png?a=b": (200, {}, b"fox")}) as server:
        names["fox.example"] = ["127.0.0.1"]
        assert await fetch(f"http://fox.example:{server.port}/fox.png?a=b#c", limit=100, private=True) == b"fox"
        [(_, headers)] = server.seen
        assert names.asked == ["fox.example"]
        assert headers["Host"] == f"fox.example:{server.port}"


async def test_the_next_address_is_tried_when_one_is_dead(names):
    with served({"/": (200, {}, b"fox")}) as server:
        names["fox.example"] = ["::1", "127.0.0.1"]
        assert await fetch(f"http://fox.example:{server.port}/", limit=100, private=True) == b"fox"


async def test_redirects_are_followed_and_each_one_is_checked():
    answers = {
        "/a": (302, {"Location": "/b?c"}, b""),
        "/d": (200, {}, b"fox"),
        "/out": (302, {"Location": "http://169.254.169.254/latest"}, b""),
        "/file": (302, {"Location": "file:///etc/passwd"}, b""),
        "/round": (302, {"Location": "/round"}, b""),
    }
    with served(answers) as server:
        here = f"http://127.0.0.1:{server.port}"
        answers["/b?c"] = (307, {"Location": f"{here}/d"}, b"")
        assert await fetch(f"{here}/a", limit=100, private=True) == b"fox"
        for path, said in (
            ("/out", r"is a metadata.* address and is blocked"),
            ("/file", "not an http"),
            ("/round", "more than 5 times"),
        ):
            with pytest.raises(InvalidRequest, match=said):
                await fetch(here + path, limit=100, private=True)
        assert len(server.seen) == 3 + 1 + 1 + 6


async def test_no_more_is_taken_than_wanted():
    with served({"/": (200, {}, b"x" * 1001), "/fits": (200, {}, b"x" * 1000)}) as server:
        here = f"http://127.0.0.1:{server.port}"
        assert len(await fetch(f"{here}/fits", limit=1000, private=True)) == 1000
        with pytest.raises(InvalidRequest, match="larger than 1,000 bytes"):
            await fetch(f"{here}/", limit=1000, private=True)


async def test_a_server_that_takes_for_ever(monkeypatch):
    monkeypatch.setattr(web, "PATIENCE", 0.2)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(InvalidRequest, match=r"not there within 0.2 s|ReadTimeout"),
    ):
        await fetch(f"http://127.0.0.1:{silent.getsockname()[1]}/", limit=1000, private=True)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.example/x", "http://", "http://[::1", "http://0177.0.0.1/", "http://a:b/"]
)
async def test_other_urls(url):
    with pytest.raises(InvalidRequest, match="nothing was sent"):
        await fetch(url, limit=100)


async def test_no_secret_of_a_url_is_told():
    for url in ("http://me:secret@127.0.0.1:9/fox.png?sig=secret#secret", "http://me:secret@no-such.invalid/fox.png"):
        for private in (True, False):
            with pytest.raises(InvalidRequest) as caught:
                await fetch(url, limit=100, private=private)
            assert "secret" not in str(caught.value)
            assert "/fox.png" in str(caught.value)
    assert redact_url("https://me:secret@host:1/a/b@c?d#e") == "https://host:1/a/b@c"
    assert redact_url("a/file.png") == "a/file.png"


async def test_a_proxy_is_used_and_what_leads_inside_is_refused_all_the_same(names, monkeypatch):
    names["fox.example"] = ["1.1.1.1"]
    with served({"http://fox.example/fox.png": (200, {}, b"fox")}) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        assert await fetch("http://fox.example/fox.png", limit=100) == b"fox"
        for host in ("10.0.0.1", "metadata.google.internal"):
            with pytest.raises(InvalidRequest, match=r"not a public address|metadata"):
                await fetch(f"http://{host}/", limit=100)
        assert [path for path, _ in proxy.seen] == ["http://fox.example/fox.png"]


def certificate(folder, name):
    """A certificate for a name, signed by itself: (path of certificate and key)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


async def test_certificates_are_checked_against_the_name_although_an_address_is_connected_to(names, tmp_path, trust):
    pem = certificate(tmp_path, "fox.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    names["fox.example"] = names["wolf.example"] = ["127.0.0.1"]
    trust(pem)
    with served({"/": (200, {}, b"fox")}, context) as server:
        assert await fetch(f"https://fox.example:{server.port}/", limit=100, private=True) == b"fox"
        with pytest.raises(InvalidRequest, match="ConnectError"):
            await fetch(f"https://wolf.example:{server.port}/", limit=100, private=True)
