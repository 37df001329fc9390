"""Prefect's server in memory: flow runs and the rules of their states, as far as suspended ones meet them.

The rules are those of `prefect/server/orchestration/core_policy.py` and `prefect/server/api/flow_runs.py` of Prefect
3.9.1: a run is suspended only while it is running, once by each key; it is resumed only while
it is paused, and not after its timeout; keys are forgotten when a run leaves a final state; a change that is sent twice
counts once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.states import Cancelled, Failed, Scheduled

from ..loop import EPOCH

if TYPE_CHECKING:
    from .world import SleepingWorld

DEPLOYMENT = UUID(int=1)

MISSING = object()
"""What the server answers with 404."""


@dataclass
class ServerRun:
    """A flow run as the server keeps it.

    Attributes:
        name: How the history calls it.
        pause_keys: Keys of the suspensions of this attempt.
        resuming: Whether it was resumed and has not started since.
        inputs: Forms, and what was sent from them.
    """

    id: UUID
    name: str
    state: State[Any]
    pause_keys: set[str] = field(default_factory=set)
    resuming: bool = False
    run_count: int = 0
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def suspension(self) -> str | None:
        """Key of the suspension that it is in now."""
        return self.state.state_details.pause_key if self.state.is_paused() else None

    def as_seen(self) -> Any:
        """As much of the flow run as is read of it, in place of Prefect's FlowRun: that one takes long to make."""
        return SimpleNamespace(
            id=self.id,
            state=self.state,
            run_count=self.run_count,
            deployment_id=DEPLOYMENT,
            parent_task_run_id=None,
            empirical_policy=SimpleNamespace(pause_keys=set(self.pause_keys)),
        )


class Server:
    """The flow runs of one history. What changes is told to the world."""

    def __init__(self, world: SleepingWorld) -> None:
        self._world = world
        self.runs: dict[UUID, ServerRun] = {}

    def create(self, name: str) -> None:
        run = ServerRun(UUID(int=1000 + len(self.runs)), name, Scheduled())
        self.runs[run.id] = run
        self._world.scheduled(run)

    def delete(self, name: str) -> None:
        self.runs = {run_id: run for run_id, run in self.runs.items() if run.name != name}

    def named(self, name: str) -> ServerRun | None:
        return next((run for run in self.runs.values() if run.name == name), None)

    def read(self, run_id: UUID) -> Any:
        run = self.runs.get(run_id)
        return run.as_seen() if run else MISSING

    def read_many(self, run_ids: list[UUID]) -> list[Any]:
        return [self.runs[run_id].as_seen() for run_id in run_ids if run_id in self.runs]

    def set_state(self, run_id: UUID, state: State[Any]) -> Any:
        """Propose a state; what `POST /flow_runs/{id}/set_state` answers."""
        run = self.runs.get(run_id)
        if run is None:
            return MISSING
        before, details = run.state, state.state_details
        if details.transition_id is not None and details.transition_id == before.state_details.transition_id:
            return _reject(run, "This run has already made this state transition.")
        if refusal := self._refusal(run, state):
            return refusal
        if before.is_final() and not state.is_final():
            run.pause_keys, run.resuming = set(), False
        if state.is_paused():
            run.pause_keys.add(str(details.pause_key))
            for key in (details.run_input_keyset or {}).values():
                run.inputs.pop(key, None)
        elif before.is_paused():
            run.resuming = True
        if state.is_running():
            run.run_count += not run.resuming
            run.resuming = False
        self._change(run, state)
        return _result(SetStateStatus.ACCEPT, run)

    def _refusal(self, run: ServerRun, state: State[Any]) -> Any:
        """Why a state is not taken; None if it is."""
        before = run.state
        if before.is_final() and state.type in (StateType.CANCELLING, StateType.PAUSED, StateType.CRASHED):
            return _abort(f"Run is already in terminal state {before.type.value}.")
        if before.is_cancelling() and not state.is_cancelled():
            return _reject(run, "Cannot transition flows that are cancelling to a state other than Cancelled.")
        if state.is_cancelling() and (before.is_scheduled() or before.is_paused()):
            self._change(run, Cancelled())
            return _reject(run, "The flow run has no infrastructure to terminate.")
        if state.is_pending() and (before.is_pending() or before.is_running() or before.is_cancelled()):
            return _abort("This run is in a state that can't be followed by PENDING.")
        if state.is_paused():
            if not before.is_running():
                return _reject(run, "Cannot suspend flows that are not currently running.")
            if state.state_details.pause_key in run.pause_keys:
                return _reject(run, "This suspend has already fired.")
        if before.is_paused():
            if not (state.is_running() or state.is_scheduled() or state.is_cancelling() or state.is_final()):
                return _reject(run, f"This run cannot transition to the {state.type} state from the PAUSED state.")
            if self._is_expired(run) and not state.is_cancelling():
                self._change(run, Failed(message="The flow was paused and never resumed."))
                return _reject(run, "The flow run pause has timed out and can no longer resume.")
        return None

    def resume(self, run_id: UUID, run_input: dict[str, Any] | None = None) -> Any:
        """What `POST /flow_runs/{id}/resume` answers."""
        run = self.runs.get(run_id)
        if run is None:
            return MISSING
        if not run.state.is_paused():
            return _abort("Cannot resume a flow run that is not paused.")
        keyset = run.state.state_details.run_input_keyset
        if keyset and keyset["schema"] not in run.inputs:
            return _reject(run, "Run input schema not found.")
        if keyset and not run_input:
            return _reject(run, "Reason: an answer is required.")
        result = self.set_state(run_id, Scheduled(name="Resuming"))
        if keyset and result.status == SetStateStatus.ACCEPT:
            run.inputs[keyset["response"]] = run_input
        return result

    def expire(self) -> None:
        """What the service for paused runs does every five seconds."""
        for run in self.runs.values():
            if run.state.is_paused() and self._is_expired(run):
                self._change(run, Failed(message="The flow was paused and never resumed."))

    def _is_expired(self, run: ServerRun) -> bool:
        timeout = run.state.state_details.pause_timeout
        return timeout is not None and timeout < EPOCH + timedelta(seconds=self._world.loop.moment)

    def _change(self, run: ServerRun, state: State[Any]) -> None:
        before, run.state = run.state, state
        self._world.state_changed(run, before)


def _result(status: SetStateStatus, run: ServerRun | None, reason: str = "") -> Any:
    """What is read of an OrchestrationResult."""
    return SimpleNamespace(status=status, state=run and run.state, details=SimpleNamespace(reason=reason))


def _reject(run: ServerRun, reason: str) -> Any:
    return _result(SetStateStatus.REJECT, run, reason)


def _abort(reason: str) -> Any:
    return _result(SetStateStatus.ABORT, None, reason)
