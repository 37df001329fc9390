"""Waiting for a video job, with patience for everything but the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from ..jobs import JobState, VideoJob
from ..providers.connection import Connection
from ..purchase_options import Terms
from ..runtime import clock
from ..settings import settings
from .deadlines import Done, Patience, Watch
from .poller import poller_of

LAST_LOOK = 10.0
"""Seconds that the answer to the look at the deadline may take."""


async def watch(connection: Connection, job: VideoJob, terms: Terms) -> JobState:
    """Look at a job until it is done.

    Raises:
        errors.JobTimedOut: It was not done in time; it stays on record and can be resumed.
        errors.JobFailed: The provider gave up on it.
        errors.ContentRejected: Moderation stopped it.
        errors.JobExpired: The provider no longer knows it.
        errors.MediaError: It could not be looked at for long, or never again; it stays on record.
    """
    patience = Patience(terms.timeout, terms.queue_timeout, stall=settings().stall_seconds)
    wait = Watch(job.id, patience, now=clock.monotonic())
    with poller_of(connection).following(job, wait) as follower:
        while True:
            try:
                async with asyncio.timeout_at(wait.deadline + LAST_LOOK):
                    verdict, state = await follower.news()
            except TimeoutError:
                raise wait.overdue() from None
            if state is not None:
                await tell(terms, job, wait, state)
            if isinstance(verdict, Done):
                return verdict.state
            if isinstance(verdict, Exception):
                raise verdict


async def tell(terms: Terms, job: VideoJob, wait: Watch, state: JobState) -> None:
    """Tell the buyer what a look brought."""
    while wait.notices:
        notice = wait.notices.pop(0)
        terms.logger.warning("%s", notice.text)
        if notice.kind == "stalled" and terms.on_stall:
            await _told(terms, terms.on_stall(job, state, notice.seconds))
    if terms.on_progress:
        await _told(terms, terms.on_progress(job, state))


async def _told(terms: Terms, telling: Awaitable[None]) -> None:
    try:
        await telling
    except Exception as error:  # the job is paid for, and goes on whether anybody hears of it or not
        terms.logger.warning("What a job is doing could not be told: %s: %s", type(error).__name__, error)
