"""Two servers that misbehave byte by byte: one before a provider, one before a bucket.

`FaultyProvider` hands everything on to a simulator but the content of videos, which it sends itself, raw, so that it
may say one thing and send another. `FaultyBuckets` hands everything on to an S3 server, and may cut an upload at any
byte of it, fail it, or lose the reply.
"""

import hashlib
import http.client
import re
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import boto3

from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import storage_at

PIECE = 64 * 1024
HOP = ("transfer-encoding", "connection", "content-length", "keep-alive")


@dataclass
class Asked:
    """One request, with the names of its headers in lower case; its body is still on the line."""

    method: str
    path: str
    headers: dict[str, str]
    file: object = field(repr=False)

    @property
    def length(self):
        return int(self.headers.get("content-length", 0))


class Raw:
    """A server that answers each connection in a thread, by `serve(line, asked)`; True keeps the connection."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with suppress(OSError):  # closed
            while True:
                line, _ = self.listener.accept()
                threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line):
        with line, line.makefile("rb") as file, suppress(OSError, http.client.HTTPException):
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (asked := read_head(file)) and self.serve(line, asked):
                pass

    def close(self):
        self.listener.close()


def read_head(file):
    first = file.readline().decode()
    if not first:
        return None
    method, path, _ = first.split(" ", 2)
    headers = {}
    while (row := file.readline().decode().strip()) != "":
        name, _, text = row.partition(":")
        headers[name.lower()] = text.strip()
    return Asked(method, path, headers, file)


def hand_on(line, asked, url, body):
    """Forward a request to the server at `url`, and its answer to the client."""
    answer, data = forward(asked, url, body)
    reply(line, asked, answer.status, data, answer.getheaders())
    return True


def forward(asked, url, body):
    parts = urlsplit(url)
    behind = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    headers = {name: text for name, text in asked.headers.items() if name not in HOP}
    behind.request(asked.method, asked.path, body if asked.method in ("PUT", "POST") else None, headers)
    answer = behind.getresponse()
    data = answer.read()
    behind.close()
    return answer, data


def reply(line, asked, status, data, headers=()):
    length = next((text for name, text in headers if name.lower() == "content-length"), len(data))
    kept = "".join(f"{name}: {text}\r\n" for name, text in headers if name.lower() not in HOP)
    length = length if asked.method == "HEAD" else len(data)
    line.sendall(f"HTTP/1.1 {status} X\r\n{kept}Content-Length: {length}\r\n\r\n".encode() + data)


def reset(line):
    """Break a connection so that what is under way on it is lost."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


# ---------------------------------------------------------------- before a provider


class FaultyProvider(Raw):
    """A provider whose videos are all `film`.

    Attributes:
        plan: Called with the number of a request for a job's content (0 is the first), and that request; what it
            returns is sent: bytes as they are, after pauses of so many seconds where there are numbers. `RESET` ends
            it with a reset; the end of it closes the connection. None is the film as it ought to be sent.
        asked: The requests for contents, by job.
        sent: Bytes of contents put on the line, by job, without their headers.
    """

    RESET = object()

    def __init__(self, simulator, film):
        self.simulator, self.film = simulator, film
        self.root = simulator.url.removesuffix("/v1")
        self.plan = lambda number, asked: None
        self.asked, self.sent = defaultdict(list), Counter()
        self.lock = threading.Lock()
        super().__init__()

    def serve(self, line, asked):
        body = asked.file.read(asked.length)
        path = re.search(r"/videos/([^/]+)/content", asked.path)
        if not path:
            return hand_on(line, asked, self.root, body)
        job = path[1]
        with self.lock:
            self.asked[job].append(asked)
            number = len(self.asked[job]) - 1
        parts = self.plan(number, asked)
        for part in whole(self.film) if parts is None else parts:
            if part is self.RESET:
                reset(line)
                return False
            if isinstance(part, int | float):
                time.sleep(part)
                continue
            head, blank_line, content = part.partition(b"\r\n\r\n") if part.startswith(b"HTTP/") else (b"", b"", part)
            line.sendall(head + blank_line + content)
            with self.lock:
                self.sent[job] += len(content)
        return False


