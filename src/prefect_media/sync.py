"""One background event loop per process, on which the sync twins run their async originals."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CLEAN_UP_SECONDS = 10.0

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` to its end from sync code, also from inside a running event loop.

    All callers share one loop, so they share its connections too. When the waiting thread is interrupted
    (Ctrl-C, a cancelled flow run), the coroutine is cancelled and gets a moment to clean up.
    """
    ended = threading.Event()

    async def run() -> T:
        try:
            return await coroutine
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(run(), _background_loop())
    try:
        return future.result()
    except BaseException:
        if future.cancel():
            ended.wait(CLEAN_UP_SECONDS)
        raise


def _background_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None or not _loop.is_running():
            loop = asyncio.new_event_loop()
            started = threading.Event()
            loop.call_soon(started.set)
            threading.Thread(target=loop.run_forever, name="prefect-media", daemon=True).start()
            started.wait()
            _loop = loop
        return _loop
