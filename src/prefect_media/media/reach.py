"""Where a URL that somebody else wrote may lead: a reference in a user's file, a link or a redirect in an answer.

This runs on machines that reach more than those others do. So each address is checked, and the connection goes to the
address that was checked: a name that is resolved a second time could lead somewhere else by then. The server of the
credentials is known: its host may be private, and its origin alone gets what it is asked with.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.request import getproxies, proxy_bypass

import httpx

from ..user_input import redact_url

REDIRECTS = 5
"""Redirects followed at most, each one checked like the first URL."""

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

PORTS = {"http": 80, "https": 443}


class Refused(Exception):
    """A URL that is not fetched, and why."""


class Origin(NamedTuple):
    """Scheme, host and port."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Origin:
        return cls(url.scheme, url.host.rstrip(".").lower(), url.port or PORTS.get(url.scheme, 0))


@dataclass(frozen=True, slots=True)
class Home:
    """The server that a link comes from, and what it alone is asked with.

    Attributes:
        url: Any URL of it.
        headers: Sent to its origin and to no other; the key is in them.
    """

    url: httpx.URL
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def owns(self, url: httpx.URL) -> bool:
        """Whether a URL is of its own origin."""
        return Origin.of(self.url) == Origin.of(url)

    def shares_host(self, url: httpx.URL) -> bool:
        """Whether a URL is of its own host, on whatever port."""
        return Origin.of(self.url).host == Origin.of(url).host


class Way(NamedTuple):
    """How a URL may be reached: at one of these addresses, or through the proxy that the environment names."""

    addresses: list[Address]
    proxied: bool


def way_to(url: httpx.URL, *, private: bool, home: Home | None = None) -> Way:
    """Check where a URL leads. Looks names up, so it blocks.

    Args:
        url: The URL.
        private: Whether private and loopback addresses are fine; those of cloud metadata never are.
        home: The server that it comes from, whose own host may be private.

    Raises:
        Refused: It leads where nothing is fetched from.
        OSError: The name can't be looked up.
    """
    origin = Origin.of(url)
    if origin.scheme not in PORTS or not origin.host:
        raise Refused(f"{redact_url(str(url))} is not an http or https URL")
    if origin.host in METADATA_NAMES:
        raise Refused(f"{origin.host} is a metadata address and is blocked")
    proxied = _uses_proxy(origin.scheme, origin.host)
    try:
        infos = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        if not proxied:
            raise
        return Way([], proxied)  # only the proxy knows the names outside
    # Also what libc makes of 2130706433, 0x7f.1 and 0177.0.0.1.
    addresses = [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in infos]
    near = private or (home is not None and home.shares_host(url))
    for address in addresses:
        if why := objection(address, private=near):
            raise Refused(why)
    if not addresses:
        raise Refused(f"{origin.host} has no address")
    return Way(list(dict.fromkeys(addresses)), proxied)


def objection(address: Address, *, private: bool) -> str | None:
    """Why an address is not connected to; None for one that may be."""
    address = _unwrap(address)
    if any(address.version == network.version and address in network for network in METADATA):
        return f"{address} is a metadata or link-local address and is blocked"
    if private and not address.is_multicast and not address.is_unspecified:
        return None
    odd = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    if not address.is_global or odd or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local):
        return f"{address} is not a public address; PREFECT_MEDIA_ALLOW_PRIVATE_URLS=1 allows private ones"
    return None


def _unwrap(address: Address) -> Address:
    """The IPv4 address that an IPv6 address only wraps."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _uses_proxy(scheme: str, host: str) -> bool:
    """Whether this machine reaches the host through a proxy."""
    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)
