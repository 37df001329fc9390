"""The floor: what the machine can do when nothing but the work is done.

Sockets by hand; one connection for the orders and for one list of all jobs each second; four threads, each of which
pumps through one small buffer from the provider into the bucket, hashing on the way.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import urlsplit

from client import Done, Plan, Run

TRANSFERS = 4
IMAGES_AT_ONCE = 64
BUFFER_BYTES = 256 * 1024
PAGE = 100


class Wire:
    """A connection that is kept: HTTP/1.1 by hand."""

    _tls: ssl.SSLContext | None = None

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self._host = f"{parts.hostname}:{parts.port}"
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._flags = socket.MSG_WAITALL
        if parts.scheme == "https":
            Wire._tls = Wire._tls or ssl.create_default_context()
            self._socket = Wire._tls.wrap_socket(self._socket, server_hostname=parts.hostname)
            self._flags = 0
        self._rest = b""

    def send(self, method: str, path: str, headers: str, body: bytes = b"") -> None:
        self._socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{headers}\r\n".encode() + body)

    def write(self, piece: memoryview) -> None:
        self._socket.sendall(piece)

    def head(self) -> int:
        """The length of the body that follows."""
        data = self._rest
        while (end := data.find(b"\r\n\r\n")) < 0:
            piece = self._socket.recv(4096)
            if not piece:
                raise ConnectionError("the connection was closed")
            data += piece
        head, self._rest = data[:end].decode().lower(), data[end + 4 :]
        if " 200 " not in head.partition("\r\n")[0]:
            raise ConnectionError(head)
        return int(head.partition("content-length: ")[2].partition("\r\n")[0])

    def read_into(self, view: memoryview) -> None:
        """Fill `view` from the body."""
        filled = min(len(view), len(self._rest))
        view[:filled], self._rest = self._rest[:filled], self._rest[filled:]
        while filled < len(view):
            count = self._socket.recv_into(view[filled:], 0, self._flags)
            if not count:
                raise ConnectionError("the connection was closed")
            filled += count

    def body(self) -> bytes:
        data = bytearray(self.head())
        self.read_into(memoryview(data))
        return bytes(data)


def prepared(plan: Plan) -> Run:
    async def run() -> Done:
        work = videos if plan.kind == "video" else _images
        return Done(await asyncio.to_thread(work, plan))

    return run


def videos(plan: Plan, landed: Callable[[int, str], None] = lambda number, sha256: None) -> list[str]:
    """Order all, store each when it is done; `landed` is told the number and the hash of each in some thread."""
    desk = Wire(plan.provider)
    waiting = dict[str, int]()
    for number in range(plan.jobs):
        order = {"model": "sora-2", "prompt": plan.prompt(number), "seconds": "4", "size": "1280x720"}
        body = json.dumps(order).encode()
        desk.send("POST", "/v1/videos", f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n", body)
        waiting[json.loads(desk.body())["id"]] = number
    local = threading.local()

    def pump(job_id: str, number: int) -> str:
        if not hasattr(local, "source"):
            local.source, local.target = Wire(plan.provider), Wire(plan.sink)
            local.buffer = memoryview(bytearray(BUFFER_BYTES))
        sha256 = _pumped(local.source, local.target, local.buffer, job_id, hashing=plan.hashing)
        landed(number, sha256)
        return sha256

    moved: list[Future[str]] = []
    with ThreadPoolExecutor(TRANSFERS) as pool:
        look = time.monotonic() + 1
        while waiting:
            time.sleep(max(0.0, look - time.monotonic()))
            look += 1
            for job_id in _finished(desk) & waiting.keys():
                moved.append(pool.submit(pump, job_id, waiting.pop(job_id)))
    return [future.result() for future in moved]


def _finished(desk: Wire) -> set[str]:
    """Ids of all jobs that are done, by as many pages as the list has."""
    found, after = set[str](), ""
    while True:
        desk.send("GET", f"/v1/videos?limit={PAGE}&order=desc{after}", "")
        page = json.loads(desk.body())
        found |= {row["id"] for row in page["data"] if row["status"] == "completed"}
        if not page["has_more"]:
            return found
        after = f"&after={page['data'][-1]['id']}"


def _pumped(source: Wire, target: Wire, buffer: memoryview, job_id: str, *, hashing: bool) -> str:
    source.send("GET", f"/v1/videos/{job_id}/content", "")
    left = source.head()
    digest = hashlib.sha256()
    target.send("PUT", f"/bench/media/{job_id}.mp4", f"Content-Type: video/mp4\r\nContent-Length: {left}\r\n")
    while left:
        piece = buffer[: min(left, BUFFER_BYTES)]
        source.read_into(piece)
        if hashing:
            digest.update(piece)
        target.write(piece)
        left -= len(piece)
    target.body()
    return digest.hexdigest() if hashing else ""


def _images(plan: Plan) -> list[str]:
    numbers = queue.SimpleQueue[int]()
    for number in range(plan.jobs):
        numbers.put(number)
    hashes: list[str] = []
    one_at_a_time = threading.Lock()  # to decode more at once would only take more memory

    def work() -> None:
        source, target = Wire(plan.provider), Wire(plan.sink)
        while True:
            try:
                number = numbers.get_nowait()
            except queue.Empty:
                return
            order = {"model": "gpt-image-2", "prompt": plan.prompt(number), "size": "1024x1024", "n": 1}
            body = json.dumps(order).encode()
            path, kind = "/v1/images/generations", "Content-Type: application/json\r\n"
            source.send("POST", path, f"{kind}Content-Length: {len(body)}\r\n", body)
            length = source.head()
            with one_at_a_time:
                answer = bytearray(length)
                source.read_into(memoryview(answer))
                start = answer.index(b'"b64_json"')
                start = answer.index(b'"', answer.index(b":", start)) + 1
                image = binascii.a2b_base64(memoryview(answer)[start : answer.index(b'"', start)])
                del answer
                if plan.hashing:
                    hashes.append(hashlib.sha256(image).hexdigest())
                headers = f"Content-Type: image/png\r\nContent-Length: {len(image)}\r\n"
                target.send("PUT", f"/bench/media/{number}.png", headers, image)
                target.body()

    with ThreadPoolExecutor(IMAGES_AT_ONCE) as pool:
        for future in [pool.submit(work) for _ in range(min(IMAGES_AT_ONCE, plan.jobs))]:
            future.result()
    return hashes
