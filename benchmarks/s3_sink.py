"""A bucket that forgets: everything is counted, and of large objects only the beginning is kept.

    python benchmarks/s3_sink.py [--tls FOLDER] [--latency SECONDS]

Speaks as much of S3 as obstore, boto3 and a ledger of conditional writes ask for; it checks no signature. What was
not kept reads as zeros. `GET /_stats` tells the objects with their sizes, the requests of each kind, and how many
multipart uploads are open; `GET /_requests` tells only the requests. `GET /_copies?of=KEY&to=KEY&count=N` makes
copies of a small object, each with another hash for "HASH" in its key and in itself; no figure counts them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import unquote
from xml.sax.saxutils import escape

from http_server import HEAD_BYTES, Answer, Body, Request, cpu_seconds, json_answer, range_of, run

ZEROS = bytes(1024 * 1024)
PAGE = 1000


@dataclass(frozen=True)
class Stored:
    """An object: all of a small one, else what it begins with."""

    size: int
    kept: bytes
    etag: str
    content_type: str
    modified: datetime

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        kept = self.kept[start : start + length]
        yield kept
        left = length - len(kept)
        while left > 0:
            yield ZEROS[:left]
            left -= len(ZEROS)


@dataclass
class Upload:
    """A multipart upload that is open."""

    key: str
    content_type: str
    parts: dict[int, tuple[int, bytes]] = field(default_factory=dict)


class Sink:
    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.objects: dict[str, Stored] = {}
        self._keys: list[str] | None = None  # in order, for lists, until an object comes or goes
        self.uploads: dict[str, Upload] = {}
        self.requests = Counter[str]()
        self.numbers = itertools.count(1)

    async def serve(self, request: Request) -> Answer:
        match request.path:
            case "/_stats":
                return json_answer(self.stats())
            case "/_requests":
                return json_answer(dict(self.requests))
            case "/_copies":
                return self._make_copies(request.query)
            case _:
                pass
        if self.latency:
            await asyncio.sleep(self.latency)
        key, query = request.path.lstrip("/"), request.query
        kind, answer = self._handled(request, key, query)
        self.requests[kind] += 1
        return answer

    def stats(self) -> dict[str, object]:
        return {
            "cpu": cpu_seconds(),
            "requests": dict(self.requests),
            "objects": {key: stored.size for key, stored in self.objects.items()},
            "open_uploads": len(self.uploads),
        }

    def _handled(self, request: Request, key: str, query: dict[str, str]) -> tuple[str, Answer]:
        """The kind of a request and its answer; keys begin with the bucket's name."""
        in_bucket = "/" in key.rstrip("/")
        match request.method:
            case "PUT" if not in_bucket:
                return "create bucket", Answer()
            case "PUT" if "uploadId" in query:
                return "part", self._part(query, request.body)
            case "PUT" if "x-amz-copy-source" in request.headers:
                return "copy", self._copy(request, key)
            case "PUT":
                return "put", self._put(request, key)
            case "POST" if "uploads" in query:
                return "begin parts", self._begin(request, key)
            case "POST" if "uploadId" in query:
                return "complete parts", self._complete(request, key, query["uploadId"])
            case "POST" if "delete" in query:
                bucket = key.partition("/")[0]
                keys = [_plain(name) for name in re.findall(r"<Key>(.*?)</Key>", bytes(request.body.kept).decode())]
                for name in keys:
                    self._remove(f"{bucket}/{name}")
                rows = "".join(f"<Deleted><Key>{escape(name)}</Key></Deleted>" for name in keys)
                return "delete", _xml(f"<DeleteResult>{rows}</DeleteResult>")
            case "DELETE" if "uploadId" in query:
                gone = self.uploads.pop(query["uploadId"], None)
                return "abort parts", Answer(204) if gone else _error(404, "NoSuchUpload")
            case "DELETE":
                self._remove(key)
                return "delete", Answer(204)
            case "GET" if not in_bucket:
                return "list", self._list(key.rstrip("/"), query)
            case "GET" | "HEAD":
                return request.method.lower(), self._get(request, key)
            case _:
                return "unknown", _error(405, "MethodNotAllowed")

    def _store(self, key: str, size: int, kept: bytes, content_type: str, etag: str | None = None) -> Stored:
        """Keep an object. A copy has the ETag of its original, as in S3."""
        stored = Stored(size, kept, etag or f'"{next(self.numbers):032x}"', content_type, datetime.now(UTC))
        if key not in self.objects:
            self._keys = None
        self.objects[key] = stored
        return stored

    def _remove(self, key: str) -> None:
        if self.objects.pop(key, None):
            self._keys = None

    def _refused(self, request: Request, key: str) -> Answer | None:
        """What a conditional write is answered when its condition does not hold."""
        there = self.objects.get(key)
        if request.headers.get("if-none-match") == "*" and there:
            return _error(412, "PreconditionFailed")
        if wanted := request.headers.get("if-match"):
            if there is None:
                return _error(404, "NoSuchKey")
            if wanted != there.etag:
                return _error(412, "PreconditionFailed")
        return None

    def _put(self, request: Request, key: str) -> Answer:
        if refused := self._refused(request, key):
            return refused
        body = request.body
        content_type = request.headers.get("content-type", "binary/octet-stream")
        return Answer(headers={"ETag": self._store(key, body.size, bytes(body.kept), content_type).etag})

    def _copy(self, request: Request, key: str) -> Answer:
        source = self.objects.get(unquote(request.headers["x-amz-copy-source"]).lstrip("/"))
        if source is None:
            return _error(404, "NoSuchKey")
        if refused := self._refused(request, key):
            return refused
        stored = self._store(key, source.size, source.kept, source.content_type, source.etag)
        return _xml(f"<CopyObjectResult><ETag>{escape(stored.etag)}</ETag></CopyObjectResult>")

    def _begin(self, request: Request, key: str) -> Answer:
        upload_id = f"upload-{next(self.numbers)}"
        self.uploads[upload_id] = Upload(key, request.headers.get("content-type", "binary/octet-stream"))
        bucket, _, name = key.partition("/")
        return _xml(
            f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>"
            f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
        )

    def _part(self, query: dict[str, str], body: Body) -> Answer:
        upload, number = self.uploads.get(query["uploadId"]), int(query["partNumber"])
        if upload is None:
            return _error(404, "NoSuchUpload")
        upload.parts[number] = body.size, bytes(body.kept[:HEAD_BYTES]) if number == 1 else b""
        return Answer(headers={"ETag": f'"{next(self.numbers):032x}"'})

    def _complete(self, request: Request, key: str, upload_id: str) -> Answer:
        upload = self.uploads.get(upload_id)
        if upload is None:
            return _error(404, "NoSuchUpload")
        if refused := self._refused(request, key):
            return refused
        numbers = [int(found) for found in re.findall(r"<PartNumber>(\d+)<", bytes(request.body.kept).decode())]
        if numbers != sorted(upload.parts):
            return _error(400, "InvalidPart")
        size = sum(upload.parts[number][0] for number in numbers)
        stored = self._store(key, size, upload.parts[numbers[0]][1], upload.content_type)
        del self.uploads[upload_id]
        return _xml(
            f"<CompleteMultipartUploadResult><ETag>{escape(stored.etag)}</ETag></CompleteMultipartUploadResult>"
        )

    def _get(self, request: Request, key: str) -> Answer:
        stored = self.objects.get(key)
        if stored is None:
            return _error(404, "NoSuchKey")
        headers = {
            "ETag": stored.etag,
            "Content-Type": stored.content_type,
            "Last-Modified": format_datetime(stored.modified, usegmt=True),
            "Accept-Ranges": "bytes",
        }
        start, length, status = 0, stored.size, 200
        if span := range_of(request, stored.size):
            (start, length), status = span, 206
            if start >= stored.size:
                return _error(416, "InvalidRange")
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{stored.size}"
        return Answer(status, headers=headers, pieces=stored.pieces(start, length), length=length)

    def _list(self, bucket: str, query: dict[str, str]) -> Answer:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = max(query.get("continuation-token", ""), query.get("start-after", ""))
        most = min(int(query.get("max-keys", PAGE)), PAGE)
        rows: list[str] = []
        folders: list[str] = []
        last, more = "", False
        for name in self._names(bucket, prefix, after):
            if more := len(rows) + len(folders) >= most:
                break
            last = name
            head, found, _ = name.removeprefix(prefix).partition(delimiter) if delimiter else (name, "", "")
            if found:
                if (folder := f"{prefix}{head}{delimiter}") not in folders:
                    folders.append(folder)
                continue
            stored = self.objects[f"{bucket}/{name}"]
            rows.append(
                f"<Contents><Key>{escape(name)}</Key><LastModified>{stored.modified:%Y-%m-%dT%H:%M:%S.000Z}"
                f"</LastModified><ETag>{escape(stored.etag)}</ETag><Size>{stored.size}</Size></Contents>"
            )
        rows += [f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>" for folder in folders]
        token = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if more else ""
        return _xml(
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(rows)}</KeyCount>"
            f"<MaxKeys>{most}</MaxKeys><IsTruncated>{'true' if more else 'false'}</IsTruncated>{token}{''.join(rows)}"
            "</ListBucketResult>"
        )

    def _names(self, bucket: str, prefix: str, after: str) -> Iterator[str]:
        """The names in a bucket that begin so and come after another, in order."""
        if self._keys is None:
            self._keys = sorted(self.objects)
        first = f"{bucket}/{prefix}"
        start = max(bisect_left(self._keys, first), bisect_right(self._keys, f"{bucket}/{after}") if after else 0)
        for key in itertools.islice(self._keys, start, None):
            if not key.startswith(first):
                return
            yield key.removeprefix(f"{bucket}/")

    def _make_copies(self, query: dict[str, str]) -> Answer:
        original = self.objects[query["of"]]
        for number in range(int(query["count"])):
            name = hashlib.sha256(str(number).encode()).hexdigest()
            kept = original.kept.replace(b"HASH", name.encode())
            self._store(query["to"].replace("HASH", name), len(kept), kept, original.content_type)
        return Answer()


def _plain(name: str) -> str:
    return name.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _xml(text: str, status: int = 200) -> Answer:
    return Answer(status, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), {"Content-Type": "application/xml"})


def _error(status: int, code: str) -> Answer:
    return _xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tls", type=Path, help="folder with server.pem and server.key")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    given = parser.parse_args()
    asyncio.run(run(Sink(given.latency).serve, given.tls))


if __name__ == "__main__":
    main()
