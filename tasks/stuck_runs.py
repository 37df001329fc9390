"""Free flow runs that nobody works on any more: stuck before their start, without a heartbeat, or left Crashed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events import Event
from prefect.events.filters import (
    EventFilter,
    EventNameFilter,
    EventOccurredFilter,
    EventRelatedFilter,
    EventResourceFilter,
)
from prefect.settings import get_current_settings
from prefect.states import Crashed, Scheduled

from prefect_media.errors import InvalidRequest
from prefect_media.runtime import clock

from .flow_run_state import FLOW_RUNS_PER_REQUEST
from .recovery import MAX_STARTS, SHORTEST_WINDOW, crashed_runs_are_run_again

MAX_PAGES = 50

HEARTBEAT = "prefect.flow-run.heartbeat"

HISTORY = timedelta(days=1)
"""Crashes from longer ago are left alone: nobody expects their runs to start again. So are heartbeats of other runs."""

MISSED_AFTER = timedelta(seconds=20)
"""How long the automation has to run a crashed run again: it takes seconds, or never does it. And a worker reports a
crash twice, some seven seconds apart."""

USUAL_INTERVAL = 180
"""Seconds between two heartbeats, by Prefect's default."""


@dataclass(frozen=True, slots=True)
class FreedRun:
    """A flow run that was stuck, and what was done with it.

    Attributes:
        id: The flow run.
        name: Its name.
        state: The state it was stuck in, such as Pending, Submitting, Running or Crashed.
        seconds: How long it had been stuck.
        crashed: True if it has started too often to be run again, and was marked as Crashed.
    """

    id: UUID
    name: str
    state: str
    seconds: float
    crashed: bool


async def arecover_stuck(
    stuck_for: timedelta, *, flow_name: str | None = None, max_starts: int = MAX_STARTS
) -> list[FreedRun]:
    """Schedule flow runs again that are stuck in Pending or Submitting, run without a heartbeat, or stay Crashed.

    Only runs of deployments are freed: others have no worker to run them. A run counts as running without a heartbeat
    only if it had one before, or if other runs of its deployment have them: a process that is lost in its first seconds
    leaves none. A run that has started `max_starts` times is marked as Crashed instead.

    Prefect's server tries the action of an automation once, and it fails when the database is busy. So a run that
    crashed within the last day, and is still Crashed after 20 s, is scheduled again as well if the automation of
    `recover-crashed` is saved for its flow.

    Args:
        stuck_for: How long a run must have been in its state, and without a heartbeat.
        flow_name: Only runs of this flow; by default runs of all flows.
        max_starts: How often a flow run may have started.

    Raises:
        errors.InvalidRequest: `stuck_for` is so short that living runs would be freed.
    """
    if stuck_for < SHORTEST_WINDOW:
        raise InvalidRequest(
            f"{stuck_for.total_seconds():g} s is too short: flow runs that are about to start would be freed; "
            f"allowed: {SHORTEST_WINDOW.total_seconds():g} s or more"
        )
    now = clock.now()
    before, crashed_before = now - stuck_for, now - min(stuck_for, MISSED_AFTER)
    freed: list[FreedRun] = []
    async with get_client() as client:
        for run in [*await _unfinished_runs(client, flow_name), *await _missed_crashes(client, flow_name, max_starts)]:
            state = run.state
            if state is None or run.deployment_id is None:
                continue
            if state.timestamp > (crashed_before if state.type == StateType.CRASHED else before):
                continue
            if state.type == StateType.RUNNING and not await _lost_its_heartbeat(client, run, state.timestamp, before):
                continue
            seconds = (clock.now() - state.timestamp).total_seconds()
            message = f"{state.name} for {seconds:.0f} s without a sign of life"
            crashed = run.run_count >= max_starts
            change = (
                Crashed(message=f"{message}; started {run.run_count} times, so it is left alone")
                if crashed
                else Scheduled(name="AwaitingRetry", message=f"{message}; run again")
            )
            await client.set_flow_run_state(run.id, change, force=True)
            freed.append(FreedRun(run.id, run.name, state.name or state.type.value, seconds, crashed))
    return freed


async def _unfinished_runs(client: PrefectClient, flow_name: str | None) -> list[FlowRun]:
    return await _runs_in(client, [StateType.PENDING, StateType.RUNNING], flow_name)


async def _missed_crashes(client: PrefectClient, flow_name: str | None, max_starts: int) -> list[FlowRun]:
    """Crashed runs that the automation of `recover-crashed` ought to have run again."""
    if not await crashed_runs_are_run_again(client, flow_name):
        return []
    runs = await _runs_in(client, [StateType.CRASHED], flow_name, ended_after=clock.now() - HISTORY)
    return [run for run in runs if run.run_count < max_starts]


async def _runs_in(
    client: PrefectClient, types: list[StateType], flow_name: str | None, *, ended_after: datetime | None = None
) -> list[FlowRun]:
    runs: list[FlowRun] = []
    for page in range(MAX_PAGES):
        rows = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])) if flow_name is not None else None,
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=types)),
                end_time=FlowRunFilterEndTime.model_validate({"after_": ended_after})
                if ended_after is not None
                else None,
            ),
            limit=FLOW_RUNS_PER_REQUEST,
            offset=page * FLOW_RUNS_PER_REQUEST,
        )
        runs += rows
        if len(rows) < FLOW_RUNS_PER_REQUEST:
            break
    return runs


async def _lost_its_heartbeat(client: PrefectClient, run: FlowRun, since: datetime, before: datetime) -> bool:
    """Whether a run whose process sends heartbeats had none since `before`, and for three of their intervals."""
    beats = await _heartbeats(client, since, resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]))
    last = beats[0].occurred if beats else since
    if not beats:  # it was lost in its first seconds, or nobody sends heartbeats where it runs
        deployment = EventRelatedFilter(resources_in_roles=[(f"prefect.deployment.{run.deployment_id}", "deployment")])
        others = await _heartbeats(client, clock.now() - HISTORY, related=deployment)
        if not others:
            return False
        beats = await _heartbeats(
            client, clock.now() - HISTORY, resource=EventResourceFilter(id=[others[0].resource.id])
        )
    usual = timedelta(seconds=get_current_settings().flows.heartbeat_frequency or USUAL_INTERVAL)
    interval = beats[0].occurred - beats[1].occurred if len(beats) > 1 else usual
    return last < min(before, clock.now() - 3 * interval)


async def _heartbeats(client: PrefectClient, since: datetime, **whose: Any) -> list[Event]:
    """The last two heartbeats, the newest first."""
    occurred = EventOccurredFilter.model_validate({"since": since, "until": clock.now()})
    page = await client.read_events(
        EventFilter(event=EventNameFilter(name=[HEARTBEAT]), occurred=occurred, **whose), limit=2
    )
    return list(page.events)
