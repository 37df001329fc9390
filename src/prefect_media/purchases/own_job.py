"""Whether the job that a server says it made for a purchase is this purchase's own.

A server that answers two orders with one id is broken, and whoever believed it would fetch another's film.
"""

from __future__ import annotations

import logging

from ..errors import StoreError, SubmissionInDoubt
from ..jobs import VideoJob
from ..ledger.job_owners import entry_of, key_in, path_of
from ..ledger.ledger import Ledger
from ..ledger.record import Record

TRIES = 3
"""How often an entry that changes under our eyes is read again."""

_logger = logging.getLogger("prefect_media")


async def refuse_another_purchases_job(ledger: Ledger, record: Record, job: VideoJob) -> None:
    """Make sure that a job which a server says it made for a purchase is no other purchase's, and note whose it is.

    A store that can't say it keeps nothing from being paid that isn't paid already: then the job is believed.

    Raises:
        errors.SubmissionInDoubt: It belongs to another purchase of the same account, or to an earlier attempt.
    """
    if job.id in record.other_jobs:
        raise _mix_up_error(record, job, "an earlier attempt at this purchase")
    try:
        owner = await _owner(ledger, record, job)
    except StoreError as error:
        _logger.warning("The owner of job %s could not be recorded: %s", job.id, error)
        return
    if owner != record.key:
        raise _mix_up_error(record, job, f"the purchase {owner[:12]}")


async def _owner(ledger: Ledger, record: Record, job: VideoJob) -> str:
    """Key of the purchase that a job belongs to: the first that noted it and still is on the ledger."""
    path, entry = path_of(record, job.id), entry_of(record.key, job.id)
    for _ in range(TRIES):
        if await ledger.storage.create(path, entry) is not None:
            return record.key
        if (current := await ledger.storage.fetch(path)) is None:
            continue
        owner = key_in(current.data)
        if owner == record.key:
            return record.key
        other = await ledger.get(owner) if owner else None
        # One without a job has perhaps been given this id and is about to write it down.
        if other and (job.id in other[0].job_ids or not other[0].job_ids):
            return other[0].key
        if await ledger.storage.replace(path, entry, current.version) is not None:
            return record.key
    return record.key


def _mix_up_error(record: Record, job: VideoJob, whose: str) -> SubmissionInDoubt:
    return SubmissionInDoubt(
        f"{record.account.get('host')} answered an order with the id of another one: job {job.id} belongs to {whose}; "
        "whether there is a new job can't be known; look at the provider's dashboard; run the same again to have its "
        "list searched",
        key=record.key,
    )
