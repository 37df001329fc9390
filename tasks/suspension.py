"""Suspending the flow run that is running now, and finding out whether it can be resumed."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.flow_runs import asuspend_flow_run, suspend_flow_run

from prefect_media.errors import InvalidRequest, StoreError
from prefect_media.runtime import clock
from prefect_media.storage.store import Storage
from prefect_media.waiting.records import WaitingRecord, remove, waker_is_alive, write

from .context import run_logger

GRACE = timedelta(days=1)
"""How long after a deadline a flow run still waits for a waker, until Prefect ends it as failed."""


def running_flow(what: str) -> FlowRun:
    """The flow run that is running here.

    Raises:
        errors.InvalidRequest: There is none, or this is a task.
    """
    context = FlowRunContext.get()
    if TaskRunContext.get() is not None or context is None or context.flow_run is None:
        raise InvalidRequest(f"{what} was called outside of a flow; call it in the flow itself, not in a task of it")
    return context.flow_run


def flow_name() -> str | None:
    """The name of the flow that is running here."""
    context = FlowRunContext.get()
    return context.flow.name if context and context.flow else None


def api_url() -> str | None:
    """Address of Prefect's API as this process knows it, without a login in it."""
    context = FlowRunContext.get()
    return url_without_login(str(context.client.api_url)) if context and context.client else None


def url_without_login(url: str) -> str:
    """An address of Prefect's API as records have it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")


def used_keys(run: FlowRun) -> set[str]:
    """Keys of the suspensions that a flow run was resumed from, in this attempt of it."""
    return set(run.empirical_policy.pause_keys or ()) if run.empirical_policy else set()


async def why_not(run: FlowRun, storage: Storage) -> str | None:
    """Why nobody would resume a flow run that waits for jobs, were it suspended; None if a waker will."""
    if run.parent_task_run_id is not None:
        return "Prefect can't suspend a subflow"
    if run.deployment_id is None:
        return "this flow run has no deployment, so no worker could resume it"
    if not await waker_is_alive(storage):
        return (
            f"no waker has looked at {storage.url} for ten minutes; deploy flows/wake.py, or start "
            f"prefect-media wake --every 60 --store {storage.url}"
        )
    return None


async def prepare(storage: Storage, record: WaitingRecord) -> None:
    """Put down what a flow run waits for, before it is suspended.

    Raises:
        errors.StoreError: The record can't be written.
    """
    await storage.ensure_conditional()
    await write(storage, record)
    run_logger().info("Suspended until %s, or until its jobs are finished", record.deadline.isoformat(" ", "minutes"))


async def withdraw(storage: Storage, record: WaitingRecord) -> None:
    """Remove the record of a suspension that did not come about."""
    with suppress(StoreError):  # else a waker does, as the flow run does not sleep
        await remove(storage, record)


def seconds_to(record: WaitingRecord) -> int:
    """Seconds until Prefect ends the flow run as failed if no waker has resumed it."""
    return max(1, int((record.deadline + GRACE - clock.now()).total_seconds()))


async def asuspend(record: WaitingRecord) -> None:
    """Suspend this flow run: the process ends, and the flow starts from its top when it is resumed."""
    await asuspend_flow_run(timeout=seconds_to(record), key=record.suspension)


def suspend(record: WaitingRecord) -> None:
    """The sync twin of `asuspend`."""
    suspend_flow_run(timeout=seconds_to(record), key=record.suspension)
