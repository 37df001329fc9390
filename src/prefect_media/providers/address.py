"""Which addresses a request may go to: the origin of the credentials alone, and in a path nothing but plain names.

Records in the store can be edited by hand, and ids come from servers. Neither may lead a key to another host, nor a
request to another route of the same one. Nothing in this file does any input or output.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any
from urllib.parse import quote, urlsplit

from ..cleaning import HIDDEN
from ..errors import InvalidRequest

DEFAULT_PORTS = {"http": 80, "https": 443}

LONGEST_ID = 1024
"""Characters of an id or a name in a path. The longest ids seen, LiteLLM's, have about 300."""

_ODD = re.compile(r"[\s\\\x00-\x1f\x7f]")
"""What parsers of URLs read in different ways; a host that is checked by one must be what another connects to."""

_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~$&'()*+,;=:-][A-Za-z0-9._~$&'()*+,;=:-]*)*")
"""A path without a query, without percent codes, and with no name that begins with a dot."""


def origin_of(url: str) -> str | None:
    """Scheme, host and port of a URL, always written the same way; None where there is none to rely on."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if _ODD.search(url) or not host or not port or "@" in parts.netloc:
        return None
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def base_url_at(own: str, what: str, base_url: str, **details: Any) -> str:
    """The base URL to ask for something that was made earlier: its own path, at the origin of the credentials.

    The path may differ: the same server may have been given by another prefix or API version. The origin is written
    as the credentials write it, so that it does not matter how the record spells it.

    Args:
        own: The base URL of the credentials given.
        what: What was made, for the error.
        base_url: Where the record says that it was made.
        details: Further details of the error.

    Raises:
        errors.InvalidRequest: It was made at another origin; nothing was sent.
    """
    if base_url == own:
        return base_url
    theirs, ours = origin_of(base_url), origin_of(own)
    if theirs is None or theirs != ours:
        raise InvalidRequest(
            f"{what} was made at {theirs or 'an address that can not be read'}, and these credentials are for {ours}; "
            "a key is sent to its own server only; pass the credentials it was made with. Nothing was sent",
            **details,
        )
    path = urlsplit(base_url).path.rstrip("/")
    if not _PLAIN_PATH.fullmatch(path) or "?" in base_url or "#" in base_url:
        raise InvalidRequest(
            f"{what} has a base_url with a path that no API has: {base_url[:200]!r}; it has to look like "
            f"{own}. Nothing was sent",
            **details,
        )
    parts = urlsplit(own)
    return f"{parts.scheme}://{parts.netloc}{path}"


def objection_to(name: str) -> str | None:
    """Why a text can't be an id or a name in a path; None for one that can."""
    if not name:
        return "it is empty"
    if len(name) > LONGEST_ID:
        return f"it has {len(name):,} characters, and {LONGEST_ID:,} are possible"
    if name in (".", ".."):
        return "it is a step in a path"
    if HIDDEN in name:
        return "it has a secret in it"
    for character in name:
        if character in "/\\?#\ufffd" or character.isspace() or unicodedata.category(character).startswith("C"):
            return f"it contains {character!r}".replace("\\\\", "\\")
    return None


def segment(what: str, name: str) -> str:
    """An id or a name as one segment of a path. Everything that goes into a path comes through here.

    Args:
        what: What it is, for the error: "job id".
        name: The id or name.

    Raises:
        errors.InvalidRequest: It can't be one; nothing was sent.
    """
    if why := objection_to(name):
        raise InvalidRequest(
            f"{what} {shortened(name)} can't be used: {why}; pass it exactly as the server gave it. Nothing was sent"
        )
    return quote(name, safe="")


def shortened(name: str) -> str:
    """A text of any length and content as a message may show it."""
    return ascii(name if len(name) <= 100 else f"{name[:100]}...")
