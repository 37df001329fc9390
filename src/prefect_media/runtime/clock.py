"""The one place that reads clocks, sleeps, and makes random ids: a test replaces `source` and owns time and chance."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol
from uuid import UUID, uuid4


class Source(Protocol):
    """Where time and chance come from."""

    def now(self) -> datetime:
        """The wall clock of this machine, in UTC. It may be hours off."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back, and can't be compared between machines."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for `seconds`."""
        ...

    def block(self, seconds: float) -> None:
        """Stop this thread for `seconds`."""
        ...

    def uuid(self) -> UUID:
        """A new random id."""
        ...

    def random(self) -> random.Random:
        """What dice are thrown with."""
        ...


class System:
    """The clocks and the chance of this machine."""

    def __init__(self) -> None:
        self._random = random.Random()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def block(self, seconds: float) -> None:
        time.sleep(seconds)

    def uuid(self) -> UUID:
        return uuid4()

    def random(self) -> random.Random:
        return self._random


source: Source = System()


def now() -> datetime:
    """The wall clock of this machine, in UTC. It may be hours off: no decision about money compares two of them."""
    return source.now()


def today() -> date:
    """The day in UTC."""
    return source.now().date()


def monotonic() -> float:
    """Seconds since some moment; never goes back."""
    return source.monotonic()


async def sleep(seconds: float) -> None:
    """Let others run for `seconds`."""
    await source.sleep(seconds)


def block(seconds: float) -> None:
    """Stop this thread for `seconds`."""
    source.block(seconds)


def uuid() -> UUID:
    """A new random id."""
    return source.uuid()


def new_id() -> str:
    """A new random id: 32 hexadecimal digits."""
    return source.uuid().hex


def dice() -> random.Random:
    """What dice are thrown with; not for secrets."""
    return source.random()


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment on this machine, by both of its clocks."""

    monotonic: float
    wall: float

    @classmethod
    def now(cls) -> Moment:
        return cls(source.monotonic(), source.now().timestamp())

    def seconds_until(self, later: Moment) -> float:
        """Seconds until a later moment; too many rather than too few.

        The monotonic clock stands still while a machine sleeps, and the wall clock may be set.
        """
        return max(later.monotonic - self.monotonic, later.wall - self.wall)
