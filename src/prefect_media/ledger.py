"""Bought once: every purchase on record before it is paid for.

One small readable JSON object per purchase, in the same store as the media. Every step is a compare-and-swap, so
any number of processes and machines agree on who submits, and a process that dies leaves nothing locked.

    intent ──────► submitted ──────► done
      │  lease        │ job id          assets
      │               └────────────► failed     the reason, raised again instead of paying again
      └──────────────────────────► in_doubt     the reply was lost and nobody can say what became of it

An intent carries a lease, renewed while the paid request is in the air. A lease that runs out means that the
process died with the request somewhere between here and the provider: the next one asks the provider what it has.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from .assets import Asset
from .errors import InvalidRequest, MediaError, StoreError
from .jobs import VideoJob
from .settings import settings
from .storage import Storage

State = Literal["intent", "submitted", "done", "failed", "in_doubt"]

CLOCK_SKEW = timedelta(minutes=2)
"""How far the clocks of two machines may differ before a living lease is taken for a dead one."""


class Lease(BaseModel):
    """Who is submitting, and until when they are believed to be alive."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: str
    until: datetime


class Failure(BaseModel):
    """Why a purchase came to nothing: enough to raise the same error again."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    error: str = Field(description="Name of the error's class in errors.py.")
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class Record(BaseModel):
    """One purchase."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str = Field(description="What makes the purchase the same one: scope, account and request, hashed.")
    state: State = "intent"
    scope: str
    kind: Literal["image", "video"]
    operation: str
    account: dict[str, str | None] = Field(description="Provider, host, organization and project that pay.")
    fingerprint: str = Field(description="SHA-256 of the normalised request.")
    request: dict[str, Any] = Field(description="The normalised request, reference images by their hash.")
    created_at: datetime
    updated_at: datetime
    attempt: int = 1
    doubtful: bool = Field(
        default=False, description="Whether an earlier attempt may have reached the provider and left no trace here."
    )
    lease: Lease | None = None
    job: VideoJob | None = None
    assets: tuple[Asset, ...] = ()
    failure: Failure | None = None
    cost_usd: float | None = None
    flow_run_id: str | None = Field(default=None, description="The outermost flow run that asked for it.")


@dataclass(slots=True)
class Claim:
    """A purchase as found on the ledger, and the right to move it on.

    Attributes:
        record: What the ledger says.
        version: The store's version of the record, for compare-and-swap.
    """

    record: Record
    version: str

    @property
    def ours(self) -> bool:
        """Whether it is us who have to submit."""
        return self.record.state == "intent"


