"""Waiting for a video job, with patience for everything but the end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from .errors import ContentRejected, JobExpired, JobFailed, JobTimedOut, MediaError, ProviderUnavailable, RateLimited
from .jobs import JobState, VideoJob, next_look
from .providers import videos
from .providers.client import Connection
from .settings import settings
from .terms import Terms

POLL_ERRORS = 10
"""Failed looks in a row after which watching a job is given up for now (it stays on record)."""

UNKNOWN_JOB_GRACE = 20.0
"""Seconds after the submission during which a server may not know its own job yet."""


async def watch(connection: Connection, job: VideoJob, terms: Terms) -> JobState:
    """Look at a job until it is done.

    Raises:
        errors.JobTimedOut: It was not done in time; it stays on record and can be resumed.
        errors.JobFailed: The provider gave up on it.
        errors.ContentRejected: Moderation stopped it.
        errors.JobExpired: The provider no longer knows it.
    """
    clock = asyncio.get_running_loop().time
    began, misses, state = clock(), 0, None
    while True:
        try:
            state = await videos.look(connection, job.id)
            misses = 0
        except JobExpired as error:
            if (datetime.now(UTC) - job.submitted_at).total_seconds() > UNKNOWN_JOB_GRACE:
                raise JobExpired(f"job {job.id} is gone at the provider: {error.message}", job_id=job.id) from error
        except (ProviderUnavailable, RateLimited) as error:
            misses += 1
            if misses >= POLL_ERRORS:
                error.job_id = job.id
                raise
        else:
            if terms.on_progress:
                await terms.on_progress(job, state)
            if state.phase == "done":
                return state
            if state.phase == "failed":
                raise _failure(job, state)
        waited = clock() - began
        if waited >= terms.timeout:
            raise JobTimedOut(
                f"job {job.id} was not done after {terms.timeout:g} s (it is {state.status if state else 'unknown'}). "
                "It is billed and may still finish: run the same again, or prefect-media jobs resume",
                job_id=job.id,
            )
        await asyncio.sleep(min(next_look(waited, state, longest=settings().poll_seconds), terms.timeout - waited))


def _failure(job: VideoJob, state: JobState) -> MediaError:
    said = state.error_message or f"the provider says {state.status!r} and nothing else"
    about: dict[str, Any] = {"job_id": job.id, "code": state.error_code}
    if (state.error_code and "moderation" in state.error_code) or state.error_code == "content_policy_violation":
        return ContentRejected(
            f"job {job.id} was stopped by moderation: {said}; change the prompt", stage="output", **about
        )
    if state.status.lower() == "expired":
        return JobExpired(f"job {job.id} expired at the provider: {said}", **about)
    return JobFailed(f"job {job.id} failed: {said}; pass retry_failed=True to buy it again", **about)
