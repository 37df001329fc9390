"""When to look at which jobs, and by what request. Nothing here does input or output, or reads a clock.

A look costs a request, and a late look costs somebody's time. So jobs are looked at rarely while their end is far,
often when it is near, and together where one page of the server's list answers for many. How far the end is, the
job's progress tells, and before that what jobs of the same kind took.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..jobs import JobState
from ..providers.pages import PAGE
from ..runtime import clock
from .durations import Experience, Kind

SHARE = 0.85
"""Of the time that seems to be left, how much passes before the next look: estimates err, and late is worse."""

ROUGH_SHARE = 0.5
"""The same where the estimate rests on one look, or on other jobs alone."""

SHORTEST = 0.1
"""Shortest pause in seconds at the beginning, when a job may turn out to take no time."""

SHORT, SHORT_ALONE, MANY = 1.2, 1.1, 10
"""Shortest pauses in seconds later on: of many jobs, which then share more pages, and of at most `MANY`."""

AIM, SURE = 10.0, 0.7
"""When fewer seconds than `AIM` seem to be left, the next look is meant to be the last, and comes a bit later."""

FRESH = 1.0
"""Seconds after its submission up to which a job need not be looked at at once."""

COLD = 2.0
"""Longest pause, in ages of the job, while nothing is known of its kind."""

FAR = 60.0
"""Longest pause in seconds, for people who watch the progress."""

WINDOW = 1.8
"""Seconds by which a look is taken early when a page is fetched anyway."""

STEP = 1e-5
"""Between two jobs on a page, on the scale of their ranks."""

STRIKES = 3
"""Pages in a row that were of no use until a server is taken to have no list."""


@dataclass(frozen=True, slots=True)
class Single:
    """Look at one job by itself."""

    job_id: str


@dataclass(frozen=True, slots=True)
class Page:
    """Look at a page of the server's list, newest first."""

    after: str | None
    """The job before the first of the page."""
    expected: tuple[str, ...]
    """Jobs that are due and should be on it."""


@dataclass(slots=True)
class Seat:
    """What is known of one job that is waited for."""

    kind: Kind
    born: float
    """When it was submitted."""
    due: float
    not_before: float
    not_after: float
    looked: float | None = None
    """When it was last known not to be done."""
    asking: bool = False
    alone: bool = False
    """Whether a page did not have it."""
    marks: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=6))
    """When which progress was first seen, in per cent; a job that waits has none."""