def etag(film):
    return f'"{hashlib.sha256(film).hexdigest()[:16]}"'


def head(status=200, **headers):
    """The head of an answer; names of headers with _ for -; without a length unless one is given."""
    rows = {"Content-Type": "video/mp4", "Connection": "close", **headers}
    lines = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in rows.items() if text is not None)
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


def whole(film, **headers):
    return [head(Content_Length=len(film), **headers) + film]


def part_of(film, asked, *, ranges=True, tag=True, upto=None):
    """What a good server answers, its connection ending before byte `upto` of the film."""
    mark = {"ETag": etag(film)} if tag else {}
    offset = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
    fits = asked.headers.get("if-range", etag(film)) == etag(film)
    if not (ranges and offset and fits):
        return [head(Content_Length=len(film), **mark), film[:upto]]
    start = int(offset[1])
    if start >= len(film):
        return [head(416, Content_Range=f"bytes */{len(film)}", Content_Length=0, **mark)]
    where = f"bytes {start}-{len(film) - 1}/{len(film)}"
    return [head(206, Content_Length=len(film) - start, Content_Range=where, **mark), film[start:upto]]


# ---------------------------------------------------------------- before a bucket


class FaultyBuckets(Raw):
    """The buckets of `s3` (the fixture), by an address of their own.

    Attributes:
        fault: Called with each request; what it returns happens to it:
            ("cut", n): n bytes of the body are passed on, then both connections end.
            ("reset",): nothing is passed on, the connection is reset.
            ("lost",): it is done, and the connection is reset instead of a reply.
            (status, code): nothing is passed on, and that is the answer.
            None: all is well.
        asked: All requests.
    """

    def __init__(self, s3):
        self.s3, self.fault, self.asked = s3, lambda asked: None, []
        self.client = boto3.client(  # goes directly
            "s3",
            endpoint_url=s3.url,
            region_name="us-east-1",
            aws_access_key_id=s3.key,
            aws_secret_access_key=s3.secret,
        )
        super().__init__()

    def storage(self):
        """A fresh bucket, as a storage that is reached through here."""
        options = StorageOptions(
            endpoint_url=self.url,
            region="us-east-1",
            access_key_id=self.s3.key,
            secret_access_key=self.s3.secret,
        )
        return storage_at(f"s3://{self.s3.bucket()}/some/prefix", options)

    def serve(self, line, asked):
        self.asked.append(asked)
        fault = self.fault(asked)
        if fault and fault[0] == "cut":
            return self._cut(line, asked, fault[1])
        if fault and fault[0] == "reset":
            reset(line)
            return False
        body = asked.file.read(asked.length)
        if len(body) < asked.length:
            return self._pass_short(asked, body)
        if fault and fault[0] == "lost":
            forward(asked, self.s3.url, body)
            reset(line)
            return False
        if fault:
            status, code = fault
            reply(line, asked, status, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
            return True
        return hand_on(line, asked, self.s3.url, body)

    def _cut(self, line, asked, nbytes):
        self._pass_short(asked, asked.file.read(min(nbytes, asked.length)))
        reset(line)
        return False

    def _pass_short(self, asked, body):
        """The real server has to stand an upload that ends before its length, too."""
        parts = urlsplit(self.s3.url)
        rows = "".join(f"{name}: {text}\r\n" for name, text in asked.headers.items())
        with socket.create_connection((parts.hostname, parts.port), timeout=10) as behind:
            behind.sendall(f"{asked.method} {asked.path} HTTP/1.1\r\n{rows}\r\n".encode() + body)
            behind.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                while behind.recv(PIECE):
                    pass
        return False
