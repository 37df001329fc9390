"""Compare-and-swap that somebody else was faster at is tried again, but not for ever: a store may never agree."""

from __future__ import annotations

from ..runtime import clock
from ..settings import settings

AT_ONCE = 3
"""Tries without a pause: mostly it was one other writer."""

LONGEST_PAUSE = 0.5


def tries() -> range:
    """The numbers of the tries, from 0."""
    return range(settings().conflict_tries)


async def back_off(number: int) -> None:
    """Wait before a try, by its number; later ones longer, and each machine differently."""
    if number >= AT_ONCE:
        longest = min(LONGEST_PAUSE, 0.01 * 2 ** min(number - AT_ONCE, 10))
        await clock.sleep(longest * clock.dice().random())
