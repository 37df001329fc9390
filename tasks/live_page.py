"""The page of a flow run while it makes media: how far it is, what is under way, what has landed. Pure, but for a lock.

One page belongs to one flow run in one process. Where a task runner spreads a run over several processes, each of
them has a page of its own: artifacts of one key, beside each other on the page of the flow run.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from prefect_media.assets import Asset
from prefect_media.runtime import clock
from prefect_media.settings import settings
from prefect_media.steps import Step

from .gallery_page import ON_A_PAGE
from .markup import markdown, narrow_html
from .shots import Origin, Shot, failed_shot

ROWS = 20
"""Jobs in the table of what is under way; of more only the number is told."""

LATEST = 6
"""Pictures on the page while jobs are under way: two rows."""

MOST_SHOTS = 2 * ON_A_PAGE
"""Shots that a page remembers. `show_gallery` shows all."""

BAR = 10
"""Characters of a bar."""

ENDS = ("stored", "reused", "failed", "rejected", "doubt", "over_budget")


@dataclass(slots=True)
class Job:
    """One purchase under way."""

    step: Step
    began: float
    progress: float | None = None
    state: str = "running"


@dataclass
class LivePage:
    """What is known of the media of one flow run.

    Attributes:
        title: Heading of the page.
        changes: Counts what happened; a page is written when this has moved.
        most_pictures: How many pictures are on it; less where the server takes no such large page.
    """

    title: str
    changes: int = 0
    most_pictures: int = ON_A_PAGE
    began: float = field(default_factory=clock.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _jobs: dict[str, Job] = field(default_factory=dict[str, Job])
    _ended: OrderedDict[str, str] = field(default_factory=OrderedDict[str, str])
    _cancelled: set[str] = field(default_factory=set[str])
    _counts: dict[str, int] = field(default_factory=dict[str, int])
    _shots: OrderedDict[str, list[Shot]] = field(default_factory=OrderedDict[str, list[Shot]])
    _latest: deque[Shot] = field(default_factory=lambda: deque[Shot](maxlen=LATEST))
    _expected: int = 0
    _usd: float = 0.0
    _unpriced: int = 0
    _limit_usd: float | None = None

    def report(self, step: Step, origin: Origin) -> None:
        """Take note of a step of a purchase of this run."""
        key = step.purchase or step.job_id or ""
        with self._lock:
            self.changes += 1
            if step.budget and step.budget.limit_usd is not None:
                self._limit_usd = step.budget.limit_usd
            if step.kind == "reserved":
                return  # nothing is ordered yet, and of a batch nothing ever is under this key
            if step.kind == "cancelled":
                if self._jobs.pop(key, None):
                    self._cancelled.add(key)
                return
            if step.kind == "finished" and step.operation == "batch":
                self._jobs.pop(key, None)  # its images follow, each as a purchase of its own
                return
            if step.kind in ENDS and not (step.kind == "reused" and not step.assets):
                self._end(key, step, origin)
                return
            self._reopen(key)
            job = self._jobs.setdefault(key, Job(step, clock.monotonic()))
            job.step = step
            if step.progress is not None:
                job.progress = step.progress
            job.state = _STATES.get(step.kind, job.state)

    def expect(self, jobs: int) -> None:
        """Take note that this many more jobs are to come."""
        with self._lock:
            self._expected = self._total() + jobs
            self.changes += 1

    def publish(self, assets: Sequence[Asset]) -> None:
        """Show published assets where they lie now."""
        moved = {asset.sha256: asset for asset in assets}
        with self._lock:
            self.changes += 1
            for shots in self._shots.values():
                for index, shot in enumerate(shots):
                    if shot.asset and shot.asset.sha256 in moved:
                        shots[index] = Shot(shot.origin, moved[shot.asset.sha256], shot.model)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        with self._lock:
            return not self._jobs

    @property
    def progress(self) -> float:
        """How much is done, in per cent; failures count as done."""
        with self._lock:
            total = self._total()
            done = len(self._ended) + sum((job.progress or 0.0) / 100 for job in self._jobs.values())
            return round(100 * done / total, 1) if total else 0.0

    def shots(self) -> list[Shot]:
        """The shots that the page shows now: the latest while jobs are under way, then those of the gallery."""
        with self._lock:
            if self._jobs:
                return list(self._latest)
            every = [shot for shots in self._shots.values() for shot in shots]
        if len(every) > ON_A_PAGE:
            every.sort(key=lambda shot: shot.error is None)  # what failed is what people look for
        return every[:ON_A_PAGE]

    def markdown(self, cards: str) -> str:
        """The page.

        Args:
            cards: The cards of `shots`, drawn.
        """
        with self._lock:
            jobs = list(self._jobs.values())
            parts = [f"# {markdown(self.title, 200)}", f"**{self._headline()}**", _table(jobs)]
            made = self._counts.get("made", 0)
            shown = min(made, ON_A_PAGE)
            if not jobs and made > ON_A_PAGE:
                parts.append(f"The first {shown} of them are below; show_gallery shows all.")
        return "\n\n".join(filter(None, (*parts, cards)))

    def _total(self) -> int:
        return max(self._expected, len(self._ended) + len(self._jobs) + len(self._cancelled))

    def _end(self, key: str, step: Step, origin: Origin) -> None:
        self._jobs.pop(key, None)
        self._cancelled.discard(key)
        if key in self._ended:
            if self._ended[key] == "made":
                return  # another task met the same purchase
            self._reopen(key)
        outcome = "made" if step.kind in ("stored", "reused") else "failed"
        self._ended[key] = outcome
        self._counts[outcome] = self._counts.get(outcome, 0) + 1
        if outcome == "made" and step.kind == "stored":
            self._usd += step.cost_usd or 0.0
            self._unpriced += step.cost_usd is None
        shots = [Shot(origin, asset, step.model or None) for asset in step.assets]
        if step.error is not None:
            shots = [failed_shot(origin, step.model or None, step.error)]
        self._latest.extend(shots)
        if len(self._shots) < MOST_SHOTS or outcome == "failed":
            self._shots[key] = shots
            while len(self._shots) > 2 * MOST_SHOTS:
                self._shots.popitem(last=False)

    def _reopen(self, key: str) -> None:
        """A purchase that failed or was cancelled goes on: by a retry of the task, or of the run."""
        self._cancelled.discard(key)
        if self._ended.get(key) == "failed":
            del self._ended[key]
            self._shots.pop(key, None)
            self._counts["failed"] -= 1

    def _headline(self) -> str:
        made, failed = self._counts.get("made", 0), self._counts.get("failed", 0)
        total = self._total()
        facts = [
            f"{made} of {total} made" if total > made else f"{made} made",
            f"{len(self._jobs)} running" if self._jobs else "",
            f"{failed} failed" if failed else "",
            f"{len(self._cancelled)} cancelled" if self._cancelled else "",
            self._cost(),
            self._time_left(total),
        ]
        return " · ".join(filter(None, facts))

    def _cost(self) -> str:
        of = f" of {self._limit_usd:.2f}" if self._limit_usd is not None else ""
        if self._unpriced and not self._usd:
            return "no price is known"
        unknown = f", and {self._unpriced} without a known price" if self._unpriced else ""
        return f"{self._usd:.2f}{of} USD{unknown}"

    def _time_left(self, total: int) -> str:
        if not self._jobs:
            return ""
        now, ended = clock.monotonic(), len(self._ended)
        if ended and total > ended:
            seconds = (now - self.began) / ended * (total - ended)
        else:
            shares = [(now - job.began, job.progress or 0.0) for job in self._jobs.values()]
            paces = [waited * (100 / share - 1) for waited, share in shares if share > 4]
            if not paces:
                return ""
            seconds = max(paces)
        return f"about {duration(seconds)} left"


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def bar(progress: float | None) -> str:
    """A bar of text, which every page and every theme shows."""
    if progress is None:
        return "░" * BAR
    full = min(BAR, max(0, round(progress / 100 * BAR)))
    return f"{'█' * full}{'░' * (BAR - full)} {progress:.0f} %"


_STATES = {
    "submitted": "ordered",
    "reused": "ordered",
    "queued": "queued",
    "started": "running",
    "progress": "running",
    "stalled": "stalled",
    "finished": "storing",
}


def _table(jobs: Sequence[Job]) -> str:
    if not jobs:
        return ""
    now = clock.monotonic()
    rows = [
        f"<tr><td>{narrow_html(_what(job.step), 60)}</td><td>{narrow_html(job.step.model, 40)}</td><td>{job.state}</td>"
        f"<td>{bar(job.progress)}</td><td>{duration(now - job.began)}</td></tr>"
        for job in jobs[:ROWS]
    ]
    if len(jobs) > ROWS:
        rows.append(f'<tr><td colspan="5">and {len(jobs) - ROWS} more</td></tr>')
    heads = "".join(f"<th>{head}</th>" for head in ("under way", "model", "", "progress", "for"))
    return (
        f'<table class="w-full text-sm text-left mb-4"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _what(step: Step) -> str:
    prompt = step.prompt if settings().log_prompts else None
    return prompt or step.job_id or step.operation
