"""A server's clock, by the `Date` header of its answers.

Whether a job on a server's list is recent enough to be ours is decided by the server's clock alone, so that a wrong
local clock hides no job. Between two answers the local monotonic clock counts the seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from ..runtime.clock import Moment

Oldest = Callable[[], float | None]
"""Unix time by a server's clock; older items of its list are ignored. None: no item is."""


@dataclass(frozen=True, slots=True)
class _Reading:
    unix: float
    at: Moment


_readings: dict[str, _Reading] = {}
"""The newest reading of each server, by its base URL."""


def record_date(base_url: str, headers: Mapping[str, str]) -> None:
    """Keep the date of an answer as the newest reading of its server."""
    try:
        date = parsedate_to_datetime(headers["date"])
        unix = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError):
        return
    _readings[base_url] = _Reading(unix, Moment.now())


def server_time(base_url: str, moment: Moment | None = None) -> float | None:
    """Unix time by a server's clock at a local moment (now by default); None where no answer had a date."""
    if (reading := _readings.get(base_url)) is None:
        return None
    moment = moment or Moment.now()
    if moment.monotonic >= reading.at.monotonic:
        return reading.unix + moment.monotonic - reading.at.monotonic
    return reading.unix - moment.seconds_until(reading.at)
