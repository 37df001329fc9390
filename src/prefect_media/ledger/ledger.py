"""Bought once: every purchase on record before it is paid for.

One small readable JSON object per purchase, in the same store as the media. Every step is a compare-and-swap, so
any number of processes and machines agree on who submits, and a process that dies leaves nothing locked.

    intent ──────► submitted ──────► done
      │  lease        │ job id          assets
      │               └────────────► failed     the reason, raised again instead of paying again
      └──────────────────────────► in_doubt     the reply was lost, and its outcome is unknown

An image that is bought in a batch is submitted with the batch's name on it before the batch is ordered; the batch is a
record of its own and goes the same way.

An intent carries a lease, renewed while the paid request is in the air. A lease that was watched unchanged for its
whole length means that the process died with the request somewhere between here and the provider: the next one asks
the provider what it has. No wall clock takes part in that.

An intent with a lease that is not doubtful may have its request in the air; a doubtful one has not, its owner is
looking for the outcome of an earlier one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any

from ..errors import InvalidRequest, StoreError
from ..image_batch import ImageBatch
from ..runtime import clock
from ..runtime.clock import Moment
from ..settings import settings
from . import prompt_index
from .accounts import settle
from .claim import Claim, Overtaken
from .conflicts import back_off, tries
from .lease import LeaseWatch, new_lease
from .record import Record
from .record_merge import merge, with_jobs_of
from .records import Records, json_of, path_of

CONFIRMATIONS = 3
"""How often a lease is renewed before a paid request is sent, when the renewal itself took too long."""


class Ledger(Records):
    """The purchases of one store."""

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
        await prompt_index.begin(self.storage)
        owner, watch = clock.new_id(), LeaseWatch()
        entry: tuple[Record, str] | None = None
        for number in tries():
            await back_off(number)
            if entry is None:  # most purchases are new: written without a look
                record, when = _stamp(order, **_claim_fields(owner, batch)), Moment.now()
                writing = self.storage.create(path_of(order.key), json_of(record))
                version = await self._claiming(writing, record)
                if version is not None:
                    return await self._index_claim(Claim(record, version, when))
            entry = await self._idle(order, owner, watch)
            if entry is None:
                continue
            record, version = entry
            if record.state in ("submitted", "done", "in_doubt") or (record.state == "failed" and not retry_failed):
                await self.settle(record)
                return Claim(record, version)
            if record.lease and record.lease.owner == owner:
                return Claim(record, version)
            # An intent nobody is working on any more, or a failure that is to be bought again.
            try:
                await settle(self.storage, record)  # before its next attempt takes its place in the account
            except StoreError as error:
                if error.transient:
                    raise
            doubtful = record.doubtful or (record.state == "intent" and record.lease is not None)
            taken = self._take(
                Claim(record, version),
                owner,
                batch,
                doubtful=doubtful,
                budget=order.budget or record.budget,
                server_time=record.server_time if doubtful else order.server_time,
            )
            if claim := await taken:
                return claim
        raise _contention_error(order)

    async def _idle(self, order: Record, owner: str, watch: LeaseWatch) -> tuple[Record, str] | None:
        """The purchase once nobody else is alive who submits it; None when there is none."""
        indexed = False
        while (entry := await self.get(order.key)) is not None:
            record = entry[0]  # somebody's, or ours where the store took it and its reply was lost
            if record.fingerprint != order.fingerprint:
                raise InvalidRequest(f"the purchase {order.key} on the ledger belongs to another request")
            if not indexed:  # once, however long we wait
                await self.index(record, order.flow_run_id)
                indexed = True
            theirs = record.lease if record.state == "intent" else None
            if theirs is None or theirs.owner == owner or watch.seconds_left(record.key, theirs) <= 0:
                return entry
            await clock.sleep(min(0.5, settings().lease_seconds / 10))
        return None

    async def _index_claim(self, claim: Claim) -> Claim:
        """A claim that was just made, with its entry in the index; without one it is given up again."""
        try:
            await self.index(claim.record)
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
            **_claim_fields(owner, None if doubtful else batch),
        )

    async def swap(self, claim: Claim, **changes: Any) -> Claim | None:
        """Change a purchase exactly as it was found; None when it is another by now. A budget follows."""
        record, when = _stamp(claim.record, **changes), Moment.now()
        writing = self.storage.replace(path_of(record.key), json_of(record), claim.version)
        if (version := await self._claiming(writing, record)) is None:
            return None
        with suppress(StoreError):
            await settle(self.storage, record)
        return Claim(record, version, when)

    async def settle(self, record: Record) -> None:
        """Book a purchase that is done, failed or given up, where whoever put that on record could not."""
        with suppress(StoreError):  # what was reserved stays reserved, which is on the safe side
            await settle(self.storage, record)

    async def _claiming(self, writing: Awaitable[str | None], mine: Record) -> str | None:
        """Write a claim. When that fails or is cancelled, what may have arrived of it is given up: nothing was sent."""
        write = asyncio.ensure_future(writing)
        try:
            return await asyncio.shield(write)
        except BaseException:
            with suppress(StoreError):  # then the next attempt has to wait until the lease runs out
                await asyncio.shield(self._give_up(write, mine))
            raise

    async def _give_up(self, write: asyncio.Future[str | None], mine: Record) -> None:
        await asyncio.wait([write])
        entry = await self.get(mine.key)
        if entry and entry[0].lease and entry[0].lease == mine.lease:
            await self.move(Claim(*entry), state="intent")

    @asynccontextmanager
    async def keep_lease(self, claim: Claim) -> AsyncGenerator[None]:
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
        for _ in range(CONFIRMATIONS):
            if claim.fresh:
                return
            await self.renew(claim)
            if claim.lasting:
                return
        raise Overtaken  # each time we were silent for longer than a lease may be

    async def renew(self, claim: Claim) -> None:
        """Write our lease and what we know of a doubt.

        Raises:
            Overtaken: The purchase is ours no more.
            errors.StoreError: It could not be written.
        """
        if not await self._renew(claim):
            raise Overtaken

    async def _renew(self, claim: Claim) -> bool:
        """Prolong our lease; False when it is ours no more."""
        async with claim.busy:
            owner = claim.owner
            if owner is None or not claim.ours:
                return False
            for number in tries():
                await back_off(number)
                renewals = claim.record.lease.renewals + 1 if claim.record.lease else 0
                record, when = _stamp(claim.record, lease=new_lease(owner, renewals)), Moment.now()
                version = await self.storage.replace(path_of(record.key), json_of(record), claim.version)
                if version is not None:
                    claim.record = claim.record.model_copy(update={"lease": record.lease})
                    claim.note_written(record, version, when)
                    return True
                current = await self.get(record.key)
                if current is None or not current[0].lease or current[0].lease.owner != owner:
                    return False
                # Our own write, the reply to which was lost, or what somebody else who knows a job has added to it.
                claim.record, claim.version = with_jobs_of(claim.record, current[0]), current[1]
            raise _contention_error(claim.record)

    async def move(self, claim: Claim, **changes: Any) -> Record:
        """Move a purchase on to another state, and return what the ledger says afterwards.

        When somebody else changed the record meanwhile, what is known for certain (a job id, an asset) is
        written over what is only intended, and never the other way round. A budget it was bought on follows.
        """
        record = await self._move(claim, changes)
        with suppress(StoreError):  # what was reserved stays reserved, which is on the safe side
            await settle(self.storage, record)
        return record

    async def _move(self, claim: Claim, changes: dict[str, Any]) -> Record:
        async with claim.busy:
            doubtful = claim.record.doubtful and changes.get("state", claim.record.state) == "intent"
            record = _stamp(claim.record, **{"lease": None, "doubtful": doubtful, **changes})
            version = claim.version
            for number in tries():
                await back_off(number)
                when = Moment.now()
                written = await self.storage.replace(path_of(record.key), json_of(record), version)
                if written is not None:
                    claim.record = record
                    claim.note_written(record, written, when)
                    return record
                current = await self.get(record.key)
                if current is None:
                    raise _vanished_error(record)
                # Not the claim's version yet: if writing fails now, the next try has to merge once more.
                theirs, version = current
                if theirs.lease and theirs.lease.owner == claim.owner:
                    record = with_jobs_of(record, theirs)  # our own renewal, and what somebody else has added to it
                    continue
                merged = merge(record, theirs)
                if merged is theirs:
                    claim.record, claim.version = theirs, version
                    return theirs
                record = merged
            raise _contention_error(record)


def _claim_fields(owner: str, batch: ImageBatch | None) -> dict[str, Any]:
    """What a purchase that becomes ours is: submitted by us under a lease, or bought in a batch."""
    if batch is not None:
        return {"state": "submitted", "lease": None, "batch": batch}
    return {"state": "intent", "lease": new_lease(owner), "batch": None}


def _vanished_error(record: Record) -> StoreError:
    """The error of a purchase that was forgotten while it was made."""
    job_id = record.job_ids[0] if record.job_ids else None
    bought = f"; {job_id} is bought and on no record now" if job_id else ""
    return StoreError(
        f"the purchase {record.key[:12]} vanished from the ledger{bought}",
        transient=False,
        key=record.key,
        job_id=job_id,
    )


def _contention_error(record: Record) -> StoreError:
    """The error of a compare-and-swap that failed as often as it may be tried."""
    job_id = record.job_ids[0] if record.job_ids else None
    bought = (
        f"; {job_id} is bought and not on record: attach it with prefect-media jobs adopt {record.key[:12]} {job_id}, "
        "once the store is mended"
        if job_id
        else ""
    )
    return StoreError(
        f"the record of the purchase {record.key[:12]} changed before each of {settings().conflict_tries} tries to "
        f"write it; the store may not honour If-Match, see MediaStore.check(){bought}",
        transient=False,
        key=record.key,
        job_id=job_id,
    )


def _stamp(record: Record, **changes: Any) -> Record:
    return record.model_copy(update={"updated_at": clock.now(), **changes})
