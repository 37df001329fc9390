"""Prefect automations that run lost flow runs again; the ledger makes that safe, because it finds what was paid for.

Prefect's own retries happen inside a process and die with it. These automations live in Prefect's server.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

from prefect import get_client
from prefect.automations import Automation, EventTrigger, Posture
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, DoNothing

from prefect_media.errors import InvalidRequest

RECOVERY = "prefect-media: run crashed flow runs again"
HEARTBEAT = "prefect-media: crash flow runs without a heartbeat"
CONNECTION = "prefect-media: run flow runs again that lost Prefect's server"
GIVE_UP = "prefect-media: leave flow runs alone that crash again and again"

MAX_STARTS = 5
"""A flow run that has started this often is not run again by an automation."""

HEARTBEAT_WINDOW = timedelta(minutes=9)
"""Three heartbeats at Prefect's default frequency of 180 s."""

SHORTEST_WINDOW = timedelta(seconds=60)
"""Two heartbeats at the highest frequency that Prefect allows, 30 s."""

CONNECTION_ERRORS = (
    "ConnectError",
    "ConnectTimeout",
    "ReadError",
    "ReadTimeout",
    "RemoteProtocolError",
    "PoolTimeout",
    "WriteError",
    "PrefectHTTPStatusError: Server error '50?",
)
"""Exceptions of Prefect's HTTP client; those of providers are `prefect_media.errors`, whose names differ."""

Extra = Literal["connection-errors"]


def crash_recovery(
    flow_name: str | None = None, *, name: str | None = None, max_starts: int = MAX_STARTS
) -> Automation:
    """Build an automation that schedules a crashed flow run again on a worker; `.create()` saves it.

    The worker picks up the same run, and every generation in it resumes where it was. Only runs of deployments are
    run again, and only until they have started `max_starts` times.

    Example:
        ```python
        crash_recovery("storyboard").create()  # or: prefect-media recover-crashed --flow storyboard
        ```

    Args:
        flow_name: Only runs of this flow; by default runs of all flows.
        name: The automation's name; by default `RECOVERY`, with the name of the flow.
        max_starts: How often a flow run may have started; then it is left alone.
    """
    return Automation(
        name=name or _name_for(RECOVERY, flow_name),
        description="The same run again, on a worker. Safe with prefect-media: its ledger buys nothing twice.",
        trigger=_after("Crashed", flow_name, {"prefect.run-count": [str(n) for n in range(max_starts)]}),
        actions=[_run_again("Crashed; run again")],
    )


def heartbeat_watch(flow_name: str | None = None, *, window: timedelta = HEARTBEAT_WINDOW) -> Automation:
    """Build an automation that marks a running flow run as Crashed when its heartbeats stop.

    A worker reports the crash of a flow's process. When the worker's machine is lost as well, only the missing
    heartbeat shows it. `PREFECT_FLOWS_HEARTBEAT_FREQUENCY` on the workers is the number of seconds between two
    heartbeats (180 by default, at least 30); the window should be three times that.

    Args:
        flow_name: Only runs of this flow; by default runs of all flows.
        window: How long a run may show neither a heartbeat nor another event.

    Raises:
        errors.InvalidRequest: The window is so short that living runs would be marked.
    """
    if window < SHORTEST_WINDOW:
        raise InvalidRequest(
            f"a window of {window.total_seconds():g} s without a heartbeat is too short: running flow runs would be "
            f"marked as crashed; allowed: {SHORTEST_WINDOW.total_seconds():g} s or more"
        )
    return Automation(
        name=_name_for(HEARTBEAT, flow_name),
        description="The machine of the flow run is lost: nobody else would report it.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},  # any sign of life, or an end, a pause, a suspension
            match={"prefect.resource.id": "prefect.flow-run.*"},  # pyright: ignore[reportArgumentType] # coerced
            match_related=_of_flow(flow_name),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=window,
        ),
        actions=[
            # Not by force: a server that has restarted may not have seen that the run ended, and then refuses this.
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message=f"No heartbeat for {window.total_seconds():g} s",
                force=False,
            )
        ],
    )


def connection_recovery(flow_name: str | None = None, *, max_starts: int = MAX_STARTS) -> Automation:
    """Build an automation that runs a flow run again that Failed because Prefect's own server was away.

    Args:
        flow_name: Only runs of this flow; by default runs of all flows.
        max_starts: How often a flow run may have started; then it is left alone.
    """
    messages = [f"Flow run encountered an exception: {error}*" for error in CONNECTION_ERRORS]
    counts = [str(n) for n in range(max_starts)]
    return Automation(
        name=_name_for(CONNECTION, flow_name),
        description="The same run again, on a worker, after an error of the connection to Prefect's server.",
        trigger=_after("Failed", flow_name, {"prefect.run-count": counts, "prefect.state-message": messages}),
        actions=[_run_again("Prefect's server was away; run again")],
    )


