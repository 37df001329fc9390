"""The world of one history: our real code, on virtual time, with a store and a provider that break."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar

from prefect_media.assets import Asset
from prefect_media.budget import Budget
from prefect_media.errors import MediaError
from prefect_media.jobs import VideoJob
from prefect_media.ledger import ledger
from prefect_media.providers.connection import Connection
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases import video_steps as steps
from prefect_media.purchases.batch_fetch import fetch
from prefect_media.purchases.batch_submit import submit
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.runtime import clock
from prefect_media.storage import store as storage

from .history import Action, Fault, History
from .loop import PROCESS, Clocks, Machine, Process, VirtualLoop
from .names import NAMES, REQUESTS, key_of, names_of
from .provider import RUN, Provider, Unit
from .store import NOBODY, Place, Store
from .surroundings import PATCHES, Silent, living_in
from .watcher import Watcher
from .wire import ROOT

LONGEST = 40_000.0
"""Seconds after which everything must be over while things break."""

CALM = 5_000.0
"""Seconds after which everything must be over once nothing breaks any more."""

MOST_STEPS = 60_000
"""Callbacks of one history; more means that something turns in circles."""


@dataclass
class Run:
    """One attempt at an action in one process."""

    action: Action
    process: Process
    purchases: tuple[str, ...]
    began: float
    ended: float = math.inf
    over: bool = False
    error: BaseException | None = None
    assets: list[tuple[str, Asset]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


@dataclass
class Outcome:
    """What came of a history."""

    history: History
    violations: list[str]
    steps: int
    faults: Counter[str]
    transitions: Counter[str]
    trace: list[str] | None
    ends: Counter[str]


class World:
    """One history under way.

    Attributes:
        patches: What is replaced while it happens: a module, a name in it, and the value.
    """

    patches: ClassVar[list[tuple[Any, str, Any]]] = PATCHES

    def __init__(self, history: History, *, trace: bool = False) -> None:
        self.history = history
        self.loop = VirtualLoop()
        self.loop.on_death = self._died
        self.dice = Random(history.seed)
        self.clocks = Clocks(self.loop, self.dice)
        self.trace: list[str] | None = [] if trace else None
        self.faults = {(fault.where, fault.nth): fault for fault in history.faults}
        self.injected: Counter[str] = Counter()
        self.calm = self.over = False
        self.machines = [Machine(f"m{number}", offset) for number, offset in enumerate(history.trait("offsets"))]
        for machine in self.machines:
            machine.world = self
        self.watcher = Watcher(self)
        self.store = Store(self)
        self.provider = Provider(self)
        self.processes: dict[str, Process] = {}
        self.runs: list[Run] = []
        self.restarts: dict[str, int] = {}
        self._latency = history.trait("latency")
        self._random = self.dice.random
        self._away = {
            fault.where[5:]: (fault.arg, fault.arg + fault.nth)
            for fault in history.faults
            if fault.where.startswith("away.")
        }
        name = history.trait("dialect")
        self.connection = Connection("openai", ROOT, "sk-simulated", dialect=_dialect(name), request_timeout=45.0)
        limit = history.trait("budget")
        self.budget = None if limit is None else Budget(usd=limit, period="forever")

    # What the world does.

    def jitter(self) -> tuple[float, bool]:
        """How long a message takes, and whether it takes effect at the beginning of that."""
        dice = self._random()
        return self._latency * (0.3 + dice), dice * 64 % 1 < 0.5

    def pause(self, seconds: float) -> asyncio.Future[None]:
        """Let time pass."""
        return self.loop.pause(seconds)

    def landing(self, seconds: float, effect, *args):
        """A message that arrives after some time, whatever becomes of who sent it."""
        future = self.loop.create_future()
        self.loop.call_later(seconds, _land, future, effect, args, context=NOBODY)
        return future

    def is_away(self, whose: str) -> bool:
        if not self._away or self.calm:
            return False
        window = self._away.get(whose)
        return window is not None and window[0] <= self.loop.moment < window[1]

    def inject(self, kind: str) -> None:
        self.injected[kind] += 1

    def note(self, process: Process | None, what: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.loop.moment:9.3f}  {process.name if process else '-':6} {what}")

    def _died(self, process: Process, how: str) -> None:
        self.note(process, how)
        self.inject("killed" if process.dead else "stands still")
        if not process.dead:
            return
        for run in [run for run in self.runs if run.process is process and not run.over]:
            run.over, run.ended = True, self.loop.moment
            left = self.restarts.get(run.action.name, run.action.restarts)
            if left > 0:
                self.restarts[run.action.name] = left - 1
                again = replace(run.action, process=f"{process.name}r", machine=(run.action.machine + left) % 3)
                self.loop.call_later(1.0, self._start, again, context=NOBODY)

    # What buyers do.

    def process(self, name: str, machine: int) -> Process:
        found = self.processes.get(name)
        if found is None or found.dead:
            while name in self.processes:
                name += "r"
            found = self.processes[name] = Process(name, self.machines[machine])
            found.place = Place(self, found)
            found.storage = storage.Storage("s3://sim")
            found.storage._opened = found.place
            if not self.calm:
                for fault in self.history.faults:
                    if fault.where == f"kill.{name}":
                        found.kill_at = fault.nth
                    elif fault.where == f"freeze.{name}":
                        found.freeze_at, found.freeze_for = fault.nth, fault.arg
        return found

    def _start(self, action: Action) -> None:
        process = self.process(action.process, action.machine)
        run = Run(action, process, tuple(f"{name}@{action.scope}" for name in action.what), self.loop.moment)
        self.runs.append(run)
        self.note(process, f"begins {action.name}: {action.kind} {', '.join(run.purchases)}")
        process.context.run(self._begin, run)

    def _begin(self, run: Run) -> None:
        token = RUN.set(run)
        run.task = self.loop.create_task(self._perform(run))
        RUN.reset(token)

    async def _perform(self, run: Run) -> None:
        try:
            for left in range(run.action.tries, 0, -1):
                try:
                    await self._do(run)
                    break
                except MediaError as error:
                    self.note(PROCESS.get(), f"{run.action.name}: {type(error).__name__}: {error.message[:90]}")
                    if left == 1 or not error.transient:
                        raise
                    await clock.sleep(3.0)
        except (MediaError, asyncio.CancelledError) as error:
            if self.over:
                raise  # buried with its process
            run.error = error
        except BaseException as error:
            if self.over:
                raise
            run.error = error
            self.watcher.violated(0, f"{run.action.name} ended with {type(error).__name__}: {error}")
        run.over, run.ended = True, self.loop.moment
        self.note(PROCESS.get(), f"ends {run.action.name}: {_name(run.error) if run.error else 'well'}")
        self.watcher.ended(run)

    async def _do(self, run: Run) -> None:
        action, at, place = run.action, self.connection, run.process.storage
        terms = self._terms(action)
        first = run.purchases[0]
        match action.kind:
            case "video":
                run.assets = [(first, await buy_video(at, REQUESTS[action.what[0]], place, terms))]
            case "image":
                found = await buy_images(at, REQUESTS[action.what[0]], place, terms)
                run.assets = [(first, asset) for asset in found]
            case "batch":
                wanted = [REQUESTS[name] for name in action.what]
                ordered = await submit(at, wanted, place, terms)
                made = await fetch(at, ordered, place, terms)
                run.assets = [
                    (name, asset) for name, each in zip(run.purchases, made, strict=True) for asset in each.assets
                ]
            case "split":
                job = await steps.submit(at, REQUESTS[action.what[0]], place, terms)
                text = job.model_dump_json()
                await self._elsewhere(run, "w", steps.wait, VideoJob.model_validate_json(text), terms)
                asset = await self._elsewhere(run, "f", steps.fetch, VideoJob.model_validate_json(text), terms)
                run.assets = [(first, asset)]
            case "forget":
                await ledger.Ledger(place).forget(self.key_of(first))
            case "cancel":
                found = await ledger.Ledger(place).get(self.key_of(first))
                if found and found[0].job:
                    await steps.cancel(at, found[0].job, place)
            case other:
                raise AssertionError(other)

    async def _elsewhere(self, run: Run, suffix: str, step, job: VideoJob, terms: PurchaseOptions):
        """A step in a process of its own, which has nothing but the job."""
        process = self.process(run.process.name + suffix, (run.action.machine + 1) % 3)
        outcome = self.loop.create_future()

        async def work() -> None:
            try:
                _done(outcome, await step(self.connection, job, process.storage, terms))
            except BaseException as error:
                if not outcome.done():
                    outcome.set_exception(error)

        process.context.run(lambda: self.loop.create_task(work()))
        while not outcome.done():
            await asyncio.wait([outcome], timeout=30.0)
            if process.dead:
                raise MediaError("the process of this step was killed")
        return outcome.result()

    def _terms(self, action: Action) -> PurchaseOptions:
        return PurchaseOptions(
            scope=action.scope,
            timeout=action.timeout,
            on_doubt="resubmit" if action.resubmit else "raise",
            budget=self.budget,
            retry_failed=action.retry_failed,
            cancel_remote=action.cancel_remote,
            flow_run_id="run",
            logger=Silent(),
        )

    # Names.

    def key_of(self, name: str) -> str:
        request, _, scope = name.partition("@")
        return key_of(self.connection, request, scope)

    def purchase_of_key(self, key: str) -> str:
        return names_of(self.connection).get(key) or f"batch {key[:6]}"

    @staticmethod
    def purchase_named(prompt: str, run: Run) -> str:
        return f"{NAMES[prompt]}@{run.action.scope}"

    def may_wait(self, unit: Unit) -> bool:
        """Whether a line of a batch may still be on its way: the batch itself is in doubt, and somebody was told."""
        return self.watcher.doubts.get(unit.purchase, -1.0) >= unit.taken

    # The history.

    def run(self) -> Outcome:
        with living_in(self):
            for action in self.history.actions:
                self.loop.call_at(action.at, self._start, action, context=NOBODY)
            for fault in self.history.faults:
                self._plan(fault)
            self._pass()
            if not self.watcher.violations:
                self.watcher.finish()
            self.over = True
            self._bury()
        ends = Counter(
            f"{run.action.kind}: {_name(run.error) if run.error else 'well'}" for run in self.runs if run.over
        )
        return Outcome(
            self.history,
            self.watcher.violations,
            self.loop.steps,
            self.injected,
            self.watcher.transitions,
            self.trace,
            ends,
        )

    def _pass(self) -> None:
        """Everything that happens: first while things break, then once nothing does any more."""
        self._let_run("while things break", LONGEST)
        if not self.watcher.violations:
            self.calm = True
            self._restart_all(("batch",))
            self._restart_all(("video", "split", "image"))

    def _plan(self, fault: Fault) -> None:
        group, _, whom = fault.where.partition(".")
        if group == "cancel":
            self.loop.call_at(fault.arg, self._cancel, whom, context=NOBODY)
        elif group == "clock":
            self.loop.call_at(fault.arg, self._set_clock, whom, fault.what, context=NOBODY)

    def _cancel(self, name: str) -> None:
        for run in self.runs:
            if run.action.name == name and not run.over and run.task:
                self.note(run.process, f"{name} is cancelled")
                self.inject("cancelled")
                run.process.context.run(run.task.cancel)

    def _set_clock(self, name: str, how: str) -> None:
        machine = next(machine for machine in self.machines if machine.name == name)
        machine.offset += 600.0 if how == "forward" else -600.0
        self.inject(f"clock goes {how}")
        self.note(None, f"the clock of {name} goes {how} by 600 s")

    def _restart_all(self, kinds: tuple[str, ...]) -> None:
        """Every buyer once more, with nothing that breaks."""
        done: set[tuple[object, ...]] = set()
        for action in self.history.actions:
            kind = "video" if action.kind == "split" else action.kind
            if action.kind not in kinds or (kind, action.what, action.scope) in done:
                continue
            done.add((kind, action.what, action.scope))
            number = len(self.runs)
            self._start(
                Action(f"z{number}", f"z{number}", self.loop.moment, kind, action.what, action.scope, timeout=400.0)
            )
        if done and not self.watcher.violations:
            self._let_run("once nothing breaks any more", CALM)

    def _let_run(self, when: str, seconds: float) -> None:
        why = self.loop.run(until=self.loop.moment + seconds, most_steps=MOST_STEPS)
        waiting = [run.action.name for run in self.runs if not (run.over or run.task.done())]
        if why == "busy":
            self.watcher.violated(5, f"{MOST_STEPS} steps {when}, and no end; {waiting} are at work")
        elif why != "stopped" and waiting:
            self.watcher.violated(5, f"{waiting} wait for ever {when}")

    def _bury(self) -> None:
        """End what is left of processes that were killed; nothing of it counts any more."""
        for process in self.processes.values():
            for task in process.tasks:
                if not task.done():
                    task._log_destroy_pending = False
                    try:
                        task.get_coro().close()
                    except BaseException:
                        continue


WORLDS: dict[str, type[World]] = {}
"""Kinds of action that need a world with more in it."""


def play(history: History, *, trace: bool = False) -> Outcome:
    """Let a history happen."""
    kind = next((WORLDS[action.kind] for action in history.actions if action.kind in WORLDS), World)
    return kind(history, trace=trace).run()


def _done(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _land(future: asyncio.Future[Any], effect, args) -> None:
    result = effect(*args)
    if not future.done():
        future.set_result(result)


def _name(error: BaseException) -> str:
    return type(error).__name__


def _dialect(name: str) -> str:
    return "openai" if name == "openai" else "simulated-billed" if name == "billed" else name
