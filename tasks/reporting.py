"""What a task run shows of its purchases, step by step. Nothing here can fail a step that was paid for."""

from __future__ import annotations

from prefect_media.runtime import clock
from prefect_media.steps import OnStep, Step
from prefect_media.storage.store import Storage

from .context import run_logger
from .events import purchase_events

QUIET_SECONDS = 30.0
"""How long the log says nothing of a job that only goes on: a line costs as much as half a task run."""

FIRST_SECONDS = 2.0
"""How old a job is before the log tells of it: among hundreds, telling of each right away would hold up the orders."""

LOOKS = ("queued", "started", "progress")
"""The steps that a look at a job brings."""


def show_steps(storage: Storage) -> OnStep:
    """Shows the steps of a task's purchases in the log of the run, and as Prefect events.

    Args:
        storage: The store that the purchases are on record in.
    """
    observers = (progress_log(), purchase_events(storage.url))

    def show(step: Step) -> None:
        for observe in observers:
            observe(step)

    return show


def progress_log() -> OnStep:
    """Logs that a job has begun, and now and then its progress; Prefect logs the end of the task."""
    logged: tuple[str | None, float | None, float] | None = None
    logger = run_logger()

    def log(step: Step) -> None:
        nonlocal logged
        now = clock.monotonic()
        if step.kind not in LOOKS or (logged is None and _age(step) < FIRST_SECONDS):
            return
        if logged and logged[0] == step.status and (logged[1] == step.progress or now - logged[2] < QUIET_SECONDS):
            return
        logged = (step.status, step.progress, now)
        progress = f" {step.progress:.0f}%" if step.progress is not None else ""
        logger.info("Job %s at %s: %s%s", step.job_id, step.model or "the provider", step.status, progress)

    return log


def _age(step: Step) -> float:
    return (step.at - step.submitted_at).total_seconds() if step.submitted_at else 0.0
