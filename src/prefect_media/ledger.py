"""Bought once: every purchase on record before it is paid for.

One small readable JSON object per purchase, in the same store as the media. Every step is a compare-and-swap, so
any number of processes and machines agree on who submits, and a process that dies leaves nothing locked.

    intent ──────► submitted ──────► done
      │  lease        │ job id          assets
      │               └────────────► failed     the reason, raised again instead of paying again
      └──────────────────────────► in_doubt     the reply was lost and nobody can say what became of it

An image that is bought in a batch is submitted with the batch's name on it before the batch is ordered; the batch is a
record of its own and goes the same way.

An intent carries a lease, renewed while the paid request is in the air. A lease that runs out means that the
process died with the request somewhere between here and the provider: the next one asks the provider what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from . import clock
from .budget import settle
from .errors import InvalidRequest, StoreError
from .image_batch import ImageBatch
from .record import Lease, Record
from .requests import problems_of
from .settings import settings
from .storage import Storage

CLOCK_SKEW = timedelta(hours=1)
"""How far the clocks of two machines may differ before a living lease is taken for a dead one. Long, as that costs
little: where the clock does not tell, a lease is watched for its whole length."""


@dataclass(slots=True)
class Claim:
    """A purchase as found on the ledger, and the right to move it on.

    Attributes:
        record: What the ledger says.
        version: The store's version of the record, for compare-and-swap.
        sent: Whether a paid request may have left here under this claim, and not been refused.
        busy: Keeps a renewal of the lease and a move from crossing each other.
    """

    record: Record
    version: str
    sent: bool = field(default=False, compare=False)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False, compare=False)

    @property
    def owner(self) -> str | None:
        """The name we hold the lease under; None where we hold none."""
        return self.record.lease.owner if self.record.lease else None

    def doubt(self, doubtful: bool) -> None:
        """Say whether a request of this purchase may have reached the provider and left no trace here."""
        self.record = self.record.model_copy(update={"doubtful": doubtful})

    @property
    def ours(self) -> bool:
        """Whether it is us who have to submit."""
        return self.record.state == "intent"


class Overtaken(Exception):
    """We were silent for longer than our lease, and somebody else took the purchase over."""


class Ledger:
    """The purchases of one store."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    async def claim(self, order: Record, *, retry_failed: bool = False, batch: ImageBatch | None = None) -> Claim:
        """Find the purchase, or write it down as intended, and wait while somebody else is submitting it.

        Returns a claim that is either ours to submit, or already submitted, done, failed or in doubt. With
        `retry_failed` a failed purchase becomes ours to submit again. With `batch` one that would be ours goes on
        record as bought in that batch, in one step; one in which somebody died before is still ours, and doubtful.

        Raises:
            errors.InvalidRequest: The key belongs to another request.
            errors.StoreError: The ledger can't be read or written.
        """
        await self.storage.ensure_conditional()
        owner = clock.new_id()
        seen: tuple[str, float] | None = None  # the version found, and when it was first seen
        found: tuple[Record, str] | None = None
        while True:
            if found is None:  # most purchases are new: written without a look
                record = _stamped(order, **_taken(owner, batch))
                writing = self.storage.create(_path(order.key), _json(record))
                version = await self._claiming(writing, record)
                if version is not None:
                    return await self._indexed(Claim(record, version))
            found = await self.get(order.key)
            if found is None:
                continue
            record, version = found  # somebody's, or ours where the store took it and its reply was lost
            if record.fingerprint != order.fingerprint:
                raise InvalidRequest(f"the purchase {order.key} on the ledger belongs to another request")
            await self._index(record, order.flow_run_id)
            if record.state in ("submitted", "done", "in_doubt") or (record.state == "failed" and not retry_failed):
                return Claim(record, version)
            if record.lease and record.lease.owner == owner:
                return Claim(record, version)

            now = clock.monotonic()
            seen = seen if seen and seen[0] == version else (version, now)
            if record.state == "intent" and record.lease and not _expired(record.lease, now - seen[1]):
                await clock.sleep(min(0.5, settings().lease_seconds / 10))
                continue
            # An intent nobody is working on any more, or a failure that is to be bought again.
            dead = record.state == "intent" and record.lease is not None
            taken = self._take(
                Claim(record, version),
                owner,
                batch,
                doubtful=dead or record.doubtful,
                budget=order.budget or record.budget,
            )
            if claim := await taken:
                return claim

    async def _indexed(self, claim: Claim) -> Claim:
        """A claim that was just made, with its entry in the index; without one it is given up again."""
        try:
            await self._index(claim.record)
        except BaseException:
            with suppress(StoreError):  # then the next attempt has to wait until the lease runs out
                await asyncio.shield(self.move(claim, state="intent"))
            raise
        return claim

    async def take_doubt(self, claim: Claim) -> Claim | None:
        """Make a purchase in doubt ours to clear up; None when somebody else was faster."""
        return await self._take(claim, clock.new_id(), doubtful=True)

    async def reopen(self, claim: Claim) -> Claim | None:
        """Make a batch that is done ours to submit once more; None when somebody else was faster."""
        return await self._take(claim, clock.new_id(), doubtful=False)

    async def _take(
        self, claim: Claim, owner: str, batch: ImageBatch | None = None, *, doubtful: bool, **changes: Any
    ) -> Claim | None:
        return await self.swap(
            claim,
            **changes,
            job=None,
            other_jobs=claim.record.job_ids,  # still ours: never to be taken for the job of a lost reply
            failure=None,
            attempt=claim.record.attempt + 1,
            doubtful=doubtful,
            **_taken(owner, None if doubtful else batch),
        )

    async def swap(self, claim: Claim, **changes: Any) -> Claim | None:
        """Change a purchase exactly as it was found; None when it is another by now. A budget follows."""
        record = _stamped(claim.record, **changes)
        writing = self.storage.replace(_path(record.key), _json(record), claim.version)
        if (version := await self._claiming(writing, record)) is None:
            return None
        with suppress(StoreError):
            await settle(self.storage, record)
        return Claim(record, version)

    async def _claiming(self, writing: Awaitable[str | None], mine: Record) -> str | None:
        """Write a claim. When that fails or is cancelled, what may have arrived of it is given up: nothing was sent."""
        write = asyncio.ensure_future(writing)
        try:
            return await asyncio.shield(write)
        except BaseException:
            with suppress(StoreError):  # then the next attempt has to wait until the lease runs out
                await asyncio.shield(self._given_up(write, mine))
            raise

    async def _given_up(self, write: asyncio.Future[str | None], mine: Record) -> None:
        await asyncio.wait([write])
        found = await self.get(mine.key)
        if found and found[0].lease and found[0].lease == mine.lease:
            await self.move(Claim(*found), state="intent")

    @asynccontextmanager
    async def held(self, claim: Claim) -> AsyncGenerator[None]:
        """Keep the lease alive while a paid request is in the air."""

        stop = asyncio.Event()

        async def renew() -> None:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), settings().lease_seconds / 3)
                    return
                with suppress(StoreError):  # the next renewal may work; if none does, others take it for a doubt
                    if not await self._renew(claim):
                        return  # moved on, or taken over: `confirm` and `move` find out

        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            stop.set()  # not cancelled: a renewal cut off half-way would leave us with the wrong version
            await renewal

    async def confirm(self, claim: Claim) -> None:
        """Make sure, right before paying, that the purchase is still ours to make.

        Raises:
            Overtaken: It no longer is: this process slept, or could not reach the store, for too long.
        """
        lease = claim.record.lease
        if lease and clock.now() + timedelta(seconds=lease.seconds / 2) < lease.until:
            return  # renewed a moment ago, so nobody can have taken it over
        if not await self._renew(claim):
            raise Overtaken

    async def _renew(self, claim: Claim) -> bool:
        """Prolong our lease; False when it is ours no more."""
        async with claim.busy:
            owner = claim.owner
            if owner is None or not claim.ours:
                return False
            while True:
                record = _stamped(claim.record, lease=_lease(owner))
                version = await self.storage.replace(_path(record.key), _json(record), claim.version)
                if version is not None:
                    claim.record = claim.record.model_copy(update={"lease": record.lease})
                    claim.version = version
                    return True
                found = await self.get(record.key)
                if found is None or not found[0].lease or found[0].lease.owner != owner:
                    return False
                claim.version = found[1]  # our own write, the reply to which was lost

    async def move(self, claim: Claim, **changes: Any) -> Record:
        """Move a purchase on to another state, and return what the ledger says afterwards.

        When somebody else changed the record meanwhile, what is known for certain (a job id, an asset) is
        written over what is only intended, and never the other way round. A budget it was bought on follows.
        """
        record = await self._moved(claim, changes)
        with suppress(StoreError):  # what was set aside stays set aside, which is on the safe side
            await settle(self.storage, record)
        return record

    async def _moved(self, claim: Claim, changes: dict[str, Any]) -> Record:
        async with claim.busy:
            doubtful = claim.record.doubtful and changes.get("state", claim.record.state) == "intent"
            record = _stamped(claim.record, **{"lease": None, "doubtful": doubtful, **changes})
            while True:
                version = await self.storage.replace(_path(record.key), _json(record), claim.version)
                if version is not None:
                    claim.record, claim.version = record, version
                    return record
                found = await self.get(record.key)
                if found is None:
                    raise StoreError(
                        f"the purchase {record.key} vanished from the ledger",
                        transient=False,
                        key=record.key,
                        job_id=record.job.id if record.job else None,
                    )
                theirs, claim.version = found
                if theirs.lease and theirs.lease.owner == claim.owner:
                    continue  # our own renewal, the reply to which was lost
                merged = _merged(record, theirs)
                if merged is theirs:
                    claim.record = theirs
                    return theirs
                record = merged

    async def get(self, key: str) -> tuple[Record, str] | None:
        """A purchase and the version of its record; None when there is none."""
        found = await self.storage.fetch(_path(key))
        if found is None:
            return None
        try:
            return Record.model_validate_json(found.data), found.version
        except ValueError as error:
            why = problems_of(error) if isinstance(error, ValidationError) else error
            raise StoreError(
                f"the purchase {key} on the ledger can't be read ({why}); it may come from a newer prefect-media: "
                f"update this one, or let it be bought anew with prefect-media jobs forget {key[:12]}",
                transient=False,
            ) from error

    async def purchases(self, unreadable: Callable[[StoreError], None] | None = None) -> AsyncIterator[Record]:
        """All purchases on the ledger, in no particular order.

        Args:
            unreadable: Told of what can't be read, which is then left out. By default it is raised.
        """
        async for path, _ in self.storage.list("ledger/purchases/"):
            if not path.endswith(".json"):
                continue
            try:
                found = await self.get(path.rpartition("/")[2].removesuffix(".json"))
            except StoreError as error:
                if unreadable is None or error.transient:
                    raise
                unreadable(error)
            else:
                if found:
                    yield found[0]

    async def purchases_of(self, flow_run_id: str) -> AsyncIterator[Record]:
        """The purchases that one flow run (the outermost) asked for."""
        async for path, _ in self.storage.list(f"ledger/by-run/{flow_run_id}/"):
            if found := await self.get(path.rpartition("/")[2]):
                yield found[0]

    async def forget(self, key: str) -> None:
        """Take a purchase off the ledger, so that the same request is bought anew."""
        await self.storage.delete(_path(key))

    async def _index(self, record: Record, flow_run_id: str | None = None) -> None:
        if run := flow_run_id or record.flow_run_id:
            await self.storage.create(f"ledger/by-run/{run}/{record.key}", b"{}")


