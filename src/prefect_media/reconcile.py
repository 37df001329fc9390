"""What became of a paid request whose reply was lost: the provider's own list of jobs knows."""

from __future__ import annotations

import asyncio

from .errors import InvalidRequest, JobExpired, SubmissionInDoubt
from .jobs import JobState, VideoJob
from .ledger import Ledger, Record
from .providers import videos
from .providers.client import Connection
from .terms import Terms

LOOKS = (0.0, 1.0, 3.0)
"""Pauses, in seconds, before each look: a server may list a job a moment after it took it."""

CLOCK_SKEW = 120.0
"""Seconds by which the provider's clock may differ from ours."""


async def reconcile(
    connection: Connection, record: Record, ledger: Ledger, terms: Terms, error: SubmissionInDoubt | None = None
) -> VideoJob | None:
    """Find the job that a lost reply was about; None when it is certain enough that there is none.

    Raises:
        errors.SubmissionInDoubt: It can't be known, and the user did not say to go on.
    """
    why = "several jobs at the provider match"
    for pause in LOOKS:
        await asyncio.sleep(pause)
        taken = await ledger.taken_jobs(record.account)
        try:
            since = record.created_at.timestamp() - CLOCK_SKEW
            found = [
                state
                async for state in videos.recent(connection, since=since)
                if state.id not in taken and _matches(state, record)
            ]
        except (JobExpired, InvalidRequest):
            why = "the provider has no list of jobs to look it up in"
            break
        if len(found) == 1:
            terms.logger.info("Found the job of a lost reply: %s", found[0].id)
            return videos.job_of(
                connection, found[0], fingerprint=record.fingerprint, model=record.request.get("model", "")
            )
        if len(found) > 1:
            break
    else:
        return None
    if terms.on_doubt == "resubmit":
        return None
    raise SubmissionInDoubt(
        f"it can't be known whether the provider took the job: {why}. "
        'Look at the provider\'s dashboard; pass on_doubt="resubmit" to go on and perhaps pay twice',
        key=record.key,
    ) from error


def _matches(state: JobState, record: Record) -> bool:
    """Whether a job at the provider is the one that a purchase asked for, by all that both sides know."""
    wanted = record.request
    pairs = [
        (state.prompt, wanted.get("prompt")),
        (state.model, wanted.get("model")),
        (state.size, wanted.get("size")),
        (state.seconds, str(wanted["seconds"]) if "seconds" in wanted else None),
        (state.remixed_from, wanted.get("video")),
    ]
    if state.prompt is None:
        return False
    return all(theirs is None or ours is None or theirs == ours for theirs, ours in pairs)
