"""Text and JSON that users pass: whether it can be sent, and how error messages show it."""

from __future__ import annotations

import json
from reprlib import Repr
from typing import Any, cast

MOST_QUOTED = 160
"""Most characters of a value that a message shows."""

DEEPEST = 100
"""Deepest nesting of JSON: pydantic stops reading at 200, and records add some levels of their own."""

MOST_VALUES = 1_000_000
"""Most values in one piece of JSON."""

_repr = Repr()
_repr.maxstring = _repr.maxother = MOST_QUOTED
_repr.maxlevel = 3


def brief_repr(value: object) -> str:
    """The repr of a value for a message, with the middle left out where it is long."""
    try:
        return _repr.repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} that is too long to show"


def redact_url(url: str) -> str:
    """A URL as a message may show it: without a login, a query or a fragment."""
    scheme, mark, rest = url.partition("?")[0].partition("#")[0].partition("://")
    if not mark:
        return brief_text(scheme)
    host, slash, path = rest.partition("/")
    return brief_text(f"{scheme}://{host.rpartition('@')[2]}{slash}{path}")


def brief_text(text: str) -> str:
    """A text for a message, without quotes: only its beginning where it is long, and unprintable characters escaped."""
    if len(text) > MOST_QUOTED:
        text = f"{text[:MOST_QUOTED]}... ({len(text):,} characters)"
    return text if text.isprintable() else repr(text)[1:-1]


def parse_json(text: str | bytes | bytearray) -> Any:
    """The value of a JSON text.

    Raises:
        json.JSONDecodeError: It is not JSON, or nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("it is nested too deep", "", 0) from None


def fault_of(value: object) -> str | None:
    """Why a value can't be sent or stored as JSON text; None where it can."""
    waiting: list[tuple[object, int]] = [(value, 0)]
    for _ in range(MOST_VALUES):
        if not waiting:
            return None
        value, depth = waiting.pop()
        if isinstance(value, str):
            if fault := _fault_of_text(value):
                return fault
        elif isinstance(value, dict | list | tuple):
            if depth == DEEPEST:
                return f"it is nested more than {DEEPEST} levels deep"
            inner = cast(dict[Any, Any] | list[Any] | tuple[Any, ...], value)
            waiting += [(each, depth + 1) for each in inner]
            if isinstance(inner, dict):
                waiting += [(each, depth + 1) for each in inner.values()]
    return f"it has more than {MOST_VALUES:,} values"


def _fault_of_text(text: str) -> str | None:
    if "\0" in text:
        return f"it contains a NUL character at position {text.index(chr(0)):,}; remove it"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (
            f"it contains half of a surrogate pair ({text[error.start]!r} at position {error.start:,}), which is no "
            "character; remove it, or decode the text as UTF-8"
        )
    return None
