"""One background event loop per process: the sync twins run their async originals on it, and so do submitted tasks."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from typing import Any, TypeVar

T = TypeVar("T")

CLEAN_UP_SECONDS = 10.0
"""What an interrupted coroutine gets to put on record what was paid for."""

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, which runs in a thread of its own; it is started when it is first asked for."""
    global _loop, _thread
    with _lock:
        if _loop is None or not _loop.is_running():
            loop = asyncio.new_event_loop()
            started = threading.Event()
            loop.call_soon(started.set)
            _thread = threading.Thread(target=loop.run_forever, name="prefect-media", daemon=True)
            _thread.start()
            started.wait()
            _loop = loop
        return _loop


def on_background_loop() -> bool:
    """Whether the caller runs on the loop, and so must not wait for anything else that does."""
    return threading.current_thread() is _thread


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end from sync code, also from inside a running event loop.

    All callers share one loop, so they share its connections too. When the waiting thread is interrupted
    (Ctrl-C, a cancelled flow run), the coroutine is cancelled and gets a moment to clean up.

    Raises:
        RuntimeError: The caller is an async task that runs on the loop itself, which can't wait for itself.
    """
    if on_background_loop():
        coroutine.close()
        raise RuntimeError(
            "the sync form was called in an async task that runs on the event loop it needs, so it would wait for "
            f"ever; there, await {coroutine.__qualname__} instead"
        )
    loop, outcome = background_loop(), Future[T]()
    tasks: list[asyncio.Task[None]] = []

    async def run() -> None:
        try:
            outcome.set_result(await coroutine)
        except BaseException as error:  # none may go on from here: an exit would end the loop for everybody
            outcome.set_exception(error)

    def begin() -> None:
        if outcome.set_running_or_notify_cancel():
            tasks.append(loop.create_task(run()))
            tasks[0].add_done_callback(end)
        else:
            coroutine.close()

    def end(_: asyncio.Task[None]) -> None:
        if not outcome.done():  # cancelled before its first step
            coroutine.close()
            outcome.set_exception(asyncio.CancelledError())

    loop.call_soon_threadsafe(begin)
    try:
        return outcome.result()
    except BaseException:
        if not outcome.cancel() and not outcome.done():
            loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            wait([outcome], CLEAN_UP_SECONDS)
        raise


def _forget() -> None:
    """A forked process has the loop, but not the thread that runs it."""
    global _lock, _loop, _thread
    _lock, _loop, _thread = threading.Lock(), None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
