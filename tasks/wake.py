"""One round of a waker: sleeping flow runs whose jobs are finished, gone or overdue are resumed.

Any number of wakers may work at once. A flow run is resumed by one transition at Prefect's server, which refuses the
second; a record is removed only when its suspension is over. A waker that dies leaves everything to the next round.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.input import keyset_from_base_key
from prefect.states import Scheduled

from prefect_media.errors import MediaError
from prefect_media.image_batch import ImageBatch
from prefect_media.providers.connection import Connection
from prefect_media.runtime import clock
from prefect_media.steps import Step
from prefect_media.storage.store import Storage
from prefect_media.waiting.records import AwaitedJob, WaitingRecord, beat, read_all, remove
from prefect_media.waiting.server_look import Stall, look_at_server, server_of

from .context import connection_to
from .current_run import run_logger
from .event_payloads import PREFIX, Woken
from .events import MOST_ASSETS, purchase_events
from .flow_run_state import FLOW_RUNS_PER_REQUEST
from .suspension import GRACE, url_without_login

FORM_GRACE = timedelta(minutes=2)
"""How long after its record a question may be without its form: Prefect saves the form after the suspension."""

READS_AT_ONCE = 16

Reason = Literal["finished", "deadline", "no form"]

Key = tuple[str, str | None]
"""A server with an account, and a job there."""


@dataclass(slots=True)
class Round:
    """What a round of a waker did.

    Attributes:
        waiting: Flow runs that go on sleeping.
        woken: Ids of the flow runs that were resumed.
        removed: Records of flow runs that no longer sleep.
    """

    waiting: int = 0
    woken: list[str] = field(default_factory=list[str])
    removed: int = 0


async def make_round(storage: Storage, *, every: float = 60.0, hint: str | None = None) -> Round:
    """Look once at everything that flow runs of a store wait for, and resume those that need not wait any longer.

    Args:
        storage: The store.
        every: Seconds between this waker's rounds, for whoever wants to know whether there is one.
        hint: Id of a job that is finished, as its server says. It is looked at in any case, and only if a flow run
            waits for it; whoever makes such a round is no waker, as it may be the last for long.

    Raises:
        errors.StoreError: The store can't be read or written.
    """
    if hint is None:
        await beat(storage, every)
    records = await read_all(storage)
    done = Round()
    hinted = any(awaited.job.id == hint for record in records for awaited in record.jobs)
    if not records or (hint and not hinted):
        return done
    async with get_client() as client:
        runs = await _flow_runs(client, [record.flow_run_id for record in records])
        asleep: list[WaitingRecord] = []
        for record in records:
            run = runs.get(record.flow_run_id)
            if _sleeps(run, record):
                asleep.append(record)
            elif _is_over(run, record, str(client.api_url)):
                await remove(storage, record)
                done.removed += 1
        finished = await _find_finished(storage, asleep, hint)
        formless = await _formless(client, asleep)
        for record in asleep:
            if not (reason := _reason(record, finished, formless)):
                done.waiting += 1
            elif await _try_to_resume(client, record, runs[record.flow_run_id]):
                done.woken.append(record.flow_run_id)
                await remove(storage, record)
                await _report(record, reason)
    return done


async def _try_to_resume(client: PrefectClient, record: WaitingRecord, run: FlowRun) -> bool:
    """Whether a flow run was resumed by us; one that can't be now waits for the next round, and holds up nobody."""
    try:
        return await resume(client, record, run)
    except httpx.HTTPError as error:
        run_logger().warning("Flow run %s can't be resumed now: %s", record.flow_run_id, error)
        return False


async def _flow_runs(client: PrefectClient, ids: list[str]) -> dict[str, FlowRun]:
    """The flow runs with these ids, as far as they exist."""
    unique = sorted(set(ids))
    runs: dict[str, FlowRun] = {}
    for start in range(0, len(unique), FLOW_RUNS_PER_REQUEST):
        page = [UUID(each) for each in unique[start : start + FLOW_RUNS_PER_REQUEST]]
        flow_runs = FlowRunFilter(id=FlowRunFilterId(any_=page))
        rows = await client.read_flow_runs(flow_run_filter=flow_runs, limit=FLOW_RUNS_PER_REQUEST)
        runs |= {str(run.id): run for run in rows}
    return runs


def _sleeps(run: FlowRun | None, record: WaitingRecord) -> bool:
    """Whether the flow run is suspended for what the record says."""
    state = run.state if run else None
    return state is not None and state.is_paused() and state.state_details.pause_key == record.suspension


def _is_over(run: FlowRun | None, record: WaitingRecord, api_url: str) -> bool:
    """Whether the suspension of the record can't be there any more, or come.

    A record is written while its flow run is running, so one of a running flow run may have its suspension before it.
    """
    if run is None:  # unless another Prefect knows it, which shares the store and whose wakers look after it
        long_over = clock.now() > record.deadline + 2 * GRACE
        return record.api_url in (None, url_without_login(api_url)) or long_over
    state = run.state
    return state is not None and (state.is_final() or state.is_paused())


