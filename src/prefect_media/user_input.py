"""What people give, as text and as JSON: what of it can't be sent, and how much of it a message quotes."""

from __future__ import annotations

import json
from reprlib import Repr
from typing import Any, cast

MOST_QUOTED = 160
"""Characters of somebody's input that a message quotes at most."""

DEEPEST = 100
"""How deep JSON may be nested: what reads it again stops at 200, and records have some levels of their own."""

MOST_VALUES = 1_000_000
"""Values in one piece of JSON at most."""

_repr = Repr()
_repr.maxstring = _repr.maxother = MOST_QUOTED
_repr.maxlevel = 3


def quoted(value: object) -> str:
    """A value as a message quotes it: as Python writes it, cut in the middle where that is long."""
    try:
        return _repr.repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} that is too long to be shown"


def shortened(text: str) -> str:
    """A text as a message shows it without quotes: its beginning where it is long, and no characters that are none."""
    if len(text) > MOST_QUOTED:
        text = f"{text[:MOST_QUOTED]}... ({len(text):,} characters)"
    return text if text.isprintable() else repr(text)[1:-1]


def parse_json(text: str | bytes | bytearray) -> Any:
    """What a JSON text says.

    Raises:
        json.JSONDecodeError: It is no JSON, or nested too deep to be read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("it is nested too deep to be read", "", 0) from None


def fault_of(value: object) -> str | None:
    """Why something can't be sent or kept as JSON text; None for what can."""
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
    return f"it has more than {MOST_VALUES:,} values in it"


def _fault_of_text(text: str) -> str | None:
    if "\0" in text:
        return f"it has a NUL character in it, at position {text.index(chr(0)):,}; take it out"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (
            f"it has half of a surrogate pair in it ({text[error.start]!r} at position {error.start:,}), "
            "which is no character; take it out, or read the text as UTF-8"
        )
    return None
