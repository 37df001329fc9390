"""Large bodies over HTTP: one pool of connections, one set of trusted certificates and a few threads per process.

The clients that speak to providers and buckets are made for small messages; a film costs them several times the
time that it takes to move its bytes. So those go through sockets that block, in threads of their own.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..settings import settings
from .log_redaction import keep_signatures_out_of

if TYPE_CHECKING:
    import urllib3
    from _typeshed import WriteableBuffer
    from urllib3 import BaseHTTPResponse

T = TypeVar("T")

Block = bytes | memoryview
"""A piece of a body, as it passes."""

BLOCK_BYTES = 1024 * 1024
"""How much is moved, hashed and written at a time."""

LARGE_BYTES = 64 * 1024
"""Reads of at least this size block until the buffer is full."""

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""How long the other side may say nothing at all."""

CHECK_SECONDS = 5.0
"""How often it is looked whether a transfer still moves."""

SWITCH_SECONDS = 0.0005
"""How long one thread keeps the interpreter from the others while something is moved."""

STOP_SECONDS = 20.0
"""How long a transfer that is called off may take to clean up before nobody waits for it any longer."""

keep_signatures_out_of("urllib3.connectionpool", "urllib3.poolmanager", "urllib3.util.retry")


async def run_transfer(work: Callable[[], T], stop: Callable[[], None], check: Callable[[], None] | None = None) -> T:
    """Run a transfer in one of the process' few threads for them, in turn.

    Args:
        work: Does all of it, blocking.
        stop: Makes it end soon with an error; called when the caller is cancelled.
        check: Looks whether it still moves; called now and then.
    """
    future = _threads().submit(_promptly, work)
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
                await asyncio.shield(asyncio.to_thread(_wait_for_end, future.exception))
        raise


def _wait_for_end(exception: Callable[[float], BaseException | None]) -> None:
    with suppress(TimeoutError):
        exception(STOP_SECONDS)


class _Prompt:
    """Makes threads hand over the interpreter sooner while transfers are under way, all of them together.

    A transfer lets it go for every system call, over TLS 64 times for each MiB, and would then wait up to 5 ms until
    a busy thread gives it back: a flow with a hundred films over TLS takes 8 % longer.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way = 0
        self._usual = self._ours = 0.0

    def __enter__(self) -> None:
        with self._lock:
            self._under_way += 1
            if self._under_way == 1:
                self._usual = sys.getswitchinterval()
                sys.setswitchinterval(min(self._usual, SWITCH_SECONDS))
                self._ours = sys.getswitchinterval()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._under_way -= 1
            if not self._under_way and sys.getswitchinterval() == self._ours:  # else somebody has set it since
                sys.setswitchinterval(self._usual)


_prompt = _Prompt()


def _promptly(work: Callable[[], T]) -> T:
    with _prompt:
        return work()


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    """As many threads as transfers may be under way at once, for all event loops of the process together."""
    return ThreadPoolExecutor(settings().max_transfers, thread_name_prefix="prefect-media transfer")


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """What all clients of the process trust; making one costs 17 ms."""
    import httpx2

    context = httpx2.create_ssl_context()
    context.sslsocket_class = _Filling
    return context


class _Filling(ssl.SSLSocket):
    """Fills a large buffer in one go. Otherwise each record of 16 KiB goes through four calls on its way up."""

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        size = nbytes or len(view)
        if size < LARGE_BYTES:
            return super().recv_into(buffer, nbytes, flags)
        received = 0
        while received < size and (count := super().recv_into(view[received:size])):
            received += count
        return received


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


def pinned_connections(scheme: str, host: str, port: int, address: str) -> urllib3.HTTPConnectionPool:
    """Connections to an address that was checked; in all else, TLS included, they are made to the name `host`."""
    import urllib3

    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=SILENCE_SECONDS)
    if scheme == "http":
        return urllib3.HTTPConnectionPool(address, port, timeout=timeout)
    return urllib3.HTTPSConnectionPool(
        address, port, timeout=timeout, ssl_context=tls(), server_hostname=host, assert_hostname=host
    )


def fill(buffer: memoryview, response: BaseHTTPResponse) -> memoryview:
    """As much of a body as there is and as `buffer` holds; nothing at its end.

    The body's own `read` takes new memory for every block, and its `readinto` copies from there: a tenth of what moving
    a film costs. So this asks the standard library's response, which urllib3 reads from too.

    Raises:
        http.client.HTTPException: The body's framing is broken.
        OSError: The connection is.
    """
    undeclared: Any = response
    return buffer[: undeclared._original_response.readinto(buffer)]
