"""One GET for a large body, followed through its redirects: each hop is checked, and the key is sent to its own server.

The async twin, for bodies that fit into memory, is media/safe_fetch.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING

import httpx

from ..media.reach import REDIRECTS, Home, Origin, Refused, way_to
from ..runtime.transfers import BLOCK_BYTES, connections, fill, pinned_connections
from ..runtime.unpacking import Unpacker
from ..settings import settings
from ..user_input import redact_url

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool, PoolManager

PLAIN = {"Accept": "*/*", "Accept-Encoding": "identity"}
"""Uncompressed: the length of a compressed body is unknown, and it can't be resumed."""

DRAINED_BYTES = 64 * 1024
"""A redirect's body up to this size is read, so that its connection can be reused."""


class Hops:
    """Sends GET requests and follows their redirects.

    Args:
        home: The server of the credentials, whose headers are sent to its own origin only.

    Attributes:
        end: The URL that answered last.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self.end = home.url

    @property
    def ended_at_home(self) -> bool:
        """Whether the last answer came from the server of the credentials."""
        return self._home.owns(self.end)

    def get(self, url: str, more: Mapping[str, str]) -> BaseHTTPResponse:
        """The answer at the end of the redirects, its body not read yet. Blocks.

        Args:
            url: The first URL.
            more: Headers for every server on the way.

        Raises:
            Refused: A redirect leads to a blocked address, or there are too many.
            OSError: A server is unreachable; or urllib3's HTTPError.
        """
        current, has_left = _parse_url(url), False
        for _ in range(REDIRECTS + 1):
            # After the first foreign server no secret is sent any more, even if a redirect leads back home.
            has_left = has_left or not self._home.owns(current)
            try:
                response = self._get_elsewhere(current, more) if has_left else self._get_at_home(current, more)
            except Refused as refused:
                raise Refused(f"it is at {redact_url(str(current))}, and {refused}") from None
            if not response.get_redirect_location():
                self.end = current
                return response
            location = response.headers["Location"]
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and int(length) <= DRAINED_BYTES:
                response.drain_conn()
            else:
                interrupt(response)
            current = _parse_url(location, current)
        raise Refused(f"it redirects more than {REDIRECTS} times")

    def _get_at_home(self, url: httpx.URL, more: Mapping[str, str]) -> BaseHTTPResponse:
        own = str(self._home.url.copy_with(raw_path=url.raw_path))  # spelled as in the credentials, for all parsers
        return _send(connections(own), own, {**self._home.headers, **PLAIN, **more})

    def _get_elsewhere(self, url: httpx.URL, more: Mapping[str, str]) -> BaseHTTPResponse:
        from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

        way, origin = way_to(url, private=settings().allow_private_urls, home=self._home), Origin.of(url)
        headers = {**PLAIN, **more}
        if way.proxied:  # the proxy resolves the name
            return _send(connections(str(url)), str(url.copy_with(fragment=None)), headers)
        headers["Host"] = url.netloc.decode("ascii")

        def get_from(address: str) -> BaseHTTPResponse:
            pool = pinned_connections(origin.scheme, url.raw_host.decode("ascii"), origin.port, address)
            return _send(pool, url.raw_path.decode("ascii"), headers)

        *others, last = map(str, way.addresses)
        for address in others:
            try:
                return get_from(address)
            except MaxRetryError as error:  # a machine without IPv6 still resolves IPv6 addresses
                if not isinstance(error.reason, NewConnectionError | ConnectTimeoutError):
                    raise
        return get_from(last)


def interrupt(response: BaseHTTPResponse) -> None:
    """Wake the thread that reads an answer, and close its connection."""
    with suppress(OSError, ValueError, RuntimeError):  # closed already
        response.shutdown()
    response.close()


def read_some(response: BaseHTTPResponse, limit: int) -> bytes:
    """The first `limit` bytes of a body, as far as they can be read; then its connection is closed."""
    from urllib3.exceptions import HTTPError

    body, buffer = bytearray(), memoryview(bytearray(min(limit, BLOCK_BYTES)))
    with suppress(HTTPError, HTTPException, OSError, ValueError, AttributeError):  # the status says enough
        unpacker = Unpacker(response.headers.get("Content-Encoding", ""))
        while len(body) < limit and (block := fill(buffer, response)):
            for piece in unpacker.feed(bytes(block)):
                body += piece
                if len(body) >= limit:
                    break
    interrupt(response)
    return bytes(body[:limit])


def _parse_url(url: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        return base.join(url) if base else httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise Refused(f"{redact_url(url)[:200]} is not a URL") from None


def _send(pool: PoolManager | HTTPConnectionPool, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
    from urllib3 import Retry

    return pool.request(
        "GET",
        url,
        headers=headers,
        preload_content=False,
        redirect=False,
        retries=Retry(total=8, connect=2, read=2, redirect=False, status=0, other=2, backoff_factor=0.2),
    )
