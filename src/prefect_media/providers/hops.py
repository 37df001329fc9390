"""One GET for a large body, followed through its redirects: each hop is checked, and the key stays at home.

The async twin, for what fits into memory, is web.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING

import httpx

from ..media.reach import REDIRECTS, Home, Origin, Refused, shown, way_to
from ..runtime.transfers import BLOCK_BYTES, connections, fill, pinned_connections
from ..runtime.unpacking import Unpacker
from ..settings import settings

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from urllib3._request_methods import RequestMethods

PLAIN = {"Accept": "*/*", "Accept-Encoding": "identity"}
"""As it is: packed, its length would be unknown and it could not be taken up again."""

DRAINED_BYTES = 64 * 1024
"""Of a redirect a body up to this size is read, so that its connection can be used again."""


class Hops:
    """Asks for what a server has, or says where it is.

    Args:
        home: The server of the credentials, whose headers go to its own origin alone.

    Attributes:
        end: The URL that answered last.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self.end = home.url

    @property
    def ended_at_home(self) -> bool:
        """Whether the server of the credentials gave the last answer itself."""
        return self._home.owns(self.end)

    def get(self, url: str, more: Mapping[str, str]) -> BaseHTTPResponse:
        """The answer at the end of the redirects, its body not read yet. Blocks.

        Args:
            url: Where to begin.
            more: Headers that go along everywhere.

        Raises:
            Refused: It leads where nothing is fetched from.
            OSError: It can't be reached, or urllib3's HTTPError.
        """
        there, left = _parsed(url), False
        for _ in range(REDIRECTS + 1):
            # Who was sent away once is a stranger's guest from then on, even back at home.
            left = left or not self._home.owns(there)
            try:
                response = self._abroad(there, more) if left else self._at_home(there, more)
            except Refused as refused:
                raise Refused(f"it is at {shown(str(there))}, and {refused}") from None
            if not response.get_redirect_location():
                self.end = there
                return response
            location = response.headers["Location"]
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and int(length) <= DRAINED_BYTES:
                response.drain_conn()
            else:
                interrupt(response)
            there = _parsed(location, there)
        raise Refused(f"it redirects more than {REDIRECTS} times")

    def _at_home(self, url: httpx.URL, more: Mapping[str, str]) -> BaseHTTPResponse:
        own = str(self._home.url.copy_with(raw_path=url.raw_path))  # so that no two readings of a URL can differ
        return _sent(connections(own), own, {**self._home.headers, **PLAIN, **more})

    def _abroad(self, url: httpx.URL, more: Mapping[str, str]) -> BaseHTTPResponse:
        from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

        way, origin = way_to(url, private=settings().allow_private_urls, home=self._home), Origin.of(url)
        headers = {**PLAIN, **more}
        if way.proxied:  # the proxy connects, to what it takes the name for
            return _sent(connections(str(url)), str(url.copy_with(fragment=None)), headers)
        headers["Host"] = url.netloc.decode("ascii")
        for left in reversed(range(len(way.addresses))):
            address = str(way.addresses[-left - 1])
            pool = pinned_connections(origin.scheme, url.raw_host.decode("ascii"), origin.port, address)
            try:
                return _sent(pool, url.raw_path.decode("ascii"), headers)
            except MaxRetryError as error:  # a machine without IPv6 gets IPv6 addresses all the same
                if not left or not isinstance(error.reason, NewConnectionError | ConnectTimeoutError):
                    raise
        raise AssertionError("unreachable")


def interrupt(response: BaseHTTPResponse) -> None:
    """Wake whoever reads it, and never use its connection again."""
    with suppress(OSError, ValueError, RuntimeError):  # it is closed already
        response.shutdown()
    response.close()


def read_some(response: BaseHTTPResponse, limit: int) -> bytes:
    """The first `limit` bytes of an answer that is not used any more, as far as they can be read."""
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


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        return base.join(url) if base else httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise Refused(f"{shown(url)[:200]} is not a URL") from None


def _sent(pool: RequestMethods, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
    from urllib3 import Retry

    return pool.request(
        "GET",
        url,
        headers=headers,
        preload_content=False,
        redirect=False,
        retries=Retry(total=8, connect=2, read=2, redirect=False, status=0, other=2, backoff_factor=0.2),
    )