def _merged(ours: Record, theirs: Record) -> Record:
    """What the ledger has to say when two moved the same purchase on: no asset and no job id may get lost."""
    winner, loser = (ours, theirs) if _outweighs(ours, theirs) else (theirs, ours)
    missing = tuple(job_id for job_id in loser.job_ids if job_id not in winner.job_ids)
    return winner.model_copy(update={"other_jobs": winner.other_jobs + missing}) if missing else winner


def _outweighs(ours: Record, theirs: Record) -> bool:
    """Whether what we know has to be written although somebody else moved the purchase on."""
    same_job = ours.job is not None and theirs.job is not None and ours.job.id == theirs.job.id
    if ours.state == "done":
        return theirs.state != "done"
    if ours.state == "submitted":
        return theirs.state in ("intent", "in_doubt") or (theirs.state == "failed" and not same_job)
    if ours.state == "failed":
        return (theirs.state == "submitted" and same_job) or (
            theirs.state == "intent" and theirs.attempt == ours.attempt
        )
    return False


def _taken(owner: str, batch: ImageBatch | None) -> dict[str, Any]:
    """What a purchase that becomes ours is: submitted by us under a lease, or bought in a batch."""
    if batch is not None:
        return {"state": "submitted", "lease": None, "batch": batch}
    return {"state": "intent", "lease": _lease(owner), "batch": None}


def _lease(owner: str) -> Lease:
    seconds = settings().lease_seconds
    return Lease(owner=owner, until=clock.now() + timedelta(seconds=seconds), seconds=seconds)


def _path(key: str) -> str:
    return f"ledger/purchases/{key}.json"


def _json(record: Record) -> bytes:
    return record.model_dump_json(indent=2).encode()


def _stamped(record: Record, **changes: Any) -> Record:
    return record.model_copy(update={"updated_at": clock.now(), **changes})


def _expired(lease: Lease, unchanged_for: float) -> bool:
    """Whether a lease has run out: watched unchanged for its whole length, or out of date beyond any clock skew."""
    return unchanged_for > lease.seconds or clock.now() > lease.until + CLOCK_SKEW
