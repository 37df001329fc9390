"""Which purchase took which job of a provider's list: one small object per job, created once.

The records themselves can't say it: two purchases that look the same at the provider could each find a job free, and
both write it down.
"""

from __future__ import annotations

import hashlib
import json

from .errors import StoreError
from .record import Record
from .storage import Storage


async def take_job(storage: Storage, record: Record, job_id: str) -> bool:
    """Take a job of the provider's list for a purchase, so that no other purchase takes it; False where one did."""
    text = json.dumps({"purchase": record.key, "job": job_id}, indent=2).encode()
    if await storage.create(_path(record, job_id), text) is not None:
        return True
    return await taker_of(storage, record, job_id) == record.key


async def taker_of(storage: Storage, record: Record, job_id: str) -> str | None:
    """Key of the purchase that took a job at the provider of `record`; None where none did."""
    path = _path(record, job_id)
    if (found := await storage.fetch(path)) is None:
        return None
    try:
        return str(json.loads(found.data)["purchase"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} can't be read; delete it if no purchase has the job {job_id}",
            transient=False,
            key=record.key,
            job_id=job_id,
        ) from error


async def release_jobs(storage: Storage, record: Record) -> None:
    """Let go of the jobs of a purchase that is forgotten."""
    for job_id in record.job_ids:
        await storage.delete(_path(record, job_id))


def _path(record: Record, job_id: str) -> str:
    what = json.dumps([record.account, job_id], sort_keys=True).encode()
    return f"ledger/adopted/{hashlib.sha256(what).hexdigest()}.json"
