"""Large bodies over HTTP: one pool of connections, one set of trusted certificates and a few threads per process.

The clients that speak to providers and buckets are made for small messages; a film costs them several times the
time that it takes to move its bytes. So those go through sockets that block, in threads of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from .settings import settings

if TYPE_CHECKING:
    import ssl

    import urllib3

T = TypeVar("T")

BLOCK_BYTES = 1024 * 1024
"""How much is moved, hashed and written at a time."""

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""How long the other side may say nothing at all."""

CHECK_SECONDS = 5.0
"""How often it is looked whether a transfer still moves."""

STOP_SECONDS = 20.0
"""How long a transfer that is called off may take to clean up before nobody waits for it any longer."""


async def moved(work: Callable[[], T], stop: Callable[[], None], check: Callable[[], None] | None = None) -> T:
    """Run a transfer in one of the process' few threads for them, in turn.

    Args:
        work: Does all of it, blocking.
        stop: Makes it end soon with an error; called when the caller is cancelled.
        check: Looks whether it still moves; called now and then.
    """
    future = _threads().submit(work)
    waiting = asyncio.wrap_future(future)
    try:
        while not (await asyncio.wait({waiting}, timeout=CHECK_SECONDS))[0]:
            if check:
                check()
        return waiting.result()
    except asyncio.CancelledError:
        stop()
        waiting.cancel()
        if not future.cancel():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(asyncio.to_thread(_ended, future.exception))
        raise


def _ended(exception: Callable[[float], BaseException | None]) -> None:
    with suppress(TimeoutError):
        exception(STOP_SECONDS)


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """As many threads as transfers may be under way at once, for all event loops of the process together."""
    return ThreadPoolExecutor(settings().max_transfers, thread_name_prefix="prefect-media transfer")


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """What all clients of the process trust; making one costs 17 ms."""
    import httpx2

    return httpx2.create_ssl_context()


def connections(url: str) -> urllib3.PoolManager:
    """The connections to the server of `url`, through a proxy where the environment names one."""
    parts = urlsplit(url)
    if parts.hostname and proxy_bypass(parts.hostname):
        return _connections(None)
    proxies = getproxies()
    return _connections(proxies.get(parts.scheme) or proxies.get("all"))


@lru_cache(maxsize=8)
def _connections(proxy: str | None) -> urllib3.PoolManager:
    import urllib3

    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS)
    maxsize = 2 * settings().max_transfers
    if proxy:
        return urllib3.ProxyManager(proxy, maxsize=maxsize, ssl_context=tls(), timeout=timeout)
    return urllib3.PoolManager(maxsize=maxsize, ssl_context=tls(), timeout=timeout)
