"""Fetching what a URL in somebody's file points at, without becoming their way into the network.

Prompts and URLs come from files that others write, and this runs on machines that reach more than those others do.
So each address is checked, and the connection goes to the address that was checked: a name that is resolved a
second time could lead somewhere else by then.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from functools import lru_cache
from urllib.request import getproxies, proxy_bypass

import httpx

from .errors import InvalidRequest
from .link_logs import keep_signatures_out_of
from .user_input import shortened

keep_signatures_out_of("httpx")

REDIRECTS = 5
"""Redirects followed at most, each one checked like the first URL."""

PATIENCE = 60.0
"""Seconds for everything, so that no server can keep us with a byte a minute."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds hand out their machines' passwords. No setting opens these.
# AWS, Azure, Google, Oracle and DigitalOcean: 169.254.169.254, and neighbours (169.254.170.2, 169.254.170.23).
METADATA = [
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fd00:ec2::/32",  # AWS: fd00:ec2::254, fd00:ec2::23
        "fd20:ce::254/128",  # Google
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's wire server; looks like a public address
        "192.0.0.192/32",  # Oracle Classic
    )
]
METADATA_NAMES = {
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
}

NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Refused(Exception):
    """A URL that is not fetched, and why."""


async def fetch(url: str, *, limit: int, private: bool = False, what: str = "the reference image") -> bytes:
    """The content behind an http or https URL.

    Args:
        url: The URL.
        limit: Most bytes to take.
        private: Whether private and loopback addresses are fine; those of cloud metadata never are.
        what: How to call it in a message.

    Raises:
        errors.InvalidRequest: It is not allowed, too large, or can't be had (then `missing` is true).
    """
    missing = True
    try:
        async with asyncio.timeout(PATIENCE):
            return await _fetched(url, limit, private)
    except Refused as refused:
        why, missing = f"{what} {shown(url)} is not fetched: {refused}", False
    except httpx.HTTPStatusError as error:
        why = f"{what} {shown(url)} can't be fetched: HTTP {error.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        name = f"not there within {PATIENCE:g} s" if isinstance(error, TimeoutError) else type(error).__name__
        why = f"{what} {shown(url)} can't be fetched: {name}"
    raise InvalidRequest(f"{why}. Nothing was sent", missing=missing)


def shown(url: str) -> str:
    """A URL as a message may show it: without a login, a signed query or a fragment."""
    scheme, mark, rest = url.partition("?")[0].partition("#")[0].partition("://")
    if not mark:
        return shortened(scheme)
    host, slash, path = rest.partition("/")
    return shortened(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}")


def objection(address: Address, *, private: bool) -> str | None:
    """Why an address is not connected to; None for one that may be."""
    address = _unwrapped(address)
    if any(address.version == network.version and address in network for network in METADATA):
        return f"{address} is where clouds and local networks keep what is not for others"
    if private and not address.is_multicast and not address.is_unspecified:
        return None
    odd = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    if not address.is_global or odd or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local):
        return f"{address} is not a public address; PREFECT_MEDIA_ALLOW_PRIVATE_URLS=1 allows private ones"
    return None


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 address only wraps."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


async def _fetched(url: str, limit: int, private: bool) -> bytes:
    there = httpx.URL(url)
    for _ in range(REDIRECTS + 1):
        answer = await _one(there, limit, private)
        if isinstance(answer, bytes):
            return answer
        there = there.join(answer)
    raise Refused(f"it redirects more than {REDIRECTS} times")


async def _one(url: httpx.URL, limit: int, private: bool) -> bytes | str:
    """The content, or where it is said to be."""
    host, port = url.host.rstrip("."), url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    if url.scheme not in ("http", "https") or not host:
        raise Refused(f"{shown(str(url))} is not an http or https URL")
    if host.lower() in METADATA_NAMES:
        raise Refused(f"{host} is where clouds keep what is not for others")
    proxied = _proxied(url.scheme, host)
    try:
        addresses = await _checked(host, port, private)
    except socket.gaierror:
        if not proxied:
            raise
        addresses = []  # only the proxy knows the names outside
    if proxied:
        # The proxy connects, to what it takes the name for; what could be checked here was.
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            return await _read(client, client.build_request("GET", url, headers=_PLAIN), limit)
    failure: httpx.HTTPError | None = None
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False, verify=_tls()) as client:
        for address in addresses:
            try:
                return await _read(client, _pinned(client, url, address), limit)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error  # a machine without IPv6 gets IPv6 addresses all the same
    raise failure or Refused(f"{host} has no address")


_PLAIN = {"Accept": "image/*, */*;q=0.5", "Accept-Encoding": "identity"}


def _pinned(client: httpx.AsyncClient, url: httpx.URL, address: Address) -> httpx.Request:
    """A request that goes to an address and is otherwise, TLS included, made to the name."""
    headers = {**_PLAIN, "Host": url.netloc.decode("ascii")}
    return client.build_request(
        "GET",
        url.copy_with(host=str(address), fragment=None),
        headers=headers,
        extensions={"sni_hostname": url.raw_host.decode("ascii")},
    )


async def _checked(host: str, port: int, private: bool) -> list[Address]:
    """The addresses of a host, every one of them fine. Also what libc makes of 2130706433, 0x7f.1 and 0177.0.0.1."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
    for address in addresses:
        if why := objection(address, private=private):
            raise Refused(why)
    return list(dict.fromkeys(addresses))


async def _read(client: httpx.AsyncClient, request: httpx.Request, limit: int) -> bytes | str:
    response = await client.send(request, stream=True)
    try:
        if response.has_redirect_location:
            return response.headers["Location"]
        response.raise_for_status()
        data = bytearray()
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > limit:
                raise Refused(f"it is larger than {limit:,} bytes")
        return bytes(data)
    finally:
        await response.aclose()


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """What this machine trusts, an SSL_CERT_FILE of its own included."""
    return httpx.create_ssl_context()


def _proxied(scheme: str, host: str) -> bool:
    """Whether this machine reaches the host through a proxy."""
    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)
