"""What the ledger has to say when two moved the same purchase on."""

from __future__ import annotations

from .record import Record


def merge(ours: Record, theirs: Record) -> Record:
    """The one record of the two that stays; no asset and no job id gets lost."""
    winner, loser = (ours, theirs) if _outweighs(ours, theirs) else (theirs, ours)
    return with_jobs_of(winner, loser)


def with_jobs_of(record: Record, other: Record) -> Record:
    """A record with what must not get lost of another one of its purchase, which it takes the place of."""
    missing = tuple(job_id for job_id in other.job_ids if job_id not in record.job_ids)
    attempt = max(record.attempt, other.attempt)  # what a budget has reserved for the later one is settled with it
    if not missing and attempt == record.attempt:
        return record
    return record.model_copy(update={"other_jobs": record.other_jobs + missing, "attempt": attempt})


def _outweighs(ours: Record, theirs: Record) -> bool:
    """Whether what we know has to be written although somebody else moved the purchase on."""
    same_job = ours.job is not None and theirs.job is not None and ours.job.id == theirs.job.id
    if ours.state == "done":
        return theirs.state != "done"
    if ours.state == "submitted":
        return theirs.state in ("intent", "in_doubt") or (theirs.state == "failed" and not same_job)
    if ours.state == "failed":
        return theirs.state == "submitted" and same_job  # an intent is that of whoever took it over or buys it anew
    return False
