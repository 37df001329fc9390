"""Suspending the flow run that is running now, and finding out whether it can be resumed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import Pause
from prefect.flow_runs import asuspend_flow_run, suspend_flow_run
from prefect.input import RunInput, keyset_from_paused_state
from prefect.states import Paused, Running

from prefect_media.errors import InvalidRequest, MediaError, StoreError
from prefect_media.runtime import clock
from prefect_media.storage.store import Storage
from prefect_media.waiting.records import WaitingRecord, remove, waker_is_alive, write

from .current_run import run_logger
from .waiting_events import send_waiting

GRACE = timedelta(days=1)
"""How long after a deadline a flow run still waits for a waker, until Prefect ends it as failed."""

PAUSE = 5.0
"""Seconds between two looks at a flow run that is paused in its process."""


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
    return why_not_suspended(run) or await no_waker(storage)


def why_not_suspended(run: FlowRun) -> str | None:
    """Why Prefect can't suspend a flow run; None if it can."""
    if run.parent_task_run_id is not None:
        return "Prefect can't suspend a subflow"
    if run.deployment_id is None:
        return "this flow run has no deployment, so no worker could resume it"
    return None


async def no_waker(storage: Storage) -> str | None:
    """What is missing where no waker looks at a store; None if one does."""
    if await waker_is_alive(storage):
        return None
    return (
        f"no waker has looked at {storage.url} for ten minutes; deploy flows/wake.py, or start "
        f"prefect-media wake --every 60 --store {storage.url}"
    )


async def prepare(storage: Storage, record: WaitingRecord, event: str) -> None:
    """Put down what a flow run waits for, before it is suspended.

    Args:
        storage: The store.
        record: What is put down.
        event: What the flow run waits for, for the log.

    Raises:
        errors.StoreError: The record can't be written.
    """
    await storage.ensure_conditional()
    await write(storage, record)
    run_logger().info("Suspended until %s, or until %s", record.deadline.isoformat(" ", "minutes"), event)
    send_waiting(record)


async def withdraw(storage: Storage, record: WaitingRecord) -> None:
    """Remove the record of a suspension that Prefect refused, so that nobody has to wake the flow run."""
    with suppress(StoreError):  # else a waker does, as the flow run does not sleep
        await remove(storage, record)


def seconds_to(record: WaitingRecord) -> int:
    """Seconds until Prefect ends the flow run as failed if no waker has resumed it."""
    return max(1, int((record.deadline + GRACE - clock.now()).total_seconds()))


async def asuspend(record: WaitingRecord, form: type[RunInput] | None = None) -> None:
    """Suspend this flow run: the process ends, and the flow starts from its top when it is resumed.

    Args:
        record: What it waits for.
        form: What a person has to fill in to resume it, if one has.
    """
    if form is None:
        await asuspend_flow_run(timeout=seconds_to(record), key=record.suspension)
    else:
        await asuspend_flow_run(form, timeout=seconds_to(record), key=record.suspension)


def suspend(record: WaitingRecord) -> None:
    """The sync twin of `asuspend`, for a flow run that waits for jobs."""
    suspend_flow_run(timeout=seconds_to(record), key=record.suspension)


async def pause(run: FlowRun, key: str, deadline: datetime, form: type[RunInput]) -> None:
    """Pause this flow run in its process until somebody has filled in a form, or the deadline has passed.

    Prefect's own pause fails the flow run when its time is over; this one goes on.

    Raises:
        errors.MediaError: Prefect does not let it pause.
    """
    beyond = deadline + GRACE - clock.now()
    state = Paused(reschedule=False, timeout_seconds=max(1, int(beyond.total_seconds())), pause_key=key)
    keys = keyset_from_paused_state(state)
    state.state_details.run_input_keyset = {str(part): key for part, key in keys.items()}
    async with get_client() as client:
        result = await client.set_flow_run_state(run.id, state)
        if result.status != SetStateStatus.ACCEPT:
            reason = getattr(result.details, "reason", None) or result.status.value
            raise MediaError(f"the flow run can't be paused: {reason}; run it again")
        await form.asave(keys, run.id)
        while (left := (deadline - clock.now()).total_seconds()) > 0:
            await clock.sleep(min(PAUSE, left))
            with suppress(httpx.HTTPError):  # Prefect's server may be away for a while
                state = (await client.read_flow_run(run.id)).state
                if state is None or not state.is_paused():
                    return
        await client.set_flow_run_state(run.id, Running())


class _Turn:
    """Whose turn it is to suspend one flow run, and whether it was."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.signal: Pause | None = None


_turns: WeakValueDictionary[tuple[int, str, int], _Turn] = WeakValueDictionary()


@asynccontextmanager
async def turn(run: FlowRun) -> AsyncGenerator[None]:
    """One at a time of those that may suspend a flow run; once one has, the others end by Prefect's signal, too."""
    key = (id(asyncio.get_running_loop()), str(run.id), run.run_count)
    ours = _turns.setdefault(key, _Turn())
    async with ours.lock:
        if ours.signal is not None:
            raise Pause(state=ours.signal.state)
        try:
            yield
        except Pause as signal:
            ours.signal = signal
            raise
