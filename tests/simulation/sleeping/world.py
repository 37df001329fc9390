"""The world of flow runs that sleep: a worker starts them, wakers resume them, people answer, and all of it breaks."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, ClassVar

import httpx
from prefect.client.schemas.objects import State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import Abort, ObjectNotFound, Pause
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running, Scheduled
from prefect.utilities.engine import propose_state
from prefect_media.tasks.recovery import HEARTBEAT_WINDOW, MAX_STARTS
from prefect_media.tasks.wake import make_round

from prefect_media.errors import MediaError
from prefect_media.ledger.ledger import Ledger
from prefect_media.runtime import clock

from ..history import Action, History
from ..loop import PROCESS, Process
from ..provider import Provider
from ..store import NOBODY
from ..world import MOST_STEPS, WORLDS, Run, World
from .client import Client
from .film import film
from .server import Server, ServerRun
from .surroundings import PATCHES, enter_flow_run
from .watcher import DELETED, SleepWatcher

LONGEST = 5 * 3600.0
"""Seconds after which nothing breaks any more."""

CALM = 6 * 3600.0
"""Seconds after which every flow run has to be over then."""

SLICE = 30.0
"""Seconds between two looks at what sleeps."""

HEARTBEATS = HEARTBEAT_WINDOW.total_seconds()

ROUND_TAKES = 600.0
"""Seconds that a round of a waker may take, as in `prefect-media wake --every 60`."""

WAKER_BACK_AFTER = 20.0
"""Seconds after which a waker that was killed is there again."""


class CountingProvider(Provider):
    """Tells the watcher who asks."""

    async def exchange(self, process: Process, method: str, url: str, body: Any, files: Any):
        self.world.watcher.asked(process)
        return await super().exchange(process, method, url, body, files)


class SleepingWorld(World):
    """One history with flow runs under way."""

    patches: ClassVar[list[tuple[Any, str, Any]]] = [*World.patches, *PATCHES]

    def __init__(self, history: History, *, trace: bool = False) -> None:
        super().__init__(history, trace=trace)
        self.watcher = SleepWatcher(self)
        self.provider = CountingProvider(self)
        self.server = Server(self)
        self.actions = {action.name: action for action in history.actions}
        self.coming = 0
        """What the worker, or an automation of the server, has yet to do."""
        self.broke_at = 0.0
        """When something last broke."""

    def inject(self, kind: str) -> None:
        super().inject(kind)
        self.broke_at = self.loop.moment

    # Prefect's server, its worker and its automations.

    def server_fault(self, process: Process, verb: str) -> tuple[str, float]:
        """What is to go wrong with a request to Prefect's server."""
        nth = process.counts[verb] = process.counts.get(verb, 0) + 1
        if self.calm:
            return "", 0.0
        if self.is_away("prefect"):
            self.inject("prefect: away")
            return "lost before", 0.0
        fault = self.faults.get((f"{process.name}.{verb}", nth))
        if fault is None:
            return "", 0.0
        self.inject(fault.kind)
        self.note(process, f"{verb}: {fault.what}")
        return fault.what, fault.arg

    def state_changed(self, run: ServerRun, before: State[Any]) -> None:
        process = PROCESS.get(None)
        if self.trace is not None:
            key = f" ({run.suspension})" if run.suspension else ""
            self.note(process, f"{run.name}: {before.name} > {run.state.name}{key} {run.state.message or ''}")
        self.watcher.flow_run_changed(run, before, process)
        if run.state.is_scheduled():
            self.scheduled(run)
        elif run.state.is_crashed() and run.run_count < MAX_STARTS:
            self._later(self.history.trait("run_again_after"), self._run_again, run)
        elif run.state.is_cancelling():
            self._later(5.0, self._end_cancelled, run)

    def scheduled(self, run: ServerRun) -> None:
        self._later(self.history.trait("worker_takes"), self._start_process, run)

    def _later(self, seconds: float, what: Any, run: ServerRun, *args: Any) -> None:
        self.coming += 1

        def happen() -> None:
            self.coming -= 1
            if run.id in self.server.runs:
                what(run, *args)

        self.loop.call_later(seconds, happen, context=NOBODY)

    def _run_again(self, run: ServerRun) -> None:
        if run.state.is_crashed():
            self.server.set_state(run.id, Scheduled())

    def _start_process(self, run: ServerRun) -> None:
        if run.state.is_scheduled():
            self.server.set_state(run.id, Pending())
            action, process = self.actions[run.name], run.name
            while process in self.processes:  # the process before may still be there
                process += "r"
            super()._start(replace(action, process=process, machine=(action.machine + run.run_count) % 3))
            self.processes[process].things["flow run"] = run.id

    def _end_cancelled(self, run: ServerRun) -> None:
        for each in self.runs:
            if each.process.things.get("flow run") == run.id and not each.over:
                each.over, each.ended, each.process.dead = True, self.loop.moment, True
        self.server.set_state(run.id, Cancelled())

    def _report_crash(self, run: ServerRun) -> None:
        if self.is_away("prefect") or (not self.calm and (f"report.{run.name}", run.run_count) in self.faults):
            self.inject("prefect: crash not reported")
            self._later(HEARTBEATS, self._miss_heartbeats, run, run.state)
        else:
            self.watcher.crash_reported(run)
            self.server.set_state(run.id, Crashed())

    def _miss_heartbeats(self, run: ServerRun, state: State[Any]) -> None:
        """An automation, or who calls `recover --stuck`, sees no heartbeats any more; a suspended run sends none."""
        if run.state is state and (state.is_running() or state.is_pending()):
            self.watcher.crash_reported(run)
            self.server.set_state(run.id, Crashed())

    def _died(self, process: Process, how: str) -> None:
        runs = [run for run in self.runs if run.process is process and not run.over]
        super()._died(process, how)
        if not process.dead:
            return
        for run in runs:
            if run.action.kind == "waker":
                self.loop.call_later(WAKER_BACK_AFTER, self._start, run.action, context=NOBODY)
            else:
                self._exited(process)

    def _exited(self, process: Process) -> None:
        """A process of a flow run ended without a word, which its worker notices."""
        run = self.server.runs.get(process.things.get("flow run"))
        if run is not None:
            self._later(self.history.trait("crash_seen_after"), self._report_crash, run)

    # Who does what.

    def _start(self, action: Action) -> None:
        match action.kind:
            case "flow":
                self.server.create(action.name)
            case "waker":
                super()._start(action)
            case "hint":
                super()._start(action)
            case "delete job":
                self._delete_job(action)
            case _:
                self._of_people(action)

    def _delete_job(self, action: Action) -> None:
        """Somebody deletes a job in the provider's console."""
        for unit in self.provider.units:
            if unit.kind == "video" and unit.purchase == f"{action.what[0]}@{action.scope}" and unit.deleted is None:
                unit.deleted, unit.excused = self.loop.moment, DELETED
                self.note(None, f"{unit.id} is deleted by hand")

    def _of_people(self, action: Action) -> None:
        run = self.server.named(action.what[0])
        if run is None:
            return
        self.note(None, f"{action.kind}: {action.what[0]}")
        match action.kind:
            case "answer":
                asked = bool(run.state.state_details.run_input_keyset)
                result = self.server.resume(run.id, {"decision": "approve", "reason": "good"})
                if asked and result.status == SetStateStatus.ACCEPT:
                    self.watcher.given_answers.add(run.id)
            case "nudge":
                self.server.resume(run.id)
            case "cancel run":
                self.watcher.ended_by_people.add(run.name)
                self.server.set_state(run.id, Cancelling())
            case "delete run":
                self.watcher.ended_by_people.add(run.name)
                self.server.delete(run.name)
            case other:
                raise AssertionError(other)

    async def _do(self, run: Run) -> None:
        match run.action.kind:
            case "waker":
                await self._make_rounds(run)
            case "hint":
                await self._hint(run)
            case _:
                await self._attempt(run)

    async def _make_rounds(self, run: Run) -> None:
        """What `prefect-media wake --every 60` does."""
        every = self.history.trait("every")
        while True:
            began = clock.monotonic()
            try:
                async with asyncio.timeout(ROUND_TAKES):
                    done = await make_round(run.process.storage, every=every)
            except (MediaError, httpx.HTTPError, ObjectNotFound, TimeoutError) as error:
                self.note(run.process, f"the round failed: {type(error).__name__}: {error}")
            else:
                if done.woken or done.removed:
                    self.note(run.process, f"{len(done.woken)} woken, {done.waiting} wait, {done.removed} removed")
            await clock.sleep(max(1.0, every - (clock.monotonic() - began)))

    async def _hint(self, run: Run) -> None:
        """A webhook says that the job of a purchase is finished; it may be wrong."""
        entry = await Ledger(run.process.storage).get(self.key_of(run.purchases[0]))
        if entry and entry[0].job:
            try:
                await make_round(run.process.storage, hint=entry[0].job.id)
            except (httpx.HTTPError, ObjectNotFound) as error:
                self.note(run.process, f"the hint came to nothing: {error}")

    async def _attempt(self, run: Run) -> None:
        """What Prefect's engine does in the process of a flow run."""
        client, flow_run_id = Client(), run.process.things["flow run"]
        try:
            flow_run = await client.read_flow_run(flow_run_id)
            if not (await propose_state(client, Running(), flow_run_id)).is_running():
                return
            enter_flow_run(flow_run)
            try:
                await film(self, run)
            except (MediaError, httpx.HTTPError, RuntimeError, ObjectNotFound) as error:
                if self.over:
                    raise  # buried with its process
                self.note(run.process, f"{run.action.name} raised {type(error).__name__}: {str(error)[:100]}")
                self.watcher.raised(flow_run_id, error)
                run.error = error
                end = Failed()
            else:
                end = Completed()
            await propose_state(client, end, flow_run_id)
        except (Abort, Pause):
            pass
        except (httpx.HTTPError, ObjectNotFound) as error:
            run.error = error
            self._exited(run.process)
        finally:
            run.process.dead = True

    # The history.

    def _pass(self) -> None:
        self._let_all_run("while things break", LONGEST)
        if self.watcher.violations:
            return
        self.calm = True
        self.broke_at = self.loop.moment
        self._start(Action("w9", "w9", self.loop.moment, "waker", ()))
        for run in list(self.server.runs.values()):
            if run.state.is_final() and not run.state.is_completed() and run.name not in self.watcher.ended_by_people:
                self.watcher.once_more(run)
                self.server.set_state(run.id, Scheduled())
        if not self._let_all_run("once nothing breaks any more", CALM) and not self.watcher.violations:
            self.watcher.left_over()

    def _let_all_run(self, when: str, seconds: float) -> bool:
        """Let time pass until nothing is left to do; whether that came."""
        end = self.loop.moment + seconds
        last = max(action.at for action in self.history.actions)
        while self.loop.moment < end:
            before = self.loop.moment
            why = self.loop.run(until=before + SLICE, most_steps=MOST_STEPS)
            if why == "stopped":
                return False
            if why == "busy":
                self.watcher.violated(5, f"{MOST_STEPS} steps {when}, and no end")
                return False
            self.loop.moment = max(self.loop.moment, before + SLICE)
            self.server.expire()
            self.watcher.look()
            if self.watcher.violations:
                return False
            if self.loop.moment > last + SLICE and self._is_quiet():
                return True
        return False

    def _is_quiet(self) -> bool:
        """Whether every flow run is over, and nothing is left of its sleep."""
        at_work = any(run.action.kind == "flow" and not run.over for run in self.runs)
        asleep = any(not run.state.is_final() for run in self.server.runs.values())
        return not (at_work or asleep or self.coming or self.watcher.waiting_records())


WORLDS.update(
    dict.fromkeys(("flow", "waker", "hint", "answer", "nudge", "cancel run", "delete run", "delete job"), SleepingWorld)
)
