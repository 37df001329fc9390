"""The future of a task on the background loop, and how the loop waits for futures without being blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, cast
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.states import Pending, Running
from prefect.utilities.annotations import quote
from prefect.utilities.collections import StopVisiting, visit_collection

from prefect_media.runtime.sync import on_background_loop

R = TypeVar("R")


class MediaFuture(PrefectConcurrentFuture[R]):
    """The future of a task that runs on the background loop. It knows its state without asking Prefect's API."""

    def __init__(self, task_run_id: UUID, *, nested: bool = False) -> None:
        super().__init__(task_run_id, Future())
        self.wrapped_future.set_running_or_notify_cancel()  # from here on, only its task ends it
        self.nested = nested
        self.begun = False

    @property
    def state(self) -> State[R]:
        """The final state, or before it `Pending` or `Running`."""
        if not self.wrapped_future.done():
            return self.with_details(Running() if self.begun else Pending())
        if self.wrapped_future.exception() is not None:
            return super().state
        ended: Any = self.wrapped_future.result()
        return ended

    def with_details(self, state: State[Any]) -> State[Any]:
        """A state that says whose it is: Prefect links task runs to each other by that."""
        state.state_details.task_run_id = self.task_run_id
        return state

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the task has ended, or for `timeout` seconds."""
        self._refuse_to_block()
        super().wait(timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """The task's result, waited for; see `aresult` for async code."""
        self._refuse_to_block()
        return super().result(timeout, raise_on_failure)

    async def wait_async(self, timeout: float | None = None) -> None:
        """Wait until the task has ended, or for `timeout` seconds; blocks no event loop."""
        await asyncio.wait([_on_this_loop(self.wrapped_future)], timeout=timeout)

    async def aresult(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """The task's result, waited for without blocking an event loop.

        Raises:
            TimeoutError: The task has not ended within `timeout` seconds.
        """
        await self.wait_async(timeout)
        if not self.wrapped_future.done():
            raise TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} seconds")
        ended: Any = self.wrapped_future.result()
        return await ended.aresult(raise_on_failure=raise_on_failure)

    def _add_prefect_done_callback(self, fn: Callable[[PrefectFuture[R]], None]) -> None:
        self._refuse_to_block()  # prefect.futures.wait and as_completed come here, and block next
        super()._add_prefect_done_callback(fn)

    def _refuse_to_block(self) -> None:
        if on_background_loop() and not self.wrapped_future.done():
            raise RuntimeError(
                "an async task on MediaTaskRunner would block the event loop that it waits for; there, "
                "await future.aresult()"
            )


async def wait_for_inputs(inputs: object) -> None:
    """Wait for the futures among a task's inputs. The engine would, too, but with the loop blocked."""
    futures: set[PrefectFuture[Any]] = set()

    def collect(value: Any, context: dict[str, Any]) -> None:
        if isinstance(context.get("annotation"), quote):
            raise StopVisiting
        if isinstance(value, PrefectFuture):
            futures.add(cast(PrefectFuture[Any], value))

    visit_collection(inputs, visit_fn=collect, return_data=False, context={})
    for future in futures:
        await _wait_for(future)


async def _wait_for(future: PrefectFuture[Any]) -> None:
    if isinstance(future, PrefectConcurrentFuture):
        await asyncio.wait([_on_this_loop(future.wrapped_future)])
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    # These ask Prefect's API, and block meanwhile.
    await asyncio.to_thread(future.add_done_callback, lambda _: loop.call_soon_threadsafe(ended.set) and None)
    await ended.wait()
    await asyncio.to_thread(future.wait)


def _on_this_loop(future: Future[Any]) -> asyncio.Future[Any]:
    """A future of this loop, whose exception nobody has to look at."""
    wrapped = asyncio.wrap_future(future)
    wrapped.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return wrapped
