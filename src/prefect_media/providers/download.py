"""The content of a finished video: a download that resumes where it broke off."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import httpx

from ..cleaning import quote_provider
from ..errors import DownloadCorrupt, InvalidRequest, JobExpired, JobFailed, MediaError, NotFound, ProviderUnavailable
from ..media.reach import Home, Refused
from ..runtime import clock
from ..runtime.transfers import BLOCK_BYTES, Block, fill
from ..runtime.unpacking import Unpacker
from ..settings import settings
from .connection import Connection, headers_of
from .content_headers import Announcement
from .detection import dialect_of
from .error_mapping import answer_error
from .hops import Hops, interrupt, read_some
from .limits import ERROR_BYTES

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

NOT_YET_PAUSES = (1.0, 2.0)
"""Seconds before the first and the second retry of a 404: some servers move the file after the job is finished."""

BREAKS = 5
"""How many times in a row a download may break without progress."""

BREAK_PAUSE = 0.2
"""Seconds before a broken download is resumed; doubled with every break that follows."""

SLOW_SECONDS = 60.0
"""Longest time for one block, in seconds; a slower connection counts as broken, and its bytes are kept."""

SLOW_BYTES = 256 * 1024
"""Fewest bytes over a slow connection that count as progress, so that a dripping server can't go on for ever."""

CAREFUL_BYTES = 64 * 1024
"""Bytes of the first block after a break; a reset connection loses the block that is being read."""


