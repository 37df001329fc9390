"""One loop for both kinds of iterables."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def one_by_one(items: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T]:
    """The items of either kind of iterable, each taken when it is asked for."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
