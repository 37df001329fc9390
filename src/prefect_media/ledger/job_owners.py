"""Which purchase a provider's job belongs to: one small object per job, created once, by the job's id.

The records can't say it alone: finding an id there takes reading them all, and two purchases that look the same at the
provider could each find a job free and both write it down.
"""

from __future__ import annotations

import hashlib
import json

from ..errors import StoreError
from ..storage.store import Storage
from .record import Record

FOLDER = "ledger/by-job/"


async def take_job(storage: Storage, record: Record, job_id: str) -> bool:
    """Take a job for a purchase, so that no other purchase takes it; False where one has it."""
    if await storage.create(path_of(record, job_id), entry_of(record, job_id)) is not None:
        return True
    return await owner_of(storage, record, job_id) == record.key


async def owner_of(storage: Storage, record: Record, job_id: str) -> str | None:
    """Key of the purchase that a job at the provider of `record` belongs to; None where none took it.

    Raises:
        errors.StoreError: The entry can't be read.
    """
    path = path_of(record, job_id)
    if (found := await storage.fetch(path)) is None:
        return None
    if (key := key_in(found.data)) is None:
        raise StoreError(
            f"{path} can't be read; delete it if no purchase has the job {job_id}",
            transient=False,
            key=record.key,
            job_id=job_id,
        )
    return key


async def release_jobs(storage: Storage, record: Record) -> None:
    """Let go of the jobs of a purchase that is forgotten."""
    for job_id in record.job_ids:
        await storage.delete(path_of(record, job_id))


def entry_of(record: Record, job_id: str) -> bytes:
    """What the store keeps for a job of a purchase."""
    return json.dumps({"purchase": record.key, "job": job_id}, indent=2).encode()


def key_in(entry: bytes) -> str | None:
    """Key of the purchase that an entry names; None where it can't be read."""
    try:
        key = json.loads(entry)["purchase"]
    except (ValueError, KeyError, TypeError):
        return None
    return key if isinstance(key, str) else None


def path_of(record: Record, job_id: str) -> str:
    """Where the entry of a job lies: by the account, too, as two servers may both count from one."""
    whose = json.dumps([record.account, job_id], sort_keys=True)
    return f"{FOLDER}{hashlib.sha256(whose.encode()).hexdigest()}.json"
