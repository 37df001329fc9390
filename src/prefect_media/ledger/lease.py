"""How long a lease lasts, and when somebody else's is over: watched unchanged for all its length, by no wall clock."""

from __future__ import annotations

from datetime import timedelta

from ..runtime import clock
from ..settings import settings
from .record import Lease


def new_lease(owner: str, renewals: int = 0) -> Lease:
    """A lease from now on, or what a renewal makes of it."""
    seconds = settings().lease_seconds
    until = clock.now() + timedelta(seconds=seconds)
    return Lease(owner=owner, until=until, seconds=seconds, renewals=renewals)


class LeaseWatch:
    """Leases by the keys of their purchases, each with the moment since which it is seen unchanged."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Lease, float]] = {}

    def seconds_left(self, key: str, lease: Lease) -> float:
        """For how long a lease still has to be watched; nothing is left of one that is over."""
        now = clock.monotonic()
        if key not in self._seen or self._seen[key][0] != lease:
            self._seen[key] = lease, now
        return self._seen[key][1] + lease.seconds - now
