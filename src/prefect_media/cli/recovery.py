"""`prefect-media recover-crashed` and `recover`: flow runs that lost their process, their worker or their machine."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from prefect_media.tasks.recovery import HEARTBEAT_WINDOW, MAX_STARTS, aremove_recovery, asave_recovery
from prefect_media.tasks.stuck_runs import FreedRun, arecover_stuck

from ..errors import InvalidRequest
from ..runtime import clock
from .failures import describe_error
from .options import JsonOption
from .signals import end_of_command, sleep_until

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}

Flow = Annotated[str | None, typer.Option(help="Only runs of the flow of this name. Default: all.", show_default=False)]
MaxStarts = Annotated[int, typer.Option(help="Leave a flow run alone that has started this often.", min=1)]


def recover_crashed(
    flow: Flow = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help='"connection-errors": also flow runs that Failed because Prefect\'s server was away.'),
    ] = None,
    window: Annotated[
        float, typer.Option(help="Seconds without a heartbeat after which a running flow run counts as crashed.")
    ] = HEARTBEAT_WINDOW.total_seconds(),
    max_starts: MaxStarts = MAX_STARTS,
    remove: Annotated[bool, typer.Option("--remove", help="Delete the automations instead.")] = False,
) -> None:
    """Save the automations that run lost flow runs again, or delete them; again, it changes nothing.

    Args:
        flow: Only runs of the flow of this name; None for all.
        also: "connection-errors", or nothing.
        window: Seconds without a heartbeat.
        max_starts: How often a flow run may have started.
        remove: Whether to delete the automations.
    """
    if remove:
        removed = asyncio.run(aremove_recovery(flow))
        typer.echo("\n".join(f"Deleted the automation {name!r}" for name in removed) or "There was nothing to delete")
        return
    extras = also or []
    if unknown := sorted(set(extras) - {"connection-errors"}):
        raise InvalidRequest(f"--also {unknown[0]} is not possible; allowed is connection-errors")
    names = asyncio.run(
        asave_recovery(
            flow,
            window=timedelta(seconds=window),
            max_starts=max_starts,
            also=["connection-errors"] if extras else [],
        )
    )
    for name in names:
        typer.echo(f"Saved the automation {name!r}")
    typer.echo(
        f"A flow run without a heartbeat for {window:g} s counts as crashed. Workers send one every 180 s; with "
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 on all of them, use --window 90. See prefect automation ls"
    )


def recover(
    stuck: Annotated[str, typer.Option(help="How long a run must have been stuck: 90s, 10m or 1h.")] = "10m",
    flow: Flow = None,
    max_starts: MaxStarts = MAX_STARTS,
    every: Annotated[
        float | None, typer.Option(help="Repeat every so many seconds, until Ctrl-C.", min=1, show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Schedule flow runs again that are stuck before their start, or run without a heartbeat.

    Args:
        stuck: How long a run must have been stuck, such as "10m".
        flow: Only runs of the flow of this name; None for all.
        max_starts: How often a flow run may have started.
        every: Seconds between two rounds; None for one round.
        as_json: Whether to print JSON, one object a line.
    """
    stuck_for, say = _duration(stuck), _say_as_json if as_json else _say

    async def free() -> None:
        for run in await arecover_stuck(stuck_for, flow_name=flow, max_starts=max_starts):
            say(run)

    asyncio.run(free() if every is None else _until_ended(free, every))


async def _until_ended(free: Callable[[], Awaitable[None]], every: float) -> None:
    ended = end_of_command()
    while not ended.is_set():
        began = clock.monotonic()
        try:
            async with asyncio.timeout(max(10 * every, 600.0)):
                await free()
        except InvalidRequest:
            raise
        except Exception as error:  # Prefect's server is away: just then nobody else frees what gets stuck
            reason = describe_error(error) or f"{type(error).__name__}: {error}"
            typer.echo(f"This round failed: {reason}", err=True)
        await sleep_until(ended, every - (clock.monotonic() - began))


def _say(run: FreedRun) -> None:
    change = "marked as Crashed; it has started too often" if run.crashed else "scheduled again"
    typer.echo(f"{run.name} ({run.id}): {run.state} for {run.seconds:.0f} s; {change}")


def _say_as_json(run: FreedRun) -> None:
    typer.echo(json.dumps(asdict(run), default=str))


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip(), re.ASCII)
    if match is None:
        raise InvalidRequest(f"--stuck {text} is not a time; allowed: a number and s, m or h, such as 90s or 10m")
    return timedelta(seconds=float(match[1]) * UNITS[match[2]])