async def content_of(connection: Connection, job_id: str, link: str | None = None) -> Content:
    """The content of a job; the download begins when it is iterated.

    Args:
        connection: The server and the account.
        job_id: The provider's id of the job.
        link: The link of the job to its video, for servers that don't serve the content themselves.
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
        url: The provider's URL of the content.
        headers: Sent to the provider's own origin only.
        host: The provider's name in messages.
        job_id: The provider's id of the job.
        limit: Most bytes; None for no limit.
        link: The URL to use when the provider does not serve the content itself.
        elsewhere: A part of the message by which the provider says so.

    Attributes:
        size: Length in bytes as announced; None where it was not, or the body is compressed.
        digest: Algorithm and hash of the body as announced.
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
        self._announced = Announcement()
        self.size, self.digest = self._announced.size, self._announced.digest
        self._url, self._host, self._job_id = url, host, job_id
        self._headers = headers
        self._hops = Hops(Home(httpx.URL(url), headers))
        self._limit, self._link, self._elsewhere = limit, link, elsewhere
        self._unpacker = Unpacker("")
        self._response: BaseHTTPResponse | None = None
        self._reading_since: float | None = None
        self._slow = False
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Make reading end with an error; called from another thread."""
        self._stopped.set()
        if self._response is not None:
            interrupt(self._response)

    def __iter__(self) -> Iterator[Block]:
        """The bytes of the video; a broken download is resumed where the server supports that.

        Each block is valid until the next one is requested.

        Raises:
            errors.JobExpired: The content is gone.
            errors.JobFailed: The server says that the job has no content.
            errors.DownloadCorrupt: It is empty, broke off for good, or has changed since.
            errors.ProviderUnavailable: It is not ready yet, or the server is unreachable.
        """
        from urllib3.exceptions import HTTPError

        received, breaks, progress = 0, 0, 0
        buffer = memoryview(bytearray(BLOCK_BYTES))
        response = self._response = self._open()
        while True:
            reason = "the connection ended"
            try:
                first = CAREFUL_BYTES >> 2 * (breaks - 1) if breaks else BLOCK_BYTES
                for block in self._blocks(response, buffer, first):
                    received += len(block)
                    self._refuse_excess(received)
                    yield block
                if (self.size is None or received >= self.size) and self._unpacker.whole:
                    response.release_conn()
                    return
            except (HTTPError, HTTPException, OSError, ValueError, AttributeError) as error:
                reason = _error_name(error)
            finally:
                if self.size is None or received != self.size:
                    interrupt(response)  # nobody reads the rest
            if received - progress >= (SLOW_BYTES if self._slow else 1):
                breaks, progress = 0, received
            while True:
                breaks += 1
                if self._stopped.wait(0 if breaks > BREAKS else BREAK_PAUSE * 2 ** (breaks - 1)) or breaks > BREAKS:
                    raise self._break_error(received, reason)
                try:
                    response = self._response = self._resume(received, reason)
                    break
                except (HTTPError, OSError) as error:
                    reason = _error_name(error)

    def _blocks(self, response: BaseHTTPResponse, buffer: memoryview, first: int) -> Iterator[Block]:
        """The blocks of one answer; the first has at most `first` bytes."""
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
        """Interrupt a connection that is too slow; called at intervals from another thread."""
        since = self._reading_since
        if since is not None and clock.monotonic() - since > SLOW_SECONDS and self._response is not None:
            self._slow = True
            interrupt(self._response)

    def _open(self) -> BaseHTTPResponse:
        from urllib3.exceptions import HTTPError

        pauses = iter(NOT_YET_PAUSES)
        while True:
            try:
                response = self._ask({})
            except (HTTPError, OSError) as error:
                raise ProviderUnavailable(
                    f"{self._host} could not be reached for the content of job {self._job_id} "
                    f"({_error_name(error)}); it is paid for and can be fetched again",
                    job_id=self._job_id,
                ) from None
            if response.status < 300:
                break
            error = self._answer_error(response)
            if self._link and error.status_code == 400 and self._hops.ended_at_home:
                self._url, self._link = urljoin(self._url, self._link), None  # once: then there is no link any more
                continue
            if (
                self._elsewhere
                and error.status_code == 400
                and self._elsewhere in (error.provider_message or "").lower()
            ):
                raise DownloadCorrupt(
                    f"the video of job {self._job_id} is in cloud storage, and {self._host} gives no link to it; "
                    "it is paid for and can be fetched again",
                    job_id=self._job_id,
                )
            pause = next(pauses, None) if error.status_code == 404 else None
            if pause is None or self._stopped.wait(pause):
                raise _content_error(self._host, self._job_id, error) from error
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
        self._announced = Announcement.parse(headers, compressed=self._unpacker.packed)
        self.size, self.digest = self._announced.size, self._announced.digest
        try:
            self._refuse_excess(self.size or 0)
        except DownloadCorrupt:
            interrupt(response)
            raise
        return response

    def _resume(self, start: int, reason: str) -> BaseHTTPResponse:
        """The rest of the body, from `start` on. HTTP and socket errors are not translated."""
        if self._unpacker.packed:
            raise self._break_error(start, reason)
        validator = self._announced.validator
        condition = {"If-Range": validator} if validator else {}
        response = self._ask({"Range": f"bytes={start}-", **condition} if start else {})
        if response.status >= 500 or response.status in (408, 429):
            interrupt(response)
            raise OSError(f"HTTP {response.status}")
        if not self._announced.is_continued_by(response.status, response.headers, start):
            interrupt(response)
            raise self._break_error(start, reason)
        return response

    def _ask(self, more: Mapping[str, str]) -> BaseHTTPResponse:
        try:
            return self._hops.get(self._url, more)
        except Refused as refused:
            raise DownloadCorrupt(
                f"the content of job {self._job_id} was not fetched: {refused}; "
                "it is paid for and can be fetched again",
                job_id=self._job_id,
                transient=False,
            ) from None

    def _answer_error(self, response: BaseHTTPResponse) -> MediaError:
        """The error of an answer without content. The body of another server's answer is not quoted."""
        if self._hops.ended_at_home:
            return answer_error(
                response.status, dict(response.headers), read_some(response, ERROR_BYTES), self._url, self._headers
            )
        interrupt(response)
        message = f"{self._hops.end.host}, where {self._host} stores it, answers HTTP {response.status}"
        kind = NotFound if response.status in (404, 410) else DownloadCorrupt
        return kind(message, status_code=response.status)

    def _refuse_excess(self, size: int) -> None:
        if self._limit is not None and size > self._limit:
            raise DownloadCorrupt(
                f"the video of job {self._job_id} has {size:,} bytes or more, and PREFECT_MEDIA_MAX_VIDEO_BYTES="
                f"{self._limit} allows no more; it is paid for; raise the limit and fetch it again",
                job_id=self._job_id,
                transient=False,
            )

    def _break_error(self, received: int, reason: str) -> DownloadCorrupt:
        of = f" of {self.size}" if self.size is not None else ""
        return DownloadCorrupt(
            f"the download of job {self._job_id} broke off after {received}{of} bytes ({reason}); "
            "it is paid for and can be fetched again",
            job_id=self._job_id,
        )


def _content_error(host: str, job_id: str, error: MediaError) -> MediaError:
    """The error of a content request, as the error of its job."""
    about = {**error.details, "job_id": job_id}
    what, words = error.message.partition(";")[0], quote_provider(error.provider_message)
    if isinstance(error, DownloadCorrupt):
        return DownloadCorrupt(
            f"the content of job {job_id} can't be fetched: {error.message}; it is paid for and can be fetched again",
            **about,
        )
    if not isinstance(error, NotFound | InvalidRequest):
        return error
    if error.status_code in (404, 410):
        message = f"the content of job {job_id} is gone: {what}; pass retry_failed=True to buy it again{words}"
        return JobExpired(message, **about)
    if error.status_code == 422:
        message = f"job {job_id} has no content: {what}; pass retry_failed=True to buy it again{words}"
        return JobFailed(message, **about)
    message = f"the content of job {job_id} can't be fetched from {host} yet: {what}; try again later{words}"
    return ProviderUnavailable(message, **about)


def _error_name(error: Exception) -> str:
    """The kind of an error, without the URL in its message."""
    return type(getattr(error, "reason", None) or error).__name__.lstrip("_")
