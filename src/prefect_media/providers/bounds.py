"""Answers that come through the SDK's client, as far as they may come: bounded, and from nowhere but our own server.

Everything here is hooked into the HTTP client, so it also holds for what the SDK reads by itself.
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
"""What is sent to the connection's own origin alone."""


class _Bounded(httpx2.AsyncByteStream):
    """A body, unpacked piece by piece and counted."""

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
    """Bound an answer to JSON without images; whoever expects more sets `bound_of` before it is read."""
    bad = not response.is_success
    bound = response.extensions[BOUND] = Bound(ERROR_BYTES if bad else JSON_BYTES, cuts=bad)
    try:
        unpacker = Unpacker(response.headers.get("Content-Encoding", ""))
    except ValueError as error:
        raise httpx2.DecodingError(str(error)) from None
    response.headers.pop("Content-Encoding", None)  # so that httpx2 does not unpack it again
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream, unpacker, bound)


def keep_secrets_home(request: httpx2.Request, base_url: str) -> None:
    """Take what is for our own server out of a request that a redirect sends elsewhere."""
    if not Home(httpx.URL(base_url)).owns(httpx.URL(str(request.url))):
        for name in SECRET_HEADERS:
            request.headers.pop(name, None)


def refuse_redirect(response: httpx2.Response, *, leaves_home: bool) -> None:
    """Let no paid request be sent again, and none go elsewhere, because a server says so.

    The answer stays as it is, and its Location is put aside: so the client has nothing to follow.

    Args:
        response: The answer.
        leaves_home: Whether a GET may go to another origin, without what is for ours alone.
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