def _reason(record: WaitingRecord, finished: set[Key], formless: set[str]) -> Reason | None:
    """Why a flow run is to be resumed; None if it is to sleep on."""
    if clock.now() >= record.deadline:
        return "deadline"
    if record.suspension in formless:
        return "no form"
    over = [_key(each) in finished for each in record.jobs]
    if not over:
        return None
    return "finished" if (all(over) if record.until == "all" else any(over)) else None


async def _formless(client: PrefectClient, records: list[WaitingRecord]) -> set[str]:
    """Suspensions for a person that have no form, so nobody can answer: the process died before it was saved."""
    turns = asyncio.Semaphore(READS_AT_ONCE)
    late = [record for record in records if record.reason == "review" and record.written_at + FORM_GRACE < clock.now()]

    async def lacks_form(record: WaitingRecord) -> bool:
        form = keyset_from_base_key(f"suspended-{record.suspension}")["schema"]
        async with turns:
            try:
                await client.read_flow_run_input(UUID(record.flow_run_id), form)
            except PrefectHTTPStatusError as error:
                return error.response.status_code == 404
        return False

    missing = await asyncio.gather(*map(lacks_form, late))
    return {record.suspension for record, lacks in zip(late, missing, strict=True) if lacks}


def _key(awaited: AwaitedJob) -> Key:
    job = awaited.job
    return f"{awaited.credentials} {job.base_url}", job.id or (job.key if isinstance(job, ImageBatch) else None)


async def _find_finished(storage: Storage, records: list[WaitingRecord], hint: str | None) -> set[Key]:
    """The jobs that are finished, of all that these records wait for; each server is asked once."""
    groups: defaultdict[str, dict[Key, AwaitedJob]] = defaultdict(dict)
    connections: dict[str, Connection | None] = {}
    for record in records:
        for awaited in record.jobs:
            name = awaited.credentials
            if name not in connections:
                connections[name] = await _connection(name)
            if connection := connections[name]:
                groups[f"{server_of(connection)} {awaited.job.base_url}"][_key(awaited)] = awaited

    async def look(group: dict[Key, AwaitedJob]) -> set[Key]:
        first = next(iter(group.values()))
        connection = connections[first.credentials]
        assert connection
        jobs = {(awaited.job.id, type(awaited.job)): awaited.job for awaited in group.values()}
        try:
            brought = await look_at_server(connection, list(jobs.values()), storage, hint=hint)
        except MediaError as error:
            run_logger().warning("The jobs at %s can't be looked at: %s", connection.host, error)
            return set()
        for stall in brought.stalls:
            run_logger().warning("Job %s has not changed for %d s", stall.job.id, stall.seconds)
            purchase_events(storage.url)(_step_of(stall))
        return {key for key in group if key[1] in brought.finished}

    return set[Key]().union(*await asyncio.gather(*map(look, groups.values())))


def _step_of(stall: Stall) -> Step:
    """A stalled job as the step that a process waiting for it would report."""
    job, state = stall.job, stall.state
    return Step(
        kind="stalled",
        at=clock.now(),
        purchase=job.purchase,
        operation="adopt",
        media="video",
        model=job.model,
        host=urlsplit(job.base_url).netloc.rpartition("@")[2],
        job_id=job.id,
        submitted_at=job.submitted_at,
        status=state.status,
        progress=state.progress,
        waited_seconds=stall.seconds,
    )


async def _connection(credentials: str) -> Connection | None:
    try:
        return await connection_to(credentials)
    except MediaError as error:
        run_logger().warning("Jobs bought with %s can't be looked at: %s", credentials, error)
        return None


async def resume(client: PrefectClient, record: WaitingRecord, run: FlowRun) -> bool:
    """Resume a flow run; False if it no longer sleeps, perhaps because another waker was faster."""
    if record.reason == "jobs":
        result = await client.resume_flow_run(UUID(record.flow_run_id))
        return result.status == SetStateStatus.ACCEPT
    # Prefect resumes what waits for a person only with an answer, and there is none at the deadline.
    try:
        now = await client.read_flow_run(UUID(record.flow_run_id))
    except ObjectNotFound:
        return False
    if not _sleeps(now, record):
        return False
    result = await client.set_flow_run_state(now.id, Scheduled(name="Resuming"))
    return result.status == SetStateStatus.ACCEPT


async def _report(record: WaitingRecord, reason: Reason) -> None:
    """Say that a flow run was resumed, in the log and by an event."""
    run_logger().info("Resumed flow run %s: %s", record.flow_run_id, reason)
    about = Woken(
        reason=reason,
        waited_for=record.reason,
        jobs=[str(awaited.job.id) for awaited in record.jobs][:MOST_ASSETS],
        seconds=round((clock.now() - record.written_at).total_seconds()),
    )
    resource = {
        "prefect.resource.id": f"prefect.flow-run.{record.flow_run_id}",
        "prefect.resource.name": record.flow_name or record.flow_run_id,
    }
    await asyncio.to_thread(emit_event, f"{PREFIX}flow.woken", resource=resource, payload=about.model_dump(mode="json"))