class Ledger:
    """The purchases of one store."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._owner = uuid4().hex

    async def claim(self, order: Record, *, retry_failed: bool = False) -> Claim:
        """Find the purchase, or write it down as intended, and wait while somebody else is submitting it.

        Returns a claim that is either ours to submit, or already submitted, done, failed or in doubt. With
        `retry_failed` a failed purchase becomes ours to submit again.

        Raises:
            errors.InvalidRequest: The key belongs to another request.
            errors.StoreError: The ledger can't be read or written.
        """
        seen: tuple[str, float] | None = None  # the version found, and when it was first seen
        while True:
            found = await self.get(order.key)
            if found is None:
                record = _stamped(order, lease=self._lease())
                version = await self.storage.create(_path(order.key), _json(record))
                if version is None:
                    continue  # somebody was faster, or the store took ours and its reply was lost
                await self._index(record)
                return Claim(record, version)
            record, version = found
            if record.fingerprint != order.fingerprint:
                raise InvalidRequest(f"the purchase {order.key} on the ledger belongs to another request")
            await self._index(record, order.flow_run_id)
            if record.state in ("submitted", "done", "in_doubt") or (record.state == "failed" and not retry_failed):
                return Claim(record, version)
            if record.lease and record.lease.owner == self._owner:
                return Claim(record, version)

            now = asyncio.get_running_loop().time()
            seen = seen if seen and seen[0] == version else (version, now)
            if record.state == "intent" and record.lease and not _expired(record.lease, now - seen[1]):
                await asyncio.sleep(min(0.5, settings().lease_seconds / 10))
                continue
            # An intent nobody is working on any more, or a failure that is to be bought again.
            dead = record.state == "intent" and record.lease is not None
            if claim := await self._take(Claim(record, version), doubtful=dead or record.doubtful):
                return claim

    async def take_doubt(self, claim: Claim) -> Claim | None:
        """Make a purchase in doubt ours to clear up; None when somebody else was faster."""
        return await self._take(claim, doubtful=True)

    async def _take(self, claim: Claim, *, doubtful: bool) -> Claim | None:
        mine = _stamped(
            claim.record,
            state="intent",
            doubtful=doubtful,
            lease=self._lease(),
            job=None,
            failure=None,
            attempt=claim.record.attempt + 1,
        )
        version = await self.storage.replace(_path(mine.key), _json(mine), claim.version)
        return Claim(mine, version) if version is not None else None

    @asynccontextmanager
    async def held(self, claim: Claim) -> AsyncGenerator[None]:
        """Keep the lease alive while a paid request is in the air."""

        stop = asyncio.Event()

        async def renew() -> None:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), settings().lease_seconds / 3)
                    return
                record = _stamped(claim.record, lease=self._lease())
                with suppress(StoreError):  # the next renewal may work; if none does, others take it for a doubt
                    version = await self.storage.replace(_path(record.key), _json(record), claim.version)
                    if version is None:
                        return  # taken over, or so it seems: `move` finds out
                    claim.record, claim.version = record, version

        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            stop.set()  # not cancelled: a renewal cut off half-way would leave us with the wrong version
            await renewal

    async def move(self, claim: Claim, **changes: Any) -> Record:
        """Move a purchase on to another state, and return what the ledger says afterwards.

        When somebody else changed the record meanwhile, what is known for certain (a job id, an asset) is
        written over what is only intended, and never the other way round.
        """
        while True:
            record = _stamped(claim.record, lease=None, doubtful=False, **changes)
            version = await self.storage.replace(_path(record.key), _json(record), claim.version)
            if version is not None:
                claim.record, claim.version = record, version
                return record
            found = await self.get(record.key)
            if found is None:
                raise StoreError(f"the purchase {record.key} vanished from the ledger", transient=False, key=record.key)
            if not _outweighs(record, found[0]):
                claim.record, claim.version = found
                return claim.record
            claim.version = found[1]

    async def get(self, key: str) -> tuple[Record, str] | None:
        """A purchase and the version of its record; None when there is none."""
        found = await self.storage.fetch(_path(key))
        if found is None:
            return None
        try:
            return Record.model_validate_json(found.data), found.version
        except ValueError as error:
            raise StoreError(f"the purchase {key} on the ledger can't be read: {error}", transient=False) from error

    async def purchases(self) -> AsyncIterator[Record]:
        """All purchases on the ledger, in no particular order."""
        async for path, _ in self.storage.list("ledger/purchases/"):
            if path.endswith(".json") and (found := await self.get(path.rpartition("/")[2].removesuffix(".json"))):
                yield found[0]

    async def purchases_of(self, flow_run_id: str) -> AsyncIterator[Record]:
        """The purchases that one flow run (the outermost) asked for."""
        async for path, _ in self.storage.list(f"ledger/by-run/{flow_run_id}/"):
            if found := await self.get(path.rpartition("/")[2]):
                yield found[0]

    async def forget(self, key: str) -> None:
        """Take a purchase off the ledger, so that the same request is bought anew."""
        await self.storage.delete(_path(key))

    async def taken_jobs(self, account: dict[str, str | None]) -> set[str]:
        """The ids of all jobs that purchases of this account have on record."""
        return {record.job.id async for record in self.purchases() if record.job and record.account == account}

    def _lease(self) -> Lease:
        return Lease(owner=self._owner, until=datetime.now(UTC) + timedelta(seconds=settings().lease_seconds))

    async def _index(self, record: Record, flow_run_id: str | None = None) -> None:
        if run := flow_run_id or record.flow_run_id:
            await self.storage.create(f"ledger/by-run/{run}/{record.key}", b"{}")


def _outweighs(ours: Record, theirs: Record) -> bool:
    """Whether what we know has to be written although somebody else moved the purchase on."""
    if ours.state == "done":
        return theirs.state != "done"
    if ours.state == "submitted":
        return theirs.state in ("intent", "in_doubt")
    if ours.state == "failed":
        return theirs.state in ("intent", "submitted") and theirs.attempt == ours.attempt
    return False


def remembered(failure: Failure) -> MediaError:
    """The error that a failed purchase ended with, to be raised again."""
    from . import errors

    kind = getattr(errors, failure.error, errors.JobFailed)
    return kind(failure.message, **failure.details)


def failure_of(error: MediaError) -> Failure:
    """What to remember of an error."""
    return Failure(error=type(error).__name__, message=error.message, details=error.details)


def _path(key: str) -> str:
    return f"ledger/purchases/{key}.json"


def _json(record: Record) -> bytes:
    return json.dumps(record.model_dump(mode="json"), indent=2, ensure_ascii=False).encode()


def _stamped(record: Record, **changes: Any) -> Record:
    return record.model_copy(update={"updated_at": datetime.now(UTC), **changes})


def _expired(lease: Lease, unchanged_for: float) -> bool:
    """Whether a lease has run out: watched unchanged for its whole length, or out of date beyond any clock skew."""
    return unchanged_for > settings().lease_seconds or datetime.now(UTC) > lease.until + CLOCK_SKEW
