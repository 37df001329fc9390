"""What has to hold, besides all of `simulation/watcher.py`, of flow runs that sleep.

7. Each flow run ends well, unless the history says why not.  8. Nothing is left of its sleep.
9. It is woken for a reason, once, and in time.  10. Wakers ask a server twice a minute at most.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import orjson
from prefect.client.schemas.objects import State
from prefect_media.tasks.wake import FORM_GRACE

from prefect_media.errors import JobTimedOut, MediaError, ReviewTimedOut, SubmissionInDoubt
from prefect_media.ledger.reviews import Review
from prefect_media.waiting.records import FOLDER, WaitingRecord
from prefect_media.waiting.server_look import PER_MINUTE, SINGLE_LOOKS_PER_MINUTE

from ..loop import EPOCH, Process
from ..provider import Unit
from ..watcher import Watcher
from .server import ServerRun

if TYPE_CHECKING:
    from ..world import Run
    from .world import SleepingWorld

WINDOW = 45.0
"""Seconds in which no more than a minute's requests may be seen: answers take some time."""

IN_TIME = 270.0
"""Seconds after which a flow run must be awake that need not sleep any more, once nothing has broken for as long."""

DELETED = "deleted by hand"
"""Why a job is nowhere to be found."""


class SleepWatcher(Watcher):
    """Looks at one history with flow runs while it happens."""

    world: SleepingWorld

    def __init__(self, world: SleepingWorld) -> None:
        super().__init__(world)
        self.waits: dict[str, WaitingRecord] = {}
        """Every waiting record that was ever written, by its suspension."""
        self.suspended_at: dict[str, float] = {}
        self.resumes: Counter[str] = Counter()
        self.ended_by_people: set[str] = set()
        self.given_answers: set[UUID] = set()
        """Flow runs to which Prefect took an answer."""
        self._longest_fault = max((fault.arg for fault in world.history.faults), default=0.0)
        self._requests: list[float] = []
        self._errors: defaultdict[UUID, list[BaseException]] = defaultdict(list)
        self._muddled: set[UUID] = set()
        """Flow runs of which a crash was reported when another process had them already."""

    def wrote(self, key: str, before: bytes | None, after: bytes) -> None:
        super().wrote(key, before, after)
        if key.startswith(FOLDER):
            record = WaitingRecord.model_validate_json(after)
            self._keeps_its_deadline(record)
            self.waits[record.suspension] = record
            self.world.note(None, f"waiting record of {record.suspension}")

    def _keeps_its_deadline(self, record: WaitingRecord) -> None:
        """A flow run that sleeps again for the same jobs sleeps until when it was to sleep first."""
        run = self.world.server.runs.get(UUID(record.flow_run_id))
        for key in run.pause_keys if run and record.reason == "jobs" else ():
            earlier = self.waits[key]
            if earlier.jobs == record.jobs and abs((earlier.deadline - record.deadline).total_seconds()) > 1.5:
                self.violated(9, f"{run.name} sleeps until {record.deadline}, and first until {earlier.deadline}")

    def asked(self, process: Process) -> None:
        """A waker, or somebody else, asks the provider."""
        if not process.name.startswith("w"):
            return
        now = self.world.loop.moment
        self._requests = [*(when for when in self._requests if when > now - WINDOW), now]
        if len(self._requests) > self._most_requests() and not self._is_clockless():
            self.violated(10, f"wakers ask for the {len(self._requests)}th time within {WINDOW:g} s")

    def _most_requests(self) -> int:
        lists = self.world.history.trait("dialect") != "litellm" and not self.world.injected["list: unknown"]
        return PER_MINUTE if lists else SINGLE_LOOKS_PER_MINUTE

    def _is_clockless(self) -> bool:
        """Whether wakers can't agree on what a minute is."""
        injected = self.world.injected
        slow = any(kind == "stands still" or "slow" in kind or kind.startswith("clock") for kind in injected)
        return slow or len(set(self.world.history.trait("offsets"))) > 1

    # What becomes of flow runs.

    def crash_reported(self, run: ServerRun) -> None:
        if not run.state.is_running() or any(
            each.process.things.get("flow run") == run.id and not each.over for each in self.world.runs
        ):
            self._muddled.add(run.id)

    def raised(self, flow_run_id: UUID, error: BaseException) -> None:
        self._errors[flow_run_id].append(error)
        if isinstance(error, ReviewTimedOut) and flow_run_id in self.given_answers:
            self.violated(9, "an answer was taken, and nobody is said to have answered")

    def answered(self, run: Run, outcome: Any) -> None:
        """`until_finished` returned; what it says of a job has to be so."""
        unit = self.world.provider.unit(str(outcome.job.id))
        if unit is None or self._looks_lie():
            return
        now = self.world.loop.moment
        if outcome.finished and outcome.error is None and now < unit.ends:
            self.violated(9, f"{unit.id} is said to be finished, and is not")
        if isinstance(outcome.error, JobTimedOut) and not self._is_clockless():
            waited = now - min(each.began for each in self.world.runs if each.action.name == run.action.name)
            if waited < run.action.timeout - 1:
                self.violated(9, f"{unit.id} is said to be late after {waited:.0f} of {run.action.timeout:g} s")

    def once_more(self, run: ServerRun) -> None:
        """A flow run ended otherwise than well, and is run again by hand."""
        if run.state.is_failed():
            self._explain(run)
        self._errors.pop(run.id, None)

    def _explain(self, run: ServerRun) -> None:
        errors = self._errors[run.id]
        if not errors:
            self.violated(7, f"{run.name} failed: {run.state.message}")
        elif not self._is_explained(run, errors[-1]):
            self.violated(7, f"{run.name} failed with {type(errors[-1]).__name__}: {errors[-1]}")

    def _may_be_bought_again(self, other: Unit, unit: Unit) -> bool:
        """A job in doubt that somebody deleted is on no list any more."""
        return other.excused == DELETED or super()._may_be_bought_again(other, unit)

    def _is_known(self, unit: Unit, kept: set[str]) -> bool:
        """Of a flow run that was cancelled or deleted nobody asks any more; its purchase is in doubt on record."""
        assert unit.run
        return unit.run.action.name in self.ended_by_people or super()._is_known(unit, kept)

    def _is_explained(self, run: ServerRun, error: BaseException) -> bool:
        if isinstance(error, SubmissionInDoubt):
            return True
        if isinstance(error, ReviewTimedOut):
            return "approve" in self.world.actions[run.name].how
        kinds = set(self.world.injected)
        of_prefect = any(kind.startswith("prefect") for kind in kinds)
        if isinstance(error, RuntimeError):  # the run was resumed, or has crashed, before Prefect was asked once more
            return of_prefect or run.id in self._muddled
        if isinstance(error, httpx.HTTPError):
            return of_prefect
        return bool(kinds) or self._was_deleted()

    def _is_for_good(self, error: BaseException) -> bool:
        """Whether a flow run ends with this error however often it is run again."""
        if isinstance(error, SubmissionInDoubt | ReviewTimedOut):
            return True
        void = any(kind.startswith(("post", "fate")) for kind in self.world.injected) or self._was_deleted()
        return isinstance(error, MediaError) and not error.transient and void

    def _was_deleted(self) -> bool:
        return any(unit.excused == DELETED for unit in self.world.provider.units)

    def flow_run_changed(self, run: ServerRun, before: State[Any], process: Process | None) -> None:
        key = before.state_details.pause_key
        if run.suspension:
            self.suspended_at[run.suspension] = self.world.loop.moment
            if run.suspension not in self.waits:
                self.violated(8, f"{run.name} is suspended, and no record was written")
        elif before.is_paused() and run.state.is_scheduled() and key:
            self.resumes[key] += 1
            if self.resumes[key] > 1:
                self.violated(9, f"{key} is resumed for the {self.resumes[key]}th time")
            if process is not None and process.name[0] in "wh":
                self._is_due(run, key, process)
        elif before.is_paused() and run.state.is_failed() and run.state.message:
            self.violated(9, f"{run.name} slept until Prefect ended it")

    def _is_due(self, run: ServerRun, key: str, process: Process) -> None:
        """A waker resumes: there has to be a reason."""
        record, now = self.waits[key], self.world.loop.moment
        if now + process.machine.offset >= self._deadline(record) - 1 or self._is_clockless():
            return
        if record.reason == "review":
            if f"suspended-{key}-schema" in run.inputs:
                self.violated(9, f"{run.name} is woken, and nobody has answered")
        elif not self._are_over(record) and not self._looks_lie():
            self.violated(9, f"{run.name} is woken, and its jobs go on")

    def _looks_lie(self) -> bool:
        """Whether the provider may have said of a job that it is not there."""
        return self.world.history.trait("known_after") > 0 or self.world.injected["look: unknown"] > 0

    @staticmethod
    def _deadline(record: WaitingRecord) -> float:
        return (record.deadline - EPOCH).total_seconds()

    def _are_over(self, record: WaitingRecord) -> bool:
        return self._over_since(record) <= self.world.loop.moment

    def _over_since(self, record: WaitingRecord) -> float:
        """When the jobs of a record were finished, as the provider knows."""
        ends = [self._end_of(str(each.job.id)) for each in record.jobs]
        return max(ends) if record.until == "all" else min(ends)

    def _end_of(self, job_id: str) -> float:
        unit = self.world.provider.unit(job_id)
        if unit is not None:
            return unit.ends if unit.deleted is None else min(unit.deleted, unit.ends)
        order = next((order for order in self.world.provider.orders if order.id == job_id), None)
        return order.ends if order else 0.0

    # While time passes, and at the end of it.

    def look(self) -> None:
        """Whether everybody who sleeps may."""
        now = self.world.loop.moment
        for run in self.world.server.runs.values():
            if key := run.suspension:
                record = self.waits[key]
                due = self._deadline(record) - min(machine.offset for machine in self.world.machines)
                if record.reason == "jobs":
                    due = min(due, self._over_since(record))
                elif f"suspended-{key}-schema" not in run.inputs:
                    due = min(due, self.suspended_at[key] + FORM_GRACE.total_seconds())
                since = max(due, self.world.broke_at, self.suspended_at[key])
                if now > since + IN_TIME + self._walk() + self._longest_fault:
                    self.violated(9, f"{run.name} sleeps on in {key} {now - since:.0f} s after it was to be woken")

    def _walk(self) -> float:
        """Seconds that wakers take to read a list of many pages down to its end and once more."""
        pages = len(self.world.provider.units) / self.world.history.trait("page")
        return 120.0 * pages / PER_MINUTE if pages > PER_MINUTE else 0.0

    def waiting_records(self) -> list[str]:
        return [key for key in self.world.store.objects if key.startswith(FOLDER)]

    def left_over(self) -> None:
        """Time is over, and something is not."""
        awake = [
            f"{run.name} is {run.state.name}" for run in self.world.server.runs.values() if not run.state.is_final()
        ]
        if awake:
            self.violated(5, f"at the end {', '.join(awake)}")
        else:
            self.violated(8, f"at the end there is {', '.join(self.waiting_records())}")

    def finish(self) -> None:
        super().finish()
        for run in self.world.server.runs.values():
            if run.name in self.ended_by_people or run.state.is_completed():
                continue
            errors = self._errors[run.id]
            if not (run.state.is_failed() and errors and self._is_for_good(errors[-1])):
                why = f"{type(errors[-1]).__name__}: {errors[-1]}" if errors else run.state.message
                self.violated(7, f"{run.name} is {run.state.name} in the end: {why}")
        for key, (data, _) in self.world.store.objects.items():
            if key.startswith("ledger/reviews/"):
                Review.model_validate(orjson.loads(data))