def give_up(flow_name: str | None = None, *, max_starts: int = MAX_STARTS) -> Automation:
    """Build an automation that only triggers when a flow run crashes that has started `max_starts` times.

    Its event, `prefect.automation.triggered`, says that the run is left alone; a notification can be added to it.

    Args:
        flow_name: Only runs of this flow; by default runs of all flows.
        max_starts: How often a flow run may have started before.
    """
    counts = [str(n) for n in range(max_starts, max_starts + 100)]
    return Automation(
        name=_name_for(GIVE_UP, flow_name),
        description=f"A flow run crashed that has started {max_starts} times; it is not run again.",
        trigger=_after("Crashed", flow_name, {"prefect.run-count": counts}),
        actions=[DoNothing()],
    )


async def asave_recovery(
    flow_name: str | None = None,
    *,
    window: timedelta = HEARTBEAT_WINDOW,
    max_starts: int = MAX_STARTS,
    also: Sequence[Extra] = (),
) -> list[str]:
    """Save the automations that recover lost flow runs, or update them; saving them again changes nothing.

    Args:
        flow_name: Only runs of this flow; by default runs of all flows.
        window: How long a running flow run may show neither a heartbeat nor another event.
        max_starts: How often a flow run may have started; then it is left alone.
        also: "connection-errors" also runs those again that Failed because Prefect's server was away.

    Returns:
        The names of the automations.

    Raises:
        errors.InvalidRequest: The window is too short, or `max_starts` is below 1.
    """
    if max_starts < 1:
        raise InvalidRequest(f"max_starts={max_starts} is not possible; allowed: 1 or more")
    automations = [
        heartbeat_watch(flow_name, window=window),
        crash_recovery(flow_name, max_starts=max_starts),
        give_up(flow_name, max_starts=max_starts),
    ]
    if "connection-errors" in also:
        automations.append(connection_recovery(flow_name, max_starts=max_starts))
    await aremove_recovery(flow_name, keep=[automation.name for automation in automations])
    async with get_client() as client:
        for automation in automations:
            same_name = await client.read_automations_by_name(automation.name)
            if same_name:
                automation.id = same_name[0].id
                await automation.aupdate()
            else:
                await automation.acreate()
            for duplicate in same_name[1:]:
                await client.delete_automation(duplicate.id)
    return [automation.name for automation in automations]


async def aremove_recovery(flow_name: str | None = None, *, keep: Sequence[str] = ()) -> list[str]:
    """Delete the automations that recover the runs of a flow, also those that an earlier version saved.

    Args:
        flow_name: The flow that they were saved for; by default those for all flows.
        keep: Names of automations that stay.

    Returns:
        The names of the automations that were deleted.
    """
    removed: list[str] = []
    async with get_client() as client:
        for title in (RECOVERY, HEARTBEAT, CONNECTION, GIVE_UP):
            for automation in await client.read_automations_by_name(_name_for(title, flow_name)):
                if automation.name not in keep:
                    await client.delete_automation(automation.id)
                    removed.append(automation.name)
        if flow_name is not None:  # the version before named the automation of a flow like the one for all
            for automation in await client.read_automations_by_name(RECOVERY):
                if f'"prefect.resource.name":"{flow_name}"' in automation.trigger.model_dump_json():
                    await client.delete_automation(automation.id)
                    removed.append(automation.name)
    return removed


async def crashed_runs_are_run_again(client: PrefectClient, flow_name: str | None) -> bool:
    """Whether the automation that runs crashed flow runs again is saved and enabled, for this flow or for all."""
    names = dict.fromkeys((_name_for(RECOVERY, flow_name), RECOVERY))
    automations = [one for name in names for one in await client.read_automations_by_name(name)]
    return any(automation.enabled for automation in automations)


def _name_for(title: str, flow_name: str | None) -> str:
    return title if flow_name is None else f"{title} ({flow_name})"


def _of_flow(flow_name: str | None) -> Any:
    if flow_name is None:
        return {}
    return {"prefect.resource.role": "flow", "prefect.resource.name": flow_name}


def _after(state: str, flow_name: str | None, labels: dict[str, list[str]]) -> EventTrigger:
    """A trigger for each run of a deployment that enters a state; other runs have no worker to run them again."""
    deployed = {"prefect.resource.role": "deployment", "prefect.resource.id": "prefect.deployment.*"}
    related: list[Any] = [deployed, _of_flow(flow_name)] if flow_name is not None else [deployed]
    return EventTrigger(
        expect={f"prefect.flow-run.{state}"},
        match={"prefect.resource.id": "prefect.flow-run.*", **labels},  # pyright: ignore[reportArgumentType] # coerced
        match_related=related,
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
    )


def _run_again(message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(state=StateType.SCHEDULED, name="AwaitingRetry", message=message, force=True)
