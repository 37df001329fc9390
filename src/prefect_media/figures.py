"""Numbers from servers, files and accounts: checked before anything is computed with them."""

from __future__ import annotations

import math

TOO_MUCH = 1e15
"""Larger than any price, count or pause; below it, floats represent whole numbers exactly."""

LEAST_PAUSE = 1.0
"""Shortest pause before a refused request is retried, in seconds, even if the server asks for less."""

LONGEST_STEP = 60.0
"""Longest pause by our own backoff, in seconds; the server may ask for more."""


def finite(value: object) -> float | None:
    """A finite number, which may be negative; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < TOO_MUCH else None


def amount(value: object) -> float | None:
    """A finite number of at least 0; None for anything else: negative, NaN, infinite, text, true, false."""
    number = finite(value)
    return number if number is not None and number >= 0 else None


def number_in(text: str | None) -> float | None:
    """The finite number in a text; None where it is not a number, NaN or infinite."""
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if abs(number) < TOO_MUCH else None


def pause_after(refusals: int, retry_after: float) -> float:
    """Seconds until a refused request is retried: at least what the server asked for, and longer with each refusal."""
    return max(retry_after, min(LEAST_PAUSE * 2 ** min(refusals - 1, 10), LONGEST_STEP))
