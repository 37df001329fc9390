"""Many small reads, a bounded number of them at once, with the results in the order that they were asked for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from .iteration import one_by_one

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 32
"""Reads at once. It is what is held in memory, too."""


async def read_ahead(
    read: Callable[[T], Awaitable[R]], items: Iterable[T] | AsyncIterable[T], at_once: int = AT_ONCE
) -> AsyncGenerator[R]:
    """What `read` returns for each item, in their order. What it raises ends the rest."""
    reading: deque[asyncio.Future[R]] = deque()
    try:
        async for item in one_by_one(items):
            reading.append(asyncio.ensure_future(read(item)))
            if len(reading) >= at_once:
                yield await reading.popleft()
        while reading:
            yield await reading.popleft()
    finally:
        for task in reading:
            task.add_done_callback(_ignore)
            task.cancel()


def _ignore(task: asyncio.Future[Any]) -> None:
    """Take in the error of a read that nobody waits for, so that it is not logged."""
    if not task.cancelled():
        task.exception()
