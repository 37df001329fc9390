"""When a lease of somebody else is over: it was watched unchanged for its whole length. No wall clock is asked."""

from __future__ import annotations

from ..runtime import clock
from .record import Lease


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
