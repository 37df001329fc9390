"""An HTTP client whose answers come to an end: one deadline over the whole of each, however small its pieces are.

The timeouts of HTTP clients count anew for each piece, so a server that sends a byte now and then is waited for without
end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import httpx2

from ..runtime import clock

T = TypeVar("T")

SLOWEST_UPLOAD = 100_000
"""Bytes per second: the limit grows by the seconds that the request's body takes at this rate."""


class BoundedClient(httpx2.AsyncClient):
    """An HTTP client with a limit on each exchange, from its first byte sent to its last one received.

    Only time spent on the network counts: a caller may read a stream as slowly as it likes.

    Args:
        seconds: The limit, in seconds.
        options: Options of `httpx2.AsyncClient`.
    """

    def __init__(self, seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._seconds = seconds

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        time = _Time(request, self._seconds)
        send = super().send
        response = await time.spend(lambda: send(request, stream=True, **options))
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, time)
        if not stream:
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        return response


class _Time:
    """The time that is left for one exchange."""

    def __init__(self, request: httpx2.Request, seconds: float) -> None:
        self._request = request
        self._limit = self._left = seconds + int(request.headers.get("Content-Length", 0)) / SLOWEST_UPLOAD

    async def spend(self, step: Callable[[], Awaitable[T]]) -> T:
        """Wait for the next step of it.

        Raises:
            httpx2.ReadTimeout: No time is left.
        """
        began = clock.monotonic()
        try:
            if self._left <= 0:  # a stream that always has more to give never waits, and would never be stopped
                raise TimeoutError
            async with asyncio.timeout(self._left):
                return await step()
        except TimeoutError:
            message = f"the answer was not whole after {self._limit:.3g} s"
            raise httpx2.ReadTimeout(message, request=self._request) from None
        finally:
            self._left -= clock.monotonic() - began


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, read until the time is up."""

    def __init__(self, stream: httpx2.AsyncByteStream, time: _Time) -> None:
        self._stream, self._time = stream, time

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        while True:
            try:
                piece = await self._time.spend(lambda: anext(pieces))
            except StopAsyncIteration:
                return
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
