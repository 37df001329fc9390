"""The content of a finished video: a body that goes on where it broke off."""

from __future__ import annotations

import re
import threading
from base64 import b64decode
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpx

from ..errors import DownloadCorrupt, InvalidRequest, JobExpired, JobFailed, MediaError, NotFound, ProviderUnavailable
from ..media.reach import Home, Refused
from ..runtime import clock
from ..runtime.transfers import BLOCK_BYTES, Block, fill
from ..runtime.unpacking import Unpacker
from ..settings import settings
from .connection import Connection, headers_of
from .dialects import dialect_of
from .error_mapping import answer_error
from .hops import Hops, interrupt, read_some
from .limits import ERROR_BYTES

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

NOT_YET_PAUSES = (1.0, 2.0)
"""Seconds before the content of a finished job is asked for again after a 404, and then once more."""

BREAKS = 5
"""How often a download may break in a row without progress."""

BREAK_PAUSE = 0.2
"""Seconds until a broken download is taken up again; doubled with every break that follows."""

SLOW_SECONDS = 60.0
"""How long a block may take; a connection that is slower than that is taken for broken, and what came is kept."""

SLOW_BYTES = 256 * 1024
"""What has to have come over such a connection to count as progress; otherwise a server that drips would never end."""

CAREFUL_BYTES = 64 * 1024
"""What is read first after a break. A connection that is reset takes the block along that is being read."""


