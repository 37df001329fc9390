"""What time it is at a server, by the `Date` of its own answers.

Which jobs on a server's list can be ours is decided by the server's clock alone, so that a wrong clock of ours hides
no job. Between two answers our monotonic clock counts the seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from ..runtime.clock import Moment

Oldest = Callable[[], float | None]
"""Unix time by a server's clock before which nothing on its list matters; None where all of it does."""


@dataclass(frozen=True, slots=True)
class _Reading:
    unix: float
    at: Moment


_readings: dict[str, _Reading] = {}
"""The newest one of each server, by its base URL."""


def note_date(base_url: str, headers: Mapping[str, str]) -> None:
    """Remember what time an answer says it is."""
    try:
        date = parsedate_to_datetime(headers["date"])
        unix = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return
    _readings[base_url] = _Reading(unix, Moment.now())


def server_time(base_url: str, moment: Moment | None = None) -> float | None:
    """Unix time at a server at a moment of ours (now, by default), or earlier; None where it never said."""
    if (reading := _readings.get(base_url)) is None:
        return None
    moment = moment or Moment.now()
    if moment.monotonic >= reading.at.monotonic:
        return reading.unix + moment.monotonic - reading.at.monotonic
    return reading.unix - moment.seconds_until(reading.at)
