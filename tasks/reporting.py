"""What people see in the Prefect UI. Nothing here can fail a step that was paid for."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from prefect.events import emit_event

from prefect_media.runtime import clock
from prefect_media.steps import OnStep, Step

from .context import in_run, run_logger

QUIET_SECONDS = 30.0
"""How long the log says nothing of a job that only goes on: a line costs as much as half a task run."""

FIRST_SECONDS = 2.0
"""How old a job is before the log tells of it: among hundreds, telling of each right away would hold up the orders."""

STALLED = "prefect-media.video-job.stalled"


LOOKS = ("queued", "started", "progress")
"""The steps that a look at a job brings."""

_sending: set[asyncio.Task[None]] = set()
"""Events on their way; the event loop keeps no reference of its own to a task."""


def show_steps() -> OnStep:
    """Shows the steps of a purchase in the log of the run, and a stall as a Prefect event too."""
    log, send = progress_log(), stall_event()

    def show(step: Step) -> None:
        log(step)
        send(step)

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


def stall_event() -> OnStep:
    """Sends a Prefect event, `prefect-media.video-job.stalled`, when a job has stalled; automations can act on it."""
    logger = run_logger()

    def send(step: Step) -> None:
        if step.kind != "stalled":
            return
        if not in_run():
            logger.debug("Not in a run, so no event is sent for the stalled job %s", step.job_id)
            return
        task = asyncio.create_task(_send_stall(step, logger))
        _sending.add(task)
        task.add_done_callback(_sending.discard)

    return send


async def _send_stall(step: Step, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
    payload = {
        "job_id": step.job_id,
        "model": step.model,
        "server": step.host,
        "status": step.status,
        "progress": step.progress,
        "seconds_without_change": round(step.waited_seconds or 0.0),
        "purchase": step.purchase,
    }
    resource = {
        "prefect.resource.id": f"prefect-media.video-job.{step.job_id}",
        "prefect.resource.name": f"{step.model} {step.job_id}",
    }
    try:
        # In a thread: the first event of a process may have to start Prefect's sender. The runs are added by Prefect.
        await asyncio.to_thread(emit_event, STALLED, resource=resource, payload=payload)
    except Exception as error:  # the job is paid for, and goes on whether anybody hears of it or not
        logger.warning("What a job is doing could not be told: %s: %s", type(error).__name__, error)
