"""Limits of the SDK's HTTP client: the size of answers, and the servers that requests and secrets may go to.

These functions are event hooks of the HTTP client, so they also hold for what the SDK reads by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import httpx2

from ..media.reach import Home, Origin
from ..runtime.unpacking import Unpacker
from .error_mapping import REDIRECTED_TO
from .limits import BOUND, ERROR_BYTES, JSON_BYTES, Bound

SECRET_HEADERS = ("Authorization", "api-key", "OpenAI-Organization", "OpenAI-Project", "Cookie")
"""Headers that are sent to the connection's own origin only."""


class _Bounded(httpx2.AsyncByteStream):
    """A body that is decompressed piece by piece and counted."""

    def __init__(self, stream: httpx2.AsyncByteStream, unpacker: Unpacker, bound: Bound) -> None:
        self._stream, self._unpacker, self._bound = stream, unpacker, bound

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for raw in self._stream:
                for piece in self._unpacker.feed(raw):
                    yield self._bound.take(piece)
                    if self._bound.cuts and self._bound.full:
                        return
        except ValueError as error:
            raise httpx2.DecodingError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


async def bind(response: httpx2.Response) -> None:
    """Limit an answer to the size of JSON without images; who expects more raises `bound_of` before reading."""
    failed = not response.is_success
    bound = response.extensions[BOUND] = Bound(ERROR_BYTES if failed else JSON_BYTES, cuts=failed)
    try:
        unpacker = Unpacker(response.headers.get("Content-Encoding", ""))
    except ValueError as error:
        raise httpx2.DecodingError(str(error)) from None
    response.headers.pop("Content-Encoding", None)  # so that httpx2 does not decompress it again
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream, unpacker, bound)


def keep_secrets_home(request: httpx2.Request, base_url: str) -> None:
    """Remove the secrets from a request that a redirect sends to another origin."""
    if not Home(httpx.URL(base_url)).owns(httpx.URL(str(request.url))):
        for name in SECRET_HEADERS:
            request.headers.pop(name, None)


def refuse_redirect(response: httpx2.Response, *, leaves_home: bool) -> None:
    """Follow no redirect of a paid request, and none that leads a request to another origin.

    The redirect's `Location` is moved to an extension, so that the client finds nothing to follow.

    Args:
        response: The answer.
        leaves_home: Whether a GET may follow a redirect to another origin, without the secrets.
    """
    if not response.has_redirect_location:
        return
    here = httpx.URL(str(response.request.url))
    try:
        there = here.join(response.headers["Location"])
        origin = Origin.of(there)
    except (httpx.InvalidURL, ValueError):
        origin = Origin("", "", 0)
    if response.request.method == "GET" and (leaves_home or origin == Origin.of(here)):
        return
    response.extensions[REDIRECTED_TO] = f"{origin.scheme}://{origin.host}:{origin.port}" if origin.host else "nowhere"
    del response.headers["Location"]
