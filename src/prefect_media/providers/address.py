"""The addresses that a request may go to: the origin of the credentials only, with plain names in the path.

Records in the store can be edited by hand, and ids come from servers. Neither may send a key to another host, or a
request to another route of the same host. Nothing in this file does any input or output.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any
from urllib.parse import quote, urlsplit

from ..cleaning import HIDDEN
from ..errors import InvalidRequest
from ..user_input import brief_repr

DEFAULT_PORTS = {"http": 80, "https": 443}

LONGEST_ID = 1024
"""Most characters of an id or a name in a path. LiteLLM has the longest ids, of about 300."""

_ODD = re.compile(r"[\s\\\x00-\x1f\x7f]")
"""Characters that URL parsers read differently; the host that is checked must be the host that is connected to."""

_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~$&'()*+,;=:-][A-Za-z0-9._~$&'()*+,;=:-]*)*")
"""A path without a query, without percent codes, and with no name that begins with a dot."""


def origin_of(url: str) -> str | None:
    """Scheme, host and port of a URL in one spelling; None where the URL is malformed or ambiguous."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if _ODD.search(url) or not host or not port or "@" in parts.netloc:
        return None
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def base_url_at(own: str, what: str, base_url: str, **details: Any) -> str:
    """The base URL for requests about something that was made earlier: its own path, at the origin of the credentials.

    The path may differ, because the same server may be configured with another prefix or API version. The origin is
    spelled as in the credentials, not as in the record.

    Args:
        own: The base URL of the credentials.
        what: What was made, for the error.
        base_url: The base URL on record.
        details: Further details of the error.

    Raises:
        errors.InvalidRequest: It was made at another origin, or its URL is malformed; nothing was sent.
    """
    if base_url == own:
        return base_url
    theirs, ours = origin_of(base_url), origin_of(own)
    if theirs is None or theirs != ours:
        raise InvalidRequest(
            f"{what} was made at {theirs or 'a malformed address'}, and these credentials are for {ours}; "
            "a key is sent to its own server only; pass the credentials it was made with; nothing was sent",
            **details,
        )
    path = urlsplit(base_url).path.rstrip("/")
    if not _PLAIN_PATH.fullmatch(path) or "?" in base_url or "#" in base_url:
        raise InvalidRequest(
            f"{what} has a malformed path in base_url={brief_repr(base_url)}; it has to look like {own}; "
            "nothing was sent",
            **details,
        )
    parts = urlsplit(own)
    return f"{parts.scheme}://{parts.netloc}{path}"


def id_problem(name: str) -> str | None:
    """Why a text can't be an id or a name in a path; None where it can."""
    if not name:
        return "it is empty"
    if len(name) > LONGEST_ID:
        return f"it has {len(name):,} characters, and at most {LONGEST_ID:,} are allowed"
    if name in (".", ".."):
        return "it is a relative path"
    if HIDDEN in name:
        return "it contains a secret"
    for character in name:
        if character in "/\\?#\ufffd" or character.isspace() or unicodedata.category(character).startswith("C"):
            return f"it contains {character!r}".replace("\\\\", "\\")
    return None


def segment(what: str, name: str) -> str:
    """An id or a name, quoted as one segment of a path. Every id in a path is quoted here.

    Args:
        what: What it is, for the error: "job id".
        name: The id or name.

    Raises:
        errors.InvalidRequest: It is malformed; nothing was sent.
    """
    if problem := id_problem(name):
        raise InvalidRequest(
            f"{what} {brief_repr(name)} is malformed: {problem}; pass it as the server gave it; nothing was sent"
        )
    return quote(name, safe="")
