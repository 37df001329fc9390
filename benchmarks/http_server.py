"""A small HTTP/1.1 server over asyncio, for the two servers of the benchmark: they must never be what is measured.

Bodies are counted as they come in and only their beginning is kept; files go out by `sendfile`, or with TLS in
slices of one buffer. One request at a time on each connection, which is what all clients here do.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import ssl
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

WHOLE_BYTES = 1024 * 1024
"""Bodies up to this size are kept."""

HEAD_BYTES = 256 * 1024
"""What is kept of longer ones."""

SLICE_BYTES = 256 * 1024
"""What is encrypted and written at once."""

BUFFER = memoryview(bytearray(1024 * 1024))
"""All connections read into this one: what is read is used before the next read begins. (A view, because asyncio's
TLS would read into slices of it, which of a bytearray are copies.)"""


class Chunks:
    """Takes the framing off a chunked body: HTTP's own, or that of `aws-chunked`, which only adds signatures."""

    def __init__(self) -> None:
        self.done = False
        self._line = bytearray()
        self._left = 0
        self._state = "size"

    def feed(self, view: memoryview) -> Iterator[memoryview]:
        while view and not self.done:
            if self._state == "data":
                piece, view = view[: self._left], view[self._left :]
                self._left -= len(piece)
                if not self._left:
                    self._state = "end of data"
                yield piece
                continue
            start = bytes(view[:4096])
            end = start.find(b"\n") + 1 or len(start)
            self._line += start[:end]
            view = view[end:]
            if self._line.endswith(b"\n"):
                self._take(bytes(self._line).strip())
                self._line.clear()

    def _take(self, line: bytes) -> None:
        if self._state == "size":
            self._left = int(line.partition(b";")[0], 16)
            self._state = "data" if self._left else "trailer"
        elif self._state == "end of data":
            self._state = "size"
        elif not line:
            self.done = True


class Body:
    """What a client sends: its size, and its content as far as it is kept."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.size = 0
        self.kept = bytearray()
        self._left = int(headers.get("content-length", 0))
        self._outer = Chunks() if "chunked" in headers.get("transfer-encoding", "") else None
        self._inner = Chunks() if "aws-chunked" in headers.get("content-encoding", "") else None

    @property
    def whole(self) -> bool:
        """Whether all of it is kept."""
        return self.size == len(self.kept)

    def feed(self, view: memoryview) -> bool:
        """Take a piece; whether it was the last."""
        if self._outer:
            for piece in self._outer.feed(view):
                self._unwrap(piece)
            return self._outer.done
        self._left -= len(view)
        self._unwrap(view)
        return self._left <= 0

    def _unwrap(self, view: memoryview) -> None:
        for piece in self._inner.feed(view) if self._inner else (view,):
            if self.whole and self.size + len(piece) <= WHOLE_BYTES:
                self.kept += piece
            elif self.whole:
                self.kept = (self.kept + piece)[:HEAD_BYTES]
            self.size += len(piece)


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Body


class Content:
    """A file of any size that is not on a disk, to be sent over and over."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.file = os.fdopen(os.memfd_create("content"), "w+b", buffering=0)
        for piece in pieces:
            self.file.write(piece)
        self.size = self.file.tell()
        self.view = memoryview(mmap.mmap(self.file.fileno(), self.size, prot=mmap.PROT_READ))


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content: Content | None = None
    """Sent in place of `body`: `length` bytes from `start` on."""
    start: int = 0
    length: int = 0
    pieces: Iterable[bytes] = ()
    """Sent in place of `body`, `length` bytes together."""


def json_answer(value: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


Serve = Callable[[Request], Awaitable[Answer]]


class Exchange(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._head = bytearray()
        self._request: Request | None = None
        self._transport: asyncio.Transport
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.set()
        if self._task:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        view = BUFFER[:nbytes]
        if self._request is None:
            self._head += view
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._request = _parsed(bytes(self._head[:end]))
            view = memoryview(bytes(self._head[end + 4 :]))
            self._head.clear()
            if "expect" in self._request.headers:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self._request.body.feed(view):
            request, self._request = self._request, None
            self._task = asyncio.ensure_future(self._respond(request))

    async def _respond(self, request: Request) -> None:
        try:
            answer = await self._serve(request)
        except Exception:
            traceback.print_exc()
            answer = Answer(500)
        with suppress(ConnectionError):
            await self._send(request, answer)

    async def _send(self, request: Request, answer: Answer) -> None:
        length = answer.length if answer.content or answer.pieces else len(answer.body)
        headers = {"Content-Length": str(length), **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode()
        if request.method == "HEAD":
            self._transport.write(head)
        elif answer.content and answer.length:
            self._transport.write(head)
            await self._send_content(answer.content, answer.start, answer.length)
        elif answer.pieces:
            self._transport.write(head)
            for piece in answer.pieces:
                self._transport.write(piece)
                await self._room.wait()
        else:
            self._transport.write(head + answer.body)

    async def _send_content(self, content: Content, start: int, length: int) -> None:
        if self._transport.get_extra_info("sslcontext") is None:
            await asyncio.get_running_loop().sendfile(self._transport, content.file, start, length, fallback=False)
            return
        for place in range(start, start + length, SLICE_BYTES):
            self._transport.write(content.view[place : min(place + SLICE_BYTES, start + length)])
            await self._room.wait()
            if self._transport.is_closing():
                return


def _parsed(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Request(method, unquote(parts.path), query, headers, Body(headers))


def range_of(request: Request, size: int) -> tuple[int, int] | None:
    """First byte and length of what a `Range` header asks for; None where there is none."""
    kind, _, span = request.headers.get("range", "").partition("=")
    if kind != "bytes":
        return None
    first, _, last = span.partition("-")
    if not first:
        length = min(int(last), size)
        return size - length, length
    end = min(int(last) + 1 if last else size, size)
    return int(first), max(0, end - int(first))


_started: list[float] = []


def cpu_seconds() -> float:
    """CPU seconds of this process since it began to serve."""
    return time.process_time() - _started[0]


async def run(serve: Serve, tls: Path | None) -> None:
    """Serve until the standard input ends, having said on the standard output where.

    Args:
        serve: Answers a request.
        tls: Folder with the `server.pem` and `server.key` to be known by; None serves plain HTTP.
    """
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls / "server.pem", tls / "server.key")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Exchange(serve), "127.0.0.1", 0, ssl=context, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    _started.append(time.process_time())
    print(json.dumps({"url": f"{'https' if tls else 'http'}://localhost:{port}"}), flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.read)
    server.close()
