"""A task runner for flows that submit: async tasks share one event loop, and with it every client and connection.

Prefect's own runner gives each submitted async task a thread, a loop and two TLS set-ups of its own, which costs
more than the task itself and keeps tasks from sharing anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import wait
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any, Self

from prefect import Task
from prefect.client.schemas.objects import RunInput, State
from prefect.context import AsyncClientContext, SyncClientContext
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.states import Cancelled, Crashed, exception_to_crashed_state
from prefect.task_engine import run_task_async
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from prefect_media.runtime import clock
from prefect_media.runtime.sync import CLEAN_UP_SECONDS, background_loop, on_background_loop

from .media_future import MediaFuture, wait_for_inputs
from .retried import async_form

_within: ContextVar[MediaTaskRunner | None] = ContextVar("prefect_media_task_runner", default=None)


class MediaTaskRunner(TaskRunner[PrefectConcurrentFuture[Any]]):
    """Runs submitted async tasks on the one background loop of the process; sync ones in threads, as Prefect does.

    Sync twins of this package, such as `generate_video`, run as their async originals. At the end of a flow,
    tasks that have begun are waited for, and those that have not are cancelled, as with Prefect's own runner; when
    the flow is interrupted or cancelled, all are cancelled, and paid jobs stay on record for the next run.

    An async task must not block its loop. Waiting for a future in one is `await future.aresult()` therefore;
    `future.result()` would wait for itself and is refused there.

    Example:
        ```python
        @flow(task_runner=MediaTaskRunner(max_concurrency=50))
        def campaign(shots: list[VideoRequest]) -> list[Asset]:
            return generate_video.map("my-server", shots).result()
        ```

    Args:
        max_concurrency: How many submitted async tasks run at once, and how many sync ones; None is no limit, for
            sync tasks Prefect's own `PREFECT_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS`. An async task that was
            submitted by another one runs besides, because the other may wait for it.
    """

    def __init__(self, max_concurrency: int | None = None) -> None:
        super().__init__()
        if max_concurrency is not None and max_concurrency < 1:
            raise ValueError(f"max_concurrency={max_concurrency!r} is not possible; pass a number above 0, or None")
        self.max_concurrency = max_concurrency
        self._running: _Running | None = None

    def duplicate(self) -> Self:
        """Another runner of the same configuration."""
        return type(self)(self.max_concurrency)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MediaTaskRunner) and self.max_concurrency == other.max_concurrency

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> PrefectConcurrentFuture[Any]:
        """Start a task, and return at once with a future of its result."""
        if self._running is None:
            raise RuntimeError("Task runner is not started")
        task, waited = async_form(task), list(wait_for or ())
        if not task.isasync:
            return self._running.in_thread(task, parameters, waited, dependencies)
        future: MediaFuture[Any] = MediaFuture(clock.uuid(), nested=_within.get() is self)

        async def run() -> State[Any]:
            _within.set(self)
            # Without `context=`: with one, each task run makes a client of its own.
            state: Any = await run_task_async(
                task=task,
                task_run_id=future.task_run_id,
                parameters=parameters,
                wait_for=waited,
                return_type="state",
                dependencies=dependencies,
            )
            return state

        self._running.begin(future, run, (parameters, waited))
        return future

    def cancel_all(self) -> None:
        """Cancel all async tasks that have not ended."""
        if self._running is not None:
            self._running.cancel(lambda _: True)

    def __enter__(self) -> Self:
        super().__enter__()
        self._running = _Running(self.max_concurrency)
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc_value: Any, traceback: Any) -> None:
        try:
            if self._running is not None:
                late = self._running.end(interrupted=exc_type is not None)
                if late:
                    self.logger.warning(
                        "%s submitted tasks had not begun when the flow ended, and were cancelled; wait for their "
                        "futures, or return them from the flow",
                        late,
                    )
        finally:
            self._running = None
            super().__exit__(exc_type, exc_value, traceback)


class _Running:
    """What a runner has while its flow runs: the tasks under way, and a client of Prefect's API for all of them."""

    def __init__(self, max_concurrency: int | None) -> None:
        self._loop = background_loop()
        self._slots = asyncio.Semaphore(max_concurrency) if max_concurrency else None
        self._tasks: dict[MediaFuture[Any], asyncio.Task[State[Any]]] = {}
        self._futures: set[MediaFuture[Any]] = set()
        self._opening = asyncio.Lock()
        self._client: AsyncClientContext | None = None
        self._sync_client: SyncClientContext | None = None
        self._threads = ThreadPoolTaskRunner[Any](max_concurrency).__enter__()

    def begin(self, future: MediaFuture[Any], run: Callable[[], Awaitable[State[Any]]], inputs: object) -> None:
        """Run a task on the loop, in a copy of the caller's context: its flow run, tags, parents and logger."""
        self._futures.add(future)

        def start() -> None:
            self._tasks[future] = task = self._loop.create_task(self._outcome(future, run, inputs))
            task.add_done_callback(ended)

        def ended(task: asyncio.Task[State[Any]]) -> None:
            del self._tasks[future]
            self._futures.discard(future)
            if task.cancelled():  # before its first step
                future.wrapped_future.set_result(_not_begun(future))
            elif error := task.exception():
                future.wrapped_future.set_exception(error)
            else:
                future.wrapped_future.set_result(task.result())

        self._loop.call_soon_threadsafe(start)

    async def _outcome(
        self, future: MediaFuture[Any], run: Callable[[], Awaitable[State[Any]]], inputs: object
    ) -> State[Any]:
        try:
            await wait_for_inputs(inputs)
            async with self._slot(future), await self._shared_client():
                future.begun = True
                return await run()
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:
            # Not raised again: an exit would end the loop for everybody. The engine has put the crash on record.
            crash = await exception_to_crashed_state(error)
            return future.with_details(Crashed(message=crash.message)) if future.begun else _not_begun(future)

    def _slot(self, future: MediaFuture[Any]) -> asyncio.Semaphore | _NoSlot:
        return _NoSlot() if self._slots is None or future.nested else self._slots

    async def _shared_client(self) -> AsyncClientContext:
        """A context that holds the one client; entering it opens nothing, and leaving it closes nothing."""
        async with self._opening:
            if self._client is None:
                client = AsyncClientContext()
                await client.client.__aenter__()
                self._client = client
        return self._client.model_copy()

    def in_thread(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: list[PrefectFuture[Any]],
        dependencies: dict[str, set[RunInput]] | None,
    ) -> PrefectConcurrentFuture[Any]:
        """Run a sync task in a thread; it finds the shared client in its context."""
        with ExitStack() as stack:
            if SyncClientContext.get() is None:
                if self._sync_client is None:
                    self._sync_client = SyncClientContext()
                    self._sync_client.client.__enter__()
                stack.enter_context(self._sync_client.model_copy())
            return self._threads.submit(task, parameters, wait_for, dependencies)

    def cancel(self, which: Callable[[MediaFuture[Any]], bool]) -> int:
        """Cancel tasks, and say how many."""
        chosen = [future for future in list(self._futures) if which(future)]

        def cancel() -> None:
            for future in chosen:
                if task := self._tasks.get(future):
                    task.cancel()

        self._loop.call_soon_threadsafe(cancel)
        return len(chosen)

    def end(self, *, interrupted: bool) -> int:
        """Wait for what has begun, cancel the rest, and say how many that were; interrupted, cancel all."""
        late = self.cancel(lambda future: interrupted or not (future.begun or future.nested))
        # A flow that runs on the loop itself can't wait for it: what it began goes on, and then all is closed.
        waits = not on_background_loop()
        try:
            if waits:
                self._wait(CLEAN_UP_SECONDS if interrupted else None)
        finally:
            asyncio.run_coroutine_threadsafe(self._close(and_threads=not waits), self._loop)
            if waits:
                self._close_threads()
        return 0 if interrupted else late

    def _wait(self, seconds: float | None) -> None:
        try:
            while under_way := [future.wrapped_future for future in list(self._futures)]:
                wait(under_way, seconds)
                if seconds is not None:
                    break
        except BaseException:
            self.cancel(lambda _: True)
            wait([future.wrapped_future for future in list(self._futures)], CLEAN_UP_SECONDS)
            raise

    async def _close(self, *, and_threads: bool) -> None:
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        if and_threads:
            await asyncio.to_thread(self._close_threads)
        if self._client is not None:
            await self._client.client.__aexit__(None, None, None)

    def _close_threads(self) -> None:
        self._threads.__exit__(None, None, None)
        if self._sync_client is not None:
            self._sync_client.client.__exit__(None, None, None)


class _NoSlot:
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


def _not_begun(future: MediaFuture[Any]) -> State[Any]:
    return future.with_details(Cancelled(message="The flow ended before this task began."))
