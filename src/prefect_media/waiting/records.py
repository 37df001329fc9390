"""What sleeping flow runs wait for: one small JSON object in the store for each suspension, read by wakers.

A record is written once, before its flow run is suspended, and never changed. Its name holds a random id that is also
the key of the suspension at Prefect. So whoever removes one removes exactly that suspension's record, and a flow run
that sleeps again meanwhile has another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import StoreError
from ..image_batch import ImageBatch
from ..jobs import VideoJob
from ..runtime import clock
from ..storage.store import Storage

FOLDER = "ledger/waiting/"

HEARTBEAT = "ledger/wakers/last-round.json"

LONGEST_SILENCE = timedelta(minutes=10)
"""How long after a waker's last round there still counts as one; three of its own intervals, if that is longer."""

READS_AT_ONCE = 16

LARGEST_RECORD = 16 * 1024 * 1024
"""Bytes of a record that is read: a thousand jobs take half a megabyte."""

_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,200}$")]

_logger = logging.getLogger("prefect_media")


class AwaitedJob(BaseModel):
    """A job that a flow run waits for, and the name of the saved credentials that it can be looked at with."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    credentials: str = Field(description="Name of the saved block, with its type in front where it is known.")
    job: VideoJob | ImageBatch = Field(description="The job, with the address of its server and no secret.")


class WaitingRecord(BaseModel):
    """Why a flow run is suspended, and when it is to be resumed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    flow_run_id: _Id = Field(description="The flow run that sleeps.")
    suspension: _Id = Field(description="Prefect's key of the suspension; unique.")
    reason: Literal["jobs", "review"] = Field(default="jobs", description="Whether jobs or a person are waited for.")
    flow_name: str | None = Field(default=None, description="Name of the flow.")
    api_url: str | None = Field(default=None, description="Address of Prefect's API as the flow run knew it.")
    jobs: tuple[AwaitedJob, ...] = Field(default=(), description="What is waited for.")
    until: Literal["all", "any"] = Field(default="all", description="Whether all jobs have to be finished, or one.")
    deadline: datetime = Field(description="When the flow run is resumed whatever the state of its jobs (UTC).")
    written_at: datetime = Field(description="When the record was written (UTC).")

    @property
    def path(self) -> str:
        """Where it lies in the store."""
        return f"{FOLDER}{self.flow_run_id}.{self.suspension}.json"


class Heartbeat(BaseModel):
    """When a waker last made a round."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: datetime
    every: float = Field(default=60.0, ge=0, allow_inf_nan=False, description="Seconds between its rounds.")


async def write(storage: Storage, record: WaitingRecord) -> None:
    """Put a record into the store, before the flow run is suspended.

    Raises:
        errors.StoreError: It can't be written.
    """
    data = record.model_dump_json(indent=2).encode()
    if await storage.create(record.path, data) is not None:
        return
    there = await storage.fetch(record.path)
    if there is None or there.data != data:  # else it arrived and its reply was lost
        raise StoreError(f"{storage.uri(record.path)} is there with another content; run the same again")


async def read_all(storage: Storage) -> list[WaitingRecord]:
    """All records of a store. One that can't be read is left out with a warning, and stays.

    Raises:
        errors.StoreError: The store can't be read.
    """
    slots = asyncio.Semaphore(READS_AT_ONCE)

    async def read(path: str) -> WaitingRecord | None:
        async with slots:
            there = await storage.fetch(path)
        if there is None:  # removed meanwhile
            return None
        try:
            record = WaitingRecord.model_validate_json(there.data)
        except ValidationError:
            record = None
        if record is None or record.path != path:
            _logger.warning("%s is not the record of a sleeping flow run; delete it", storage.uri(path))
            return None
        return record

    paths = [path async for path, size in storage.list(FOLDER) if path.endswith(".json") and size <= LARGEST_RECORD]
    return [record for record in await asyncio.gather(*map(read, paths)) if record]


async def remove(storage: Storage, record: WaitingRecord) -> None:
    """Remove a record; nothing happens when it is not there."""
    await storage.delete(record.path)


async def remove_used(storage: Storage, flow_run_id: str, suspensions: Iterable[str]) -> None:
    """Remove the records of a flow run's earlier suspensions, by their keys."""
    used = {f"{FOLDER}{flow_run_id}.{suspension}.json" for suspension in suspensions}
    if not used:
        return
    for path in [path async for path, _ in storage.list(f"{FOLDER}{flow_run_id}.") if path in used]:
        await storage.delete(path)


async def beat(storage: Storage, every: float) -> None:
    """Put down that a waker makes its round now."""
    heartbeat = Heartbeat(at=clock.now(), every=every)
    await storage.put(HEARTBEAT, heartbeat.model_dump_json().encode(), content_type="application/json")


async def waker_is_alive(storage: Storage) -> bool:
    """Whether a waker has looked at this store lately, so that a flow run can rely on being resumed."""
    there = await storage.fetch(HEARTBEAT)
    if there is None:
        return False
    try:
        heartbeat = Heartbeat.model_validate_json(there.data)
    except ValidationError:
        return False
    silence = max(LONGEST_SILENCE, timedelta(seconds=min(3 * heartbeat.every, 24 * 3600)))
    return abs(clock.now() - heartbeat.at) < silence
