"""Fetching what a URL that somebody else wrote points at, without becoming their way into the network (see reach.py).

For what fits into memory: reference images, and images that an answer names by a link. Videos go the same ways in
providers/content.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from ..errors import InvalidRequest
from ..runtime.log_redaction import keep_signatures_out_of
from ..runtime.transfers import tls
from ..runtime.unpacking import Unpacker
from ..user_input import redact_url
from .reach import REDIRECTS, Address, Home, Refused, way_to

keep_signatures_out_of("httpx")

PATIENCE = 60.0
"""Seconds for everything, so that no server can keep us with a byte a minute."""

_PLAIN = {"Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}


class Missing(Exception):
    """What is behind a URL can't be had, and why. The answer itself is never quoted.

    Attributes:
        status_code: The HTTP status, where there was an answer.
    """

    def __init__(self, why: str, status_code: int | None = None) -> None:
        super().__init__(why)
        self.status_code = status_code


async def fetch(url: str, *, limit: int, private: bool = False, what: str = "the reference image") -> bytes:
    """The content behind an http or https URL that a user gave.

    Args:
        url: The URL.
        limit: Most bytes to take.
        private: Whether private and loopback addresses are fine; those of cloud metadata never are.
        what: How to call it in a message.

    Raises:
        errors.InvalidRequest: It is not allowed, too large, or can't be had (then `missing` is true).
    """
    try:
        return await download(url, limit=limit, private=private)
    except Refused as refused:
        why, missing = f"{what} {redact_url(url)} is not fetched: {refused}", False
    except Missing as absent:
        why, missing = f"{what} {redact_url(url)} can't be fetched: {absent}", True
    raise InvalidRequest(f"{why}; nothing was sent", missing=missing)


async def download(
    url: str, *, limit: int, private: bool = False, home: Home | None = None, patience: float | None = None
) -> bytes:
    """The content behind an http or https URL, from wherever that may lead.

    Args:
        url: The URL.
        limit: Most bytes to take.
        private: Whether private and loopback addresses are fine.
        home: The server whose answer the URL is from.
        patience: Seconds for everything; None is `PATIENCE`.

    Raises:
        Refused: It is not allowed, or too large.
        Missing: It can't be had.
    """
    patience = PATIENCE if patience is None else patience
    try:
        async with asyncio.timeout(patience):
            return await _fetch(url, limit, private, home)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        name = f"not there within {patience:g} s" if isinstance(error, TimeoutError) else type(error).__name__
        raise Missing(name) from None


async def _fetch(url: str, limit: int, private: bool, home: Home | None) -> bytes:
    there, left = httpx.URL(url), False
    for _ in range(REDIRECTS + 1):
        # Who was sent away once is a stranger's guest from then on, even back at home.
        own = not left and home is not None and home.owns(there)
        left = not own
        answer = await _at_home(there, limit, home) if own and home else await _abroad(there, limit, private, home)
        if isinstance(answer, bytes):
            return answer
        there = there.join(answer)
    raise Refused(f"it redirects more than {REDIRECTS} times")


async def _at_home(url: httpx.URL, limit: int, home: Home) -> bytes | str:
    """The content from the server of the credentials, which is asked as it always is."""
    async with httpx.AsyncClient(timeout=PATIENCE, verify=tls()) as client:
        return await _read(client, client.build_request("GET", url, headers={**_PLAIN, **home.headers}), limit)


async def _abroad(url: httpx.URL, limit: int, private: bool, home: Home | None) -> bytes | str:
    """The content from anywhere else, or where it is said to be."""
    way = await asyncio.to_thread(way_to, url, private=private, home=home)
    if way.proxied:
        # The proxy connects, to what it takes the name for; what could be checked here was.
        async with httpx.AsyncClient(timeout=PATIENCE, verify=tls()) as client:
            return await _read(client, client.build_request("GET", url, headers=_PLAIN), limit)
    failure: httpx.HTTPError | None = None
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, verify=tls()) as client:
        for address in way.addresses:
            try:
                return await _read(client, _pin(client, url, address), limit)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error  # a machine without IPv6 gets IPv6 addresses all the same
    assert failure is not None
    raise failure


def _pin(client: httpx.AsyncClient, url: httpx.URL, address: Address) -> httpx.Request:
    """A request that goes to an address and is otherwise, TLS included, made to the name."""
    headers: Mapping[str, str] = {**_PLAIN, "Host": url.netloc.decode("ascii")}
    return client.build_request(
        "GET",
        url.copy_with(host=str(address), fragment=None),
        headers=headers,
        extensions={"sni_hostname": url.raw_host.decode("ascii")},
    )


async def _read(client: httpx.AsyncClient, request: httpx.Request, limit: int) -> bytes | str:
    response = await client.send(request, stream=True)
    try:
        if response.has_redirect_location:
            return response.headers["Location"]
        if not response.is_success:
            raise Missing(f"HTTP {response.status_code}", response.status_code)
        length = response.headers.get("Content-Length", "")
        data = None if length.isdecimal() and int(length) > limit else await _body(response, limit)
        if data is None:
            raise Refused(f"it is larger than {limit:,} bytes")
        return data
    finally:
        await response.aclose()


async def _body(response: httpx.Response, limit: int) -> bytes | None:
    """The body of an answer; None where it is larger, so that no error keeps it in memory."""
    unpacker, data = Unpacker(response.headers.get("Content-Encoding", "")), bytearray()
    async for chunk in response.aiter_raw():
        for piece in unpacker.feed(chunk):
            data += piece
            if len(data) > limit:
                return None
    return bytes(data)
