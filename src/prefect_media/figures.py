"""Figures that servers, files and accounts give, as far as they can be reckoned with; all others are unknown."""

from __future__ import annotations

import math

TOO_MUCH = 1e15
"""No price, count or pause is that large; below it, whole numbers are exact."""

LEAST_PAUSE = 1.0
"""Shortest pause in seconds before a request that was refused is sent again, whatever the server asks for."""

LONGEST_STEP = 60.0
"""From this pause on, in seconds, one refusal after another makes it no longer."""


def amount(value: object) -> float | None:
    """A finite number from 0 on; None for everything else: negative, NaN, infinite, text, true, false."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < TOO_MUCH else None


def number_in(text: str | None) -> float | None:
    """The finite number that a text says; None where it says none, or NaN, or infinity."""
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if abs(number) < TOO_MUCH else None


def pause_after(refusals: int, asked: float) -> float:
    """Seconds until a refused request is sent again: as long as the server asks, and longer with each refusal."""
    return max(asked, min(LEAST_PAUSE * 2 ** min(refusals - 1, 10), LONGEST_STEP))
