"""Prefect's client as our code and Prefect's own use it; on the way to the simulated server requests get lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from prefect_media.runtime import clock

from ..loop import PROCESS, Process
from .server import MISSING

if TYPE_CHECKING:
    from .world import SleepingWorld

TRIES = 6
"""How often Prefect's client sends a request, which waits 2, 4, 8, 16 and 32 s in between."""

URL = "http://prefect.example/api"

LOST = ("lost before", "lost after", "503", "500 after", "lost before, for good", "lost after, for good")
"""What can happen to a request. "500 after" is an answer that the client does not ask again after."""


class SentInput:
    """Something that was sent to a flow run from a form."""

    def __init__(self, key: str, value: Any) -> None:
        self.key, self.decoded_value = key, value


class Client:
    """The client of one process."""

    api_url = URL

    def __init__(self) -> None:
        self._process: Process = PROCESS.get()
        self._world: SleepingWorld = self._process.machine.world
        self._server = self._world.server

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def set_flow_run_state(self, flow_run_id: UUID, state: State[Any], force: bool = False) -> Any:
        details = state.state_details.model_copy(update={"transition_id": clock.uuid()})
        sent = state.model_copy(update={"state_details": details})
        verb = "suspend" if state.is_paused() else "resume" if state.is_scheduled() else "api"
        verb = "end" if state.is_final() else verb
        return await self._ask_existing(verb, self._server.set_state, flow_run_id, sent)

    async def resume_flow_run(self, flow_run_id: UUID, run_input: dict[str, Any] | None = None) -> Any:
        result = await self._ask("resume", self._server.resume, flow_run_id, run_input)
        if result is MISSING:
            raise _status_error(404)
        return result

    async def read_flow_run(self, flow_run_id: UUID) -> Any:
        return await self._ask_existing("api", self._server.read, flow_run_id)

    async def read_flow_runs(self, *, flow_run_filter: Any, limit: int) -> list[Any]:
        return await self._ask("api", self._server.read_many, flow_run_filter.id.any_[:limit])

    async def read_flow_run_input(self, flow_run_id: UUID, key: str) -> Any:
        value = await self._ask("api", lambda: self._inputs(flow_run_id).get(key, MISSING))
        if value is MISSING:
            raise _status_error(404)
        return value

    async def filter_flow_run_input(self, flow_run_id: UUID, key_prefix: str, limit: int, exclude: set[str]) -> Any:
        found = await self._ask("api", lambda: dict(self._inputs(flow_run_id)))
        return [SentInput(key, value) for key, value in found.items() if key.startswith(key_prefix)][:limit]

    async def create_flow_run_input(self, flow_run_id: UUID, key: str, value: Any) -> None:
        await self._ask("form", lambda: self._inputs(flow_run_id).__setitem__(key, value))

    async def read_block(self) -> None:
        await self._ask("api", lambda: None)

    def _inputs(self, flow_run_id: UUID) -> dict[str, Any]:
        run = self._server.runs.get(flow_run_id)
        return run.inputs if run else {}

    async def _ask_existing(self, verb: str, effect: Any, *args: Any) -> Any:
        result = await self._ask(verb, effect, *args)
        if result is MISSING:
            raise ObjectNotFound(http_exc=_status_error(404))
        return result

    async def _ask(self, verb: str, effect: Any, *args: Any) -> Any:
        """One request, sent again where Prefect's client does so."""
        world, process = self._world, self._process
        for number in range(1, TRIES + 1):
            what, seconds = world.server_fault(process, verb)
            latency, early = world.jitter()
            if not what or what.startswith("slow"):
                if what == "slow, late" or not (early or what):
                    return await world.landing(seconds if what else latency, effect, *args)
                result = effect(*args)
                await world.pause(seconds if what else latency)
                return result
            if "after" in what:
                effect(*args)
            await world.pause(latency)
            if what == "500 after":
                raise _status_error(500)
            if what.endswith("for good"):
                await world.pause(60.0)
                break
            if number < TRIES:
                await world.pause(2.0**number)
        raise httpx.ReadError("Prefect's server is away")


def _status_error(status: int) -> PrefectHTTPStatusError:
    request = httpx.Request("POST", URL)
    return PrefectHTTPStatusError(f"status {status}", request=request, response=httpx.Response(status, request=request))
