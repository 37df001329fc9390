"""What stands in for Prefect around the real code of a sleeping flow run and its wakers, all else being itself."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import Any

import prefect.flow_runs
import prefect.input.run_input
import prefect.states
from prefect.context import FlowRunContext
from prefect_media.tasks import ask_people, context, job_credentials, suspension, waiting, wake

from prefect_media.runtime import clock

from ..loop import EPOCH, PROCESS
from ..surroundings import Own, Silent
from .client import Client

CREDENTIALS = "simulated"
"""Name of the saved credentials that all jobs are bought with."""

STORE = "s3://sim"


def enter_flow_run(run: Any) -> None:
    """Make this simulated process the one of a flow run, for Prefect's code and ours."""
    surroundings = SimpleNamespace(
        flow=SimpleNamespace(name="film"), flow_run=run, client=Client(), observed_flow_pauses={"counter": 0}
    )
    FlowRunContext.__var__.set(surroundings)


async def _credentials_block(credentials: object) -> Any:
    """The saved block, read from Prefect's server once in a flow run and each time elsewhere."""
    things = PROCESS.get().things
    if "block" not in things:
        await Client().read_block()
    if FlowRunContext.get() is not None:
        things["block"] = True
    return SimpleNamespace(connection=lambda: PROCESS.get().machine.world.connection)


async def _storage_for(store: object) -> Any:
    return PROCESS.get().storage


async def _root_of_purchases() -> str:
    return "run"


async def _root_of_questions() -> str:
    surroundings = FlowRunContext.get()
    assert surroundings and surroundings.flow_run
    return str(surroundings.flow_run.id)


async def _create_flow_run_input(key: str, value: Any, flow_run_id: Any = None, sender: object = None) -> None:
    surroundings = FlowRunContext.get()
    assert surroundings and surroundings.flow_run
    await Client().create_flow_run_input(flow_run_id or surroundings.flow_run.id, key, value)


async def _describe(question: str, assets: object) -> str:
    return question


def _now(*_: object) -> datetime:
    """What a process reads from its machine; of what the server does by itself, nobody reads when it was."""
    return clock.now() if PROCESS.get(None) else EPOCH


def _nothing(*_: object, **__: object) -> None: ...


def _logger(*_: object, **__: object) -> Silent:
    return Silent()


def _observer(*_: object) -> Any:
    return _nothing


PATCHES: list[tuple[Any, str, Any]] = [
    *((module, "get_client", Client) for module in (prefect.flow_runs, suspension, wake, ask_people)),
    *((module, "run_logger", _logger) for module in (context, suspension, wake, ask_people, waiting)),
    *((module, "storage_for", _storage_for) for module in (ask_people, waiting)),
    *((module, "credentials_block", _credentials_block) for module in (context, job_credentials)),
    (prefect.flow_runs, "get_run_logger", _logger),
    (prefect.states, "now", _now),
    (prefect.input.run_input, "acreate_flow_run_input", _create_flow_run_input),
    (context, "root_flow_run_id", _root_of_purchases),
    (ask_people, "root_flow_run_id", _root_of_questions),
    (ask_people, "describe", _describe),
    (ask_people, "send_requested", _nothing),
    (ask_people, "send_ended", _nothing),
    (suspension, "send_waiting", _nothing),
    (suspension, "_turns", Own()),
    (waiting, "show_steps", _observer),
    (wake, "emit_event", _nothing),
    (wake, "purchase_events", _observer),
]