async def content_of(connection: Connection, job_id: str, link: str | None = None) -> Content:
    """The content of a job, not asked for yet.

    Args:
        connection: Where to and as whom.
        job_id: The provider's id of the job.
        link: Where the job says that its video lies, for servers that don't serve it themselves.
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("content", job_id)
    assert method == "get"
    return Content(
        connection.download_url(path),
        await headers_of(connection),
        connection.host,
        job_id,
        limit=settings().max_video_bytes,
        link=link,
        elsewhere=dialect.elsewhere,
    )


class Content:
    """One video, to be read in a thread, block by block.

    Args:
        url: Where the provider serves it.
        headers: Sent to the provider's own origin, and to no other.
        host: The provider, as messages call it.
        job_id: The provider's id of the job.
        limit: Bytes at most; None for what is not kept as a whole.
        link: Where it lies when the provider says `elsewhere`.
        elsewhere: Words with which the provider says that it does not serve the content itself.

    Attributes:
        size: Its length in bytes, as the provider announced it; None where it didn't, or packed the body.
        digest: Algorithm and hash of the whole, as the provider announced them.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        host: str,
        job_id: str,
        *,
        limit: int | None = None,
        link: str | None = None,
        elsewhere: str = "",
    ) -> None:
        self.size: int | None = None
        self.digest: tuple[str, str] | None = None
        self._url, self._host, self._job_id = url, host, job_id
        self._headers = headers
        self._hops = Hops(Home(httpx.URL(url), headers))
        self._limit, self._link, self._elsewhere = limit, link, elsewhere
        self._etag: str | None = None
        self._validator: str | None = None
        self._unpacker = Unpacker("")
        self._response: BaseHTTPResponse | None = None
        self._reading_since: float | None = None
        self._slow = False
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Make reading end with an error, from another thread."""
        self._stopped.set()
        if self._response is not None:
            interrupt(self._response)

    def __iter__(self) -> Iterator[Block]:
        """The bytes of the video; a broken connection is taken up again where the server can do that.

        Each block is valid until the next is asked for.

        Raises:
            errors.JobExpired: The content is gone.
            errors.JobFailed: The server says that there never was any.
            errors.DownloadCorrupt: It is empty, broke off for good, or is another one by now.
            errors.ProviderUnavailable: It is not there yet, or can't be had now.
        """
        from urllib3.exceptions import HTTPError

        got, breaks, progress = 0, 0, 0
        buffer = memoryview(bytearray(BLOCK_BYTES))
        response = self._response = self._opened()
        while True:
            reason = "the connection ended"
            try:
                first = CAREFUL_BYTES >> 2 * (breaks - 1) if breaks else BLOCK_BYTES
                for block in self._blocks(response, buffer, first):
                    got += len(block)
                    self._refuse_excess(got)
                    yield block
                if (self.size is None or got >= self.size) and self._unpacker.whole:
                    response.release_conn()
                    return
            except (HTTPError, HTTPException, OSError, ValueError, AttributeError) as error:
                reason = _name(error)
            finally:
                if self.size is None or got != self.size:
                    interrupt(response)  # what is left in it belongs to nobody
            if got - progress >= (SLOW_BYTES if self._slow else 1):
                breaks, progress = 0, got
            while True:
                breaks += 1
                if self._stopped.wait(0 if breaks > BREAKS else BREAK_PAUSE * 2 ** (breaks - 1)) or breaks > BREAKS:
                    raise self._broken(got, reason)
                try:
                    response = self._response = self._resumed(got, reason)
                    break
                except (HTTPError, OSError) as error:
                    reason = _name(error)

    def _blocks(self, response: BaseHTTPResponse, buffer: memoryview, first: int) -> Iterator[Block]:
        """What comes; the first block is of `first` bytes at most."""
        self._slow, room = False, buffer[:first]
        while True:
            self._reading_since = clock.monotonic()
            block = fill(room, response)
            self._reading_since = None
            if not block:
                return
            if self._unpacker.packed:
                yield from self._unpacker.feed(bytes(block))
            else:
                yield block
            room = buffer

    def check(self) -> None:
        """Break a connection on which next to nothing comes; called now and then from another thread."""
        since = self._reading_since
        if since is not None and clock.monotonic() - since > SLOW_SECONDS and self._response is not None:
            self._slow = True
            interrupt(self._response)

    def _opened(self) -> BaseHTTPResponse:
        from urllib3.exceptions import HTTPError

        for pause in (0.0, *NOT_YET_PAUSES, None) if self._link else (*NOT_YET_PAUSES, None):
            try:
                response = self._ask({})
            except (HTTPError, OSError) as error:
                raise ProviderUnavailable(
                    f"{self._host} could not be reached for the content of job {self._job_id} "
                    f"({_name(error)}); it is paid for and can be fetched again",
                    job_id=self._job_id,
                ) from None
            if response.status < 300:
                break
            error = self._refusal(response)
            if self._link and error.status_code == 400 and self._hops.ended_at_home:
                self._url, self._link = urljoin(self._url, self._link), None
                continue
            if self._elsewhere and error.status_code == 400 and self._elsewhere in error.message.lower():
                raise DownloadCorrupt(
                    f"the video of job {self._job_id} lies in cloud storage, and {self._host} does not say where; "
                    "it is paid for and can be fetched again",
                    job_id=self._job_id,
                )
            if error.status_code == 404 and pause is not None and not self._stopped.wait(pause):
                continue  # finished a moment ago: some servers move the file first
            raise _no_content(self._host, self._job_id, error) from error
        else:
            raise AssertionError("unreachable")
        headers = response.headers
        if headers.get("Content-Length") == "0":
            response.release_conn()
            raise DownloadCorrupt(
                f"job {self._job_id} is finished, but {self._host} sends no video for it (0 bytes)",
                job_id=self._job_id,
            )
        try:
            self._unpacker = Unpacker(headers.get("Content-Encoding", ""))
        except ValueError as error:
            interrupt(response)
            raise DownloadCorrupt(
                f"the content of job {self._job_id} can't be read: {error}", job_id=self._job_id, transient=False
            ) from None
        if not self._unpacker.packed:
            length = headers.get("Content-Length", "")
            self.size = int(length) if length.isdecimal() and len(length) < 20 else None
            self.digest = promised_hash(headers)
            if self.size is not None:
                try:
                    self._refuse_excess(self.size)
                except DownloadCorrupt:
                    interrupt(response)
                    raise
        self._etag = headers.get("ETag")
        strong = self._etag is not None and self._etag.startswith('"')
        self._validator = self._etag if strong else headers.get("Last-Modified")
        return response

    def _resumed(self, start: int, reason: str) -> BaseHTTPResponse:
        """The rest of the body, from `start` on; HTTP and socket errors come out as they are."""
        if self._unpacker.packed:
            raise self._broken(start, reason)
        condition = {"If-Range": self._validator} if self._validator else {}
        response = self._ask({"Range": f"bytes={start}-", **condition} if start else {})
        if response.status >= 500 or response.status in (408, 429):
            interrupt(response)
            raise OSError(f"HTTP {response.status}")
        if not self._continues(response, start):
            interrupt(response)
            raise self._broken(start, reason)
        return response

    def _continues(self, response: BaseHTTPResponse, start: int) -> bool:
        """Whether it is the rest of the same content; not every server heeds `If-Range`."""
        headers, size = response.headers, None if self.size is None else str(self.size)
        if self._etag and headers.get("ETag", self._etag) != self._etag:
            return False
        if headers.get("Content-Encoding", "identity") != "identity":
            return False
        if not start:
            return response.status == 200 and headers.get("Content-Length") == size
        where = re.fullmatch(rf"bytes {start}-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        return response.status == 206 and where is not None and (size is None or where[1] in (size, "*"))

    def _ask(self, more: Mapping[str, str]) -> BaseHTTPResponse:
        try:
            return self._hops.get(self._url, more)
        except Refused as refused:
            raise DownloadCorrupt(
                f"the content of job {self._job_id} is not fetched: {refused}; it is paid for and can be fetched again",
                job_id=self._job_id,
                transient=False,
            ) from None

    def _refusal(self, response: BaseHTTPResponse) -> MediaError:
        """What an answer without content means. That of a stranger is not quoted: who knows where it is."""
        if self._hops.ended_at_home:
            return answer_error(
                response.status, dict(response.headers), read_some(response, ERROR_BYTES), self._url, self._headers
            )
        interrupt(response)
        said = f"{self._hops.end.host}, where {self._host} keeps it, answers HTTP {response.status}"
        kind = NotFound if response.status in (404, 410) else DownloadCorrupt
        return kind(said, status_code=response.status)

    def _refuse_excess(self, size: int) -> None:
        if self._limit is not None and size > self._limit:
            raise DownloadCorrupt(
                f"the video of job {self._job_id} has {size:,} bytes or more, and PREFECT_MEDIA_MAX_VIDEO_BYTES="
                f"{self._limit} allows no more; it is paid for: raise that and fetch it again",
                job_id=self._job_id,
                transient=False,
            )

    def _broken(self, got: int, reason: str) -> DownloadCorrupt:
        of = f" of {self.size}" if self.size is not None else ""
        return DownloadCorrupt(
            f"the download of job {self._job_id} broke off after {got}{of} bytes ({reason}); "
            "it is paid for and can be fetched again",
            job_id=self._job_id,
        )


def promised_hash(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Algorithm and hexadecimal hash that a server gave for a whole body; None where it gave none that we know.

    Known are `Repr-Digest` (RFC 9530), its forerunner `Digest` (RFC 3230), Amazon's `x-amz-checksum-sha256` and
    `Content-MD5`.
    """
    found = [
        *re.findall(r"(sha-256)=:([^:]+):", headers.get("Repr-Digest", "")),
        *re.findall(r"(?i)(sha-256)=([^,]+)", headers.get("Digest", "")),
        ("sha-256", headers.get("x-amz-checksum-sha256", "")),
        ("md5", headers.get("Content-MD5", "")),
    ]
    for name, text in found:
        algorithm = name.lower().replace("-", "")
        try:
            digest = b64decode(text, validate=True)
        except ValueError:
            continue
        if len(digest) == {"sha256": 32, "md5": 16}[algorithm]:
            return algorithm, digest.hex()
    return None


def _no_content(host: str, job_id: str, error: MediaError) -> MediaError:
    about = {**error.details, "job_id": job_id}
    if isinstance(error, DownloadCorrupt):
        return DownloadCorrupt(
            f"the content of job {job_id} can't be had: {error.message}; it is paid for and can be fetched again",
            **about,
        )
    if not isinstance(error, NotFound | InvalidRequest):
        return error
    if error.status_code in (404, 410):
        return JobExpired(
            f"the content of job {job_id} is gone: {error.message}; pass retry_failed=True to buy it again", **about
        )
    if error.status_code == 422:
        return JobFailed(f"job {job_id} has no content: {error.message}", **about)
    return ProviderUnavailable(f"the content of job {job_id} can't be had from {host} yet: {error}", **about)


def _name(error: Exception) -> str:
    """What went wrong, without the URL that such errors quote."""
    return type(getattr(error, "reason", None) or error).__name__.lstrip("_")
