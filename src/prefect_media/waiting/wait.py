"""Waiting for a video job, with patience for everything but the end."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from ..figures import number_in
from ..jobs import JobState, Phase, VideoJob
from ..providers.connection import Connection
from ..purchase_options import PurchaseOptions
from ..runtime import clock
from ..runtime.tracing import span
from ..settings import settings
from ..steps import StepKind, StepReporter
from .deadlines import Done, Patience, Watch
from .poller import poller_of

LAST_LOOK = 10.0
"""Seconds that the answer to the look at the deadline may take."""


async def watch(
    connection: Connection, job: VideoJob, options: PurchaseOptions, steps: StepReporter | None = None
) -> JobState:
    """Look at a job until it is done.

    Args:
        connection: Where the job is.
        job: The job.
        options: How long to wait, and whom to tell.
        steps: The reporter of its purchase; by default one that knows no more than the job does.

    Raises:
        errors.JobTimedOut: It was not done in time; it stays on record and can be resumed.
        errors.JobFailed: The provider gave up on it.
        errors.ContentRejected: Moderation stopped it.
        errors.JobExpired: The provider no longer knows it.
        errors.MediaError: It could not be looked at for long, or never again; it stays on record.
    """
    steps = steps or reporter_of_job(job, options)
    patience = Patience(options.timeout, options.queue_timeout, stall=settings().stall_seconds)
    wait = Watch(job.id, patience, now=clock.monotonic())
    earlier: set[StepKind] = set()
    waiting = span("wait", media="video", model=job.model, host=connection.host, job=job.id)
    with waiting, poller_of(connection).following(job, wait) as follower:
        while True:
            try:
                async with asyncio.timeout_at(wait.deadline + LAST_LOOK):
                    verdict, state = await follower.news()
            except TimeoutError:
                raise wait.overdue() from None
            if state is not None:
                _report_look(steps, job, wait, state, earlier, options)
            if isinstance(verdict, Done):
                return verdict.state
            if isinstance(verdict, Exception):
                raise verdict


def _report_look(
    steps: StepReporter, job: VideoJob, wait: Watch, state: JobState, earlier: set[StepKind], options: PurchaseOptions
) -> None:
    """Log and report what a look at a job showed; `earlier` are the kinds of step reported before."""
    details: dict[str, Any] = {"job_id": job.id, "status": state.status, "progress": state.progress}
    while wait.notices:
        notice = wait.notices.pop(0)
        options.logger.warning("%s", notice.text)
        if notice.kind == "stalled":
            steps.report("stalled", waited_seconds=notice.seconds, **details)
    if (kind := step_of_look(state, earlier)) is not None:
        steps.report(kind, **details)


def step_of_look(state: JobState, earlier: set[StepKind]) -> StepKind | None:
    """Which step a look at a job is; None of one that failed, whose error is the step. It is added to `earlier`."""
    kinds: dict[Phase, StepKind] = {"waiting": "queued", "running": "started", "done": "finished"}
    if (kind := kinds.get(state.phase)) in earlier:
        return "progress"
    if kind is not None:
        earlier.add(kind)
    return kind


def reporter_of_job(job: VideoJob, options: PurchaseOptions) -> StepReporter:
    """The reporter of a job that is known by its handle only."""
    purchase: dict[str, Any] = {
        "purchase": job.purchase,
        "operation": "adopt",
        "media": "video",
        "model": job.model,
        "host": urlsplit(job.base_url).netloc.rpartition("@")[2],
        "size": job.size,
        "seconds": number_in(job.seconds),
        "job_id": job.id,
        "submitted_at": job.submitted_at,
    }
    return StepReporter(options.on_step, options.logger, purchase=purchase)
