"""The right to move a purchase on, as one process holds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ..runtime.clock import Moment
from .record import Record

FRESH_SECONDS = 1.0
"""A lease that was written this long ago at most is confirmed without asking the store."""


@dataclass(slots=True)
class Claim:
    """A purchase as found on the ledger, and the right to move it on.

    Attributes:
        record: What the ledger says.
        version: The store's version of the record, for compare-and-swap.
        written: When the record was last written with our lease, or just before; None where it never was.
        made: When the claim was made: nothing was sent under it before.
        inherited: Whether the purchase was in doubt already when the claim was made.
        sent: Whether a paid request may have left here under this claim, and not been refused.
        passed_over: Whether a doubt was passed over because the buyer said so. It is not cleared up by that.
        busy: Keeps a renewal of the lease and a move from crossing each other.
    """

    record: Record
    version: str
    written: Moment | None = field(default=None, compare=False)
    made: Moment = field(default_factory=Moment.now, repr=False, compare=False)
    inherited: bool = field(default=False, init=False, compare=False)
    sent: bool = field(default=False, compare=False)
    passed_over: bool = field(default=False, compare=False)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)
    _stored: Record = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.inherited, self._stored = self.record.doubtful, self.record

    @property
    def owner(self) -> str | None:
        """The name we hold the lease under; None where we hold none."""
        return self.record.lease.owner if self.record.lease else None

    def doubt(self, doubtful: bool) -> None:
        """Say whether a request of this purchase may have reached the provider and left no trace here."""
        self.record = self.record.model_copy(update={"doubtful": doubtful})

    def pass_over(self, *, sent_now: bool) -> None:
        """Go on in spite of a doubt, as the buyer said. What is bought now is paid for beside what is in doubt.

        Args:
            sent_now: Whether the request in doubt was sent under this claim; the next one is another attempt then.
        """
        self.passed_over = True
        self.record = self.record.model_copy(update={"doubtful": False, "attempt": self.record.attempt + int(sent_now)})

    def note_server_time(self, unix: float | None) -> None:
        """Remember what time it was at the server before anything was sent; what is known already stays."""
        if self.record.server_time is None and not self.inherited:
            self.record = self.record.model_copy(update={"server_time": unix})

    def note_written(self, record: Record, version: str, when: Moment) -> None:
        """Take in what the store holds now."""
        self._stored, self.version, self.written = record, version, when

    @property
    def ours(self) -> bool:
        """Whether it is us who have to submit."""
        return self.record.state == "intent"

    @property
    def fresh(self) -> bool:
        """Whether the store holds all that we know, and a lease so young that nobody can have watched it to its end."""
        lease, written = self._stored.lease, self.written
        if lease is None or written is None:
            return False
        known = (self._stored.doubtful, self._stored.server_time) == (self.record.doubtful, self.record.server_time)
        return known and self.lasting and written.seconds_until(Moment.now()) <= FRESH_SECONDS

    @property
    def lasting(self) -> bool:
        """Whether nobody can have watched our lease to its end, or will have in a moment."""
        lease, written = self._stored.lease, self.written
        if lease is None or written is None:
            return False
        return written.seconds_until(Moment.now()) <= lease.seconds / 2


class Overtaken(Exception):
    """We were silent for longer than our lease, and somebody else took the purchase over."""
