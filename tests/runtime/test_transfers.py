"""Large bodies: read into one buffer, also over TLS, and moved by threads that get the interpreter back soon."""

import hashlib
import random
import socket
import ssl
import sys
import threading
from contextlib import suppress

import pytest
from certificates import write_certificates
from faulty_server import Raw, head, part_of, reset

from prefect_media.providers import download as content
from prefect_media.providers.download import Content
from prefect_media.runtime.transfers import BLOCK_BYTES, SWITCH_SECONDS, _promptly, _threads, tls
from prefect_media.storage.body import Body

FILM = random.Random(5).randbytes(3 * BLOCK_BYTES + 12_345)
CUTS = [0, 1, 16 * 1024, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES + 77, len(FILM) - 1]


class Films(Raw):
    """Sends FILM, with TLS or without; the first answers break off as `cuts` say, softly or by a reset."""

    def __init__(self, context=None, cuts=(), hard=False, chunked=False):
        self.context, self.cuts, self.hard, self.chunked = context, list(cuts), hard, chunked
        self.lines = self.answers = 0
        super().__init__()
        if context:
            self.url = self.url.replace("http://127.0.0.1", "https://localhost")

    def _talk(self, line):
        self.lines += 1
        with suppress(OSError):
            super()._talk(self.context.wrap_socket(line, server_side=True) if self.context else line)

    def serve(self, line, asked):
        self.answers += 1
        cut = self.cuts.pop(0) if self.cuts else None
        if self.chunked:
            line.sendall(head(Transfer_Encoding="chunked", Connection="keep-alive"))
            for at in range(0, len(FILM), 100_000):
                piece = FILM[at : at + 100_000]
                line.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            line.sendall(b"0\r\n\r\n")
            return True
        start, *rest = part_of(FILM, asked, upto=cut)
        line.sendall(start.replace(b"Connection: close\r\n", b"") + b"".join(rest))
        if cut is not None and self.hard:
            reset(line)
        return cut is None


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A context for servers, and the file that says to trust them."""
    folder = tmp_path_factory.mktemp("certificates")
    trusted = write_certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context, trusted


@pytest.fixture(params=["plain", "TLS"])
def context(request, authority, trust, monkeypatch):
    monkeypatch.setattr(content, "BREAK_PAUSE", 0.01)
    if request.param == "plain":
        return None
    trust(authority[1])
    return authority[0]


def received(url):
    """All of it, copied as it passes: a block is valid only until the next."""
    body = Body(Content(f"{url}/v1/videos/video_1/content", {}, "localhost", "video_1"))
    data = b"".join(bytes(block) for block in body)
    assert body.sha256 == hashlib.sha256(data).hexdigest()
    return data


def test_what_comes_is_what_was_sent_and_the_connection_is_kept(context):
    films = Films(context)
    assert [received(films.url) == FILM for _ in range(3)] == [True] * 3
    assert (films.answers, films.lines) == (3, 1)


@pytest.mark.parametrize("hard", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("cut", CUTS)
def test_a_download_that_breaks_goes_on(context, cut, hard):
    films = Films(context, cuts=[cut], hard=hard)
    assert received(films.url) == FILM
    assert films.answers == 2


def test_a_body_without_a_length_comes_whole(context):
    assert received(Films(context, chunked=True).url) == FILM


def test_all_blocks_are_full_and_lie_in_one_buffer(context):
    """This is what makes a download cheap, and why whoever keeps a block has to copy it."""
    blocks = list(Content(f"{Films(context).url}/v1/videos/a/content", {}, "h", "a"))
    assert [len(block) for block in blocks] == [BLOCK_BYTES] * 3 + [12_345]
    assert len({id(block.obj) for block in blocks}) == 1


def test_a_large_read_over_tls_gets_more_than_one_record(authority, trust):
    trust(authority[1])
    films = Films(authority[0])
    port = int(films.url.rpartition(":")[2])
    with tls().wrap_socket(socket.create_connection(("localhost", port)), server_hostname="localhost") as line:
        line.sendall(b"GET / HTTP/1.1\r\n\r\n")
        few, many = bytearray(1000), bytearray(300_000)
        assert 0 < line.recv_into(few) <= 1000
        assert line.recv_into(many) == 300_000
        assert line.recv_into(many, 200_000) == 200_000


def test_threads_hand_over_sooner_only_while_something_is_moved():
    usual, inside, go_on = sys.getswitchinterval(), threading.Barrier(3), threading.Event()

    def work():
        inside.wait()
        go_on.wait()
        return sys.getswitchinterval()

    futures = [_threads().submit(_promptly, work) for _ in range(2)]
    inside.wait()
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    go_on.set()
    assert futures[0].result() == pytest.approx(SWITCH_SECONDS)
    futures[1].result()
    assert sys.getswitchinterval() == pytest.approx(usual)


@pytest.mark.parametrize("theirs", [0.02, 0.0001])
def test_what_somebody_else_sets_meanwhile_stays(theirs):
    usual = sys.getswitchinterval()
    try:
        _promptly(lambda: sys.setswitchinterval(theirs))
        assert sys.getswitchinterval() == pytest.approx(theirs)
    finally:
        sys.setswitchinterval(usual)
