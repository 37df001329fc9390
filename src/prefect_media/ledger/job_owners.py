"""Which purchase a provider's job belongs to: one small object per job, created once, by the job's id.

The records can't say it alone: finding an id there takes reading them all, and two purchases that look the same at the
provider could each find a job free and both write it down.
"""

from __future__ import annotations

import json

from ..errors import StoreError
from ..runtime.hashing import sha256_of
from ..storage.store import Storage
from .conflicts import back_off, tries
from .record import Record

FOLDER = "ledger/by-job/"

FORGOTTEN = "forgotten"
"""Stands in an entry in place of a key when its purchase was forgotten: the job exists and was paid for, so it must not
be taken for the job of a later purchase. A person may still attach it to one."""


async def take_job(storage: Storage, record: Record, job_id: str, *, even_forgotten: bool = False) -> bool:
    """Take a job for a purchase, so that no other purchase takes it; False where one has it.

    Args:
        storage: Where the ledger lies.
        record: The purchase.
        job_id: The provider's id of the job.
        even_forgotten: Whether to take a job whose purchase was forgotten.
    """
    path, entry = path_of(record, job_id), entry_of(record.key, job_id)
    for number in tries():
        await back_off(number)
        if await storage.create(path, entry) is not None:
            return True
        if (owner := await owner_of(storage, record, job_id)) == record.key:
            return True
        if owner == FORGOTTEN and even_forgotten:
            await _replace_owner(storage, path, FORGOTTEN, entry)
        elif owner is not None:
            return False
    return False


async def owner_of(storage: Storage, record: Record, job_id: str) -> str | None:
    """Key of the purchase that a job at the provider of `record` belongs to; None where none took it.

    Raises:
        errors.StoreError: The entry can't be read.
    """
    path = path_of(record, job_id)
    if (stored := await storage.fetch(path)) is None:
        return None
    if (key := key_in(stored.data)) is None:
        raise StoreError(
            f"{path} can't be read; delete it if no purchase has the job {job_id}",
            transient=False,
            key=record.key,
            job_id=job_id,
        )
    return key


async def enter_job(storage: Storage, record: Record, job_id: str) -> None:
    """Note a job that a record names; one that is noted already keeps its owner."""
    await storage.create(path_of(record, job_id), entry_of(record.key, job_id))


async def disown_jobs(storage: Storage, record: Record) -> None:
    """Put on record that the jobs of a purchase are nobody's, before the purchase is forgotten."""
    if record.kind == "image" and record.operation != "batch":
        return  # its only job is the batch it was bought in, which has a purchase of its own
    for job_id in record.job_ids:
        path, entry = path_of(record, job_id), entry_of(FORGOTTEN, job_id)
        for number in tries():
            await back_off(number)
            if await storage.create(path, entry) is not None or await _replace_owner(storage, path, record.key, entry):
                break
        else:
            raise StoreError(f"{path} changed before each try to write it; run the same again", key=record.key)


async def disown_jobs_of_unreadable(storage: Storage, key: str) -> None:
    """The same for a purchase whose record can't be read: all entries are searched for its key."""
    async for path, _ in storage.list(FOLDER):
        if (stored := await storage.fetch(path)) and key_in(stored.data) == key:
            job_id = json.loads(stored.data)["job"]
            await _replace_owner(storage, path, key, entry_of(FORGOTTEN, job_id))


async def _replace_owner(storage: Storage, path: str, owner: str, entry: bytes) -> bool:
    """Write an entry in place of one that names `owner`; False where that has to be tried again."""
    if (stored := await storage.fetch(path)) is None:
        return False
    if key_in(stored.data) not in (owner, None):
        return True  # another's
    return await storage.replace(path, entry, stored.version) is not None


def entry_of(key: str, job_id: str) -> bytes:
    """What the store keeps for a job of the purchase `key`."""
    return json.dumps({"purchase": key, "job": job_id}, indent=2).encode()


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
    return f"{FOLDER}{sha256_of(whose)}.json"
