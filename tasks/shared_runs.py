"""Several generations in one task run: what Prefect takes for a task run is shared by them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from prefect_media.runtime import clock
from prefect_media.runtime.retry import is_transient, retrying

T = TypeVar("T")

RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Pauses before a generation is tried again, as those of a task run of its own."""

_Call = tuple[Callable[[], Awaitable[Any]], "asyncio.Future[Any]"]


class SharedRuns:
    """Task runs that serve `size` generations each; the next one starts when the last is full.

    Args:
        size: Generations in one task run.
        group: Where the task runs are awaited.
    """

    def __init__(self, size: int, group: asyncio.TaskGroup) -> None:
        self._size, self._group, self._room = size, group, 0
        self._calls: asyncio.Queue[_Call | None] = asyncio.Queue()

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns in a shared task run. It is tried again after an error that passes by itself."""
        if self._room == 0:
            self._calls, self._room = asyncio.Queue(), self._size
            self._group.create_task(self._run(self._calls))
        self._room -= 1
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put_nowait((work, outcome))
        return await outcome

    async def _run(self, calls: asyncio.Queue[_Call | None]) -> None:
        error: Exception | None = None
        try:
            await generate_many(calls, self._size)
        except Exception as failure:  # Prefect could not run it: then that is the outcome of each generation in it
            error = failure
        finally:
            if calls is self._calls:
                self._room = 0
            while not calls.empty():  # nobody may wait for ever
                if (call := calls.get_nowait()) and not call[1].done():
                    call[1].set_exception(error) if error else call[1].cancel()

    def close(self) -> None:
        """End the last task run with what it has; no call may follow."""
        self._room = 0
        self._calls.put_nowait(None)


@task(name="generate_many", cache_policy=NO_CACHE, persist_result=False)
async def generate_many(calls: asyncio.Queue[_Call | None], most: int) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(most):
            if (call := await calls.get()) is None:
                return
            group.create_task(_generate(*call))


async def _generate(work: Callable[[], Awaitable[Any]], outcome: asyncio.Future[Any]) -> None:
    """Put the outcome of one generation into its future; one that nobody waits for any more is cancelled."""
    pauses = [seconds * (1 + clock.dice().random() / 2) for seconds in RETRY_SECONDS]
    working = asyncio.ensure_future(retrying(work, pauses, is_transient))
    outcome.add_done_callback(lambda _: working.cancel())
    try:
        await asyncio.wait([working])
    finally:
        if not working.done():  # the flow run is cancelled
            working.cancel()
            await asyncio.wait([working])
        if not outcome.done():
            _settle(outcome, working)


def _settle(outcome: asyncio.Future[Any], working: asyncio.Future[Any]) -> None:
    if working.cancelled():
        outcome.cancel()
    elif (error := working.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(working.result())