class Pace:
    """The plan of all looks at one server.

    Args:
        near: Longest pause near the end of a job and where nothing is known of its end, in seconds.
        experience: What earlier jobs took.
        dice: Source of randomness.
        can_list: Whether the server may have a list.
    """

    def __init__(
        self,
        *,
        near: float = 5.0,
        experience: Experience | None = None,
        dice: random.Random | None = None,
        can_list: bool = True,
    ) -> None:
        self.can_list = can_list
        self.paused_until = 0.0
        self._near = near
        self._experience = experience if experience is not None else Experience()
        self._dice = dice or clock.dice()
        self._seats: dict[str, Seat] = {}
        self._ranks: dict[str, float] = {}
        self._page = PAGE
        self._strikes = 0
        self._crowded = False

    def join(self, job_id: str, kind: Kind, *, now: float, age: float, submitted: float, not_after: float) -> None:
        """Wait for a job from now on.

        Args:
            job_id: The provider's id.
            kind: Model, size and seconds of it, as far as they are known.
            now: Seconds on the clock of all these calls.
            age: Seconds since it was submitted.
            submitted: When it was submitted, unix time in seconds; its place in the list follows from that.
            not_after: When it must be looked at, whatever else is wise.
        """
        if seat := self._seats.get(job_id):
            seat.not_after = min(seat.not_after, not_after)
            seat.due = min(seat.due, not_after)
            return
        seat = Seat(kind, now - max(0.0, age), now, now, not_after)
        if age < FRESH:
            seat.looked = seat.born
        self._seats[job_id] = seat
        self._ranks.setdefault(job_id, submitted)
        # One that comes back after a while may be done long since; a moment lets its siblings come along.
        seat.due = min(now + (self._pause(seat, now) if age < FRESH else SHORTEST / 2), not_after)

    def leave(self, job_id: str) -> None:
        """Wait for a job no longer."""
        self._seats.pop(job_id, None)
        oldest = min((self._ranks[other] for other in self._seats if other in self._ranks), default=None)
        if oldest is None:
            self._ranks.clear()
        elif len(self._ranks) > 4 * (len(self._seats) + PAGE):
            self._ranks = {other: rank for other, rank in self._ranks.items() if rank >= oldest}

    def learn_state(self, job_id: str, state: JobState, now: float) -> None:
        """Learn from a good look; `plan_look` has to follow unless the job is left."""
        seat = self._seats[job_id]
        model, size, seconds = seat.kind  # what was ordered is told the same way each time, whatever the server says
        seat.kind = (model, size or state.size, seconds or state.seconds)
        if state.phase == "done" and seat.looked is not None:
            self._experience.add(seat.kind, (now + seat.looked) / 2 - seat.born)
        progress = state.progress if state.phase == "running" and state.progress is not None else 0.0
        if state.phase == "waiting" and state.progress and 1 <= state.progress < 100:
            progress = state.progress  # some count while they say "queued"
        progress = min(progress, 99.0) if progress >= 1 else 0.0  # not a number is nothing, too
        if not seat.marks or seat.marks[-1][1] != progress or not progress:
            if seat.marks and not progress and not seat.marks[-1][1]:
                seat.marks.pop()  # only the last look at nothing counts: the work began after it
            seat.marks.append((now, progress))
        seat.looked = now

    def plan_look(self, job_id: str, *, now: float, not_before: float, not_after: float, failed: bool = False) -> None:
        """Plan the next look at a job, between what the server wishes and what the deadline demands."""
        seat = self._seats[job_id]
        seat.asking = seat.alone = False
        seat.not_before, seat.not_after = not_before, not_after
        wish = not_before if failed else max(now + self._pause(seat, now), not_before)
        seat.due = min(wish, not_after)

    def pause(self, until: float) -> None:
        """Ask nothing at all for a while, but for last looks."""
        self.paused_until = max(self.paused_until, until)

    def wake(self) -> float | None:
        """When `due` has something to say next; None while there is nothing to wait for."""
        return min(
            (min(max(seat.due, self.paused_until), seat.not_after) for seat in self._seats.values() if not seat.asking),
            default=None,
        )

    def due(self, now: float, room: int = 16) -> list[Single | Page]:
        """What to ask now; at most `room` requests, the most urgent first."""
        idle = {job_id: seat for job_id, seat in self._seats.items() if not seat.asking}
        if now < self.paused_until:
            ripe = [job_id for job_id, seat in idle.items() if seat.not_after <= now]
        else:
            ripe = [job_id for job_id, seat in idle.items() if seat.due <= now]
        asks: list[Single | Page] = []
        if ripe and self.can_list and now >= self.paused_until:
            soon = {
                job_id
                for job_id, seat in idle.items()
                if not seat.alone and (seat.due <= now or (seat.due <= now + WINDOW and seat.not_before <= now))
            }
            asks += self._pages(soon, set(ripe))
        paged = {job_id for ask in asks if isinstance(ask, Page) for job_id in ask.expected}
        ripe.sort(key=lambda job_id: idle[job_id].due)
        asks += [Single(job_id) for job_id in ripe if job_id not in paged]
        asks = asks[:room]
        for ask in asks:
            for job_id in ask.expected if isinstance(ask, Page) else (ask.job_id,):
                self._seats[job_id].asking = True
        return asks

    def learn_page(self, page: Page, rows: Sequence[JobState], *, more: bool, now: float) -> None:
        """Learn from a page: the order of the list, and which jobs it did not have after all.

        Those are asked for one by one; for the others `learn_state` and `plan_look` have to follow.
        """
        self._learn_order(page, [row.id for row in rows])
        if more and 0 < len(rows) < self._page:
            self._page = len(rows)  # it gives fewer at a time than asked for
        listed = {row.id for row in rows}
        missing = [job_id for job_id in page.expected if job_id not in listed]
        if missing and page.after is None and more:
            self._crowded = True  # by jobs of others, newer than ours
        else:
            self._strike(len(page.expected) - len(missing) < 2)
        self.ask_singly(missing, now)

    def give_up_page(self, page: Page, now: float, *, never: bool = False) -> None:
        """A page could not be had: its jobs are asked for one by one, and if there never is any, all are."""
        if never and page.after:
            self._ranks.pop(page.after, None)  # the job before the page is gone, which says nothing of the list
        elif never:
            self.can_list = False
        self._strike(True)
        self.ask_singly(page.expected, now)

    def _learn_order(self, page: Page, ids: Sequence[str]) -> None:
        """Rank what a page shows, jobs of others included, on the scale of our own: unix time of submission."""
        last = self._ranks.get(page.after) if page.after else None
        if last is None:
            anchor = next((place for place, job_id in enumerate(ids) if job_id in self._ranks), None)
            if anchor is None:
                return
            last = self._ranks[ids[anchor]] + STEP * (anchor + 1)
        for job_id in ids:
            last = min(self._ranks.get(job_id, last), last - STEP)
            self._ranks[job_id] = last

    def ask_singly(self, job_ids: Iterable[str], now: float) -> None:
        """Look at jobs one by one, now: a page did not have them, or did not say enough of them."""
        for job_id in job_ids:
            if seat := self._seats.get(job_id):
                seat.asking, seat.alone, seat.due = False, True, now

    def _strike(self, useless: bool) -> None:
        self._strikes = self._strikes + 1 if useless else 0
        if self._strikes >= STRIKES:
            self.can_list = False

    def _pages(self, soon: set[str], ripe: set[str]) -> list[Single | Page]:
        """Pages that answer for two jobs or more, one of which is ripe."""
        order = sorted(self._ranks, key=self._ranks.__getitem__, reverse=True)
        places = [place for place, job_id in enumerate(order) if job_id in soon]
        pages: list[Single | Page] = []
        if self._crowded and places and not places[0]:
            del places[0]  # the newest of ours is alone: nothing says how deep it lies, and the next lies below it
        while places:
            first = places[0]
            here = bisect_right(places, first + self._page - 1)
            inside = tuple(order[place] for place in places[:here])
            places = places[here:]
            if len(inside) > 1 and not ripe.isdisjoint(inside):
                pages.append(Page(order[first - 1] if first else None, inside))
        return pages

    def _pause(self, seat: Seat, now: float) -> float:
        """Seconds until the next look that seems wise."""
        age = now - seat.born
        short = SHORT if len(self._seats) > MANY else SHORT_ALONE
        floor = min(short, max(SHORTEST, age / 20))
        return max(self._wish(seat, now, age), floor) * self._dice.uniform(0.95, 1.0)

    def _wish(self, seat: Seat, now: float, age: float) -> float:
        took = self._experience.of(seat.kind)
        progress = seat.marks[-1][1] if seat.marks else 0.0
        if not progress:
            if not took:
                return min(self._near, COLD * age)
            # The quickest there was decides, because nothing else will tell that this one is as quick.
            left = took[0] - age
            return min(FAR, ROUGH_SHARE * left) if left > 0 else self._blind()
        left, share = self._left(seat, now)
        pause = left + min(SURE, age / 100) if left < AIM else share * left
        late = bool(took) and age > took[int(0.9 * (len(took) - 1))]
        if progress >= 90 or late or self._standing(seat, now):
            return min(pause, self._near)
        return min(pause, FAR if took else min(FAR, COLD * age))

    def _blind(self) -> float:
        """The pause while a job may end at any time: shorter where many share the price of a page."""
        return max(SHORT, self._near / (1 + len(self._seats) / 40)) if self.can_list else self._near

    def _left(self, seat: Seat, now: float) -> tuple[float, float]:
        """Seconds left by the job's progress, and how much of them to let pass."""
        since, progress = seat.marks[-1]
        base, share = (seat.born, 0.0), ROUGH_SHARE
        for mark in seat.marks:
            # The latest stretch that is long enough to measure: progress is seldom even, and queues have none.
            if not mark[1] or progress - mark[1] >= max(5.0, (100 - progress) / 4):
                base, share = mark, SHARE if mark[1] else ROUGH_SHARE
        # In whole per cent, the true progress may be one more.
        left = (since - base[0]) * (99 - progress) / (progress + 1 - base[1]) - (now - since)
        # One that stands still tells less and less.
        return max(left, (now - since) / 2), share

    def _standing(self, seat: Seat, now: float) -> bool:
        """Whether the progress has not moved for longer than a look near the end would have waited."""
        return bool(seat.marks) and seat.marks[-1][1] > 0 and now - seat.marks[-1][0] > self._near
