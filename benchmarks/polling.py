"""How many requests it takes to notice that videos are done, and how soon it is noticed.

    python benchmarks/polling.py            in simulated time: nothing sleeps, seconds of one CPU
    python benchmarks/polling.py --real     300 jobs on one event loop against the simulator, in real time

Simulated are jobs of 60 to 300 s (lognormal, median 130 s) that start within two seconds, wait up to 10 s in a
queue and then report progress in whole per cent along a curve that is different for each. The last rows of each
table use the very `Watch` and `Pace` that production uses; the list is the one of the Videos API, whose pages also
hold other people's jobs. A request takes 0.1 s.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from prefect_media.jobs import JobState
from prefect_media.waiting.deadlines import Done, LookAgain, Patience, Watch
from prefect_media.waiting.durations import Experience, decode, encode
from prefect_media.waiting.schedule import Pace, Page, Single

ROUND_TRIP = 0.1
KIND = ("sora-2", "x", "4")


@dataclass
class SimulatedJob:
    """A job whose whole fate is known from the beginning; times in seconds."""

    id: str
    start: float
    takes: float
    queued: float
    bend: float
    told: str = "curve"
    """How progress is told: "curve", "stall" (stands at 99 % for a tenth of the time) or "none"."""
    noticed: float | None = None

    @property
    def end(self) -> float:
        return self.start + self.takes

    def at(self, now: float) -> JobState:
        if now >= self.end:
            return JobState(self.id, "completed", 100, created_at=float(int(self.start)), size="x", seconds="4")
        part = (now - self.start - self.queued) / (self.takes - self.queued)
        if self.told == "stall":
            part = min(0.995, part / 0.9)
        progress = int(100 * max(0.0, part) ** self.bend) if self.told != "none" else 0
        status = "queued" if part < 0 else "in_progress"
        return JobState(self.id, status, min(progress, 99), created_at=float(int(self.start)), size="x", seconds="4")


@dataclass
class Result:
    """What a way of polling cost."""

    requests: int
    lags: list[float] = field(repr=False)

    @property
    def per_job(self) -> float:
        return self.requests / len(self.lags)

    @property
    def mean(self) -> float:
        return sum(self.lags) / len(self.lags)

    def quantile(self, share: float) -> float:
        return sorted(self.lags)[min(len(self.lags) - 1, math.ceil(share * len(self.lags)) - 1)]


def jobs_of(count: int, dice: random.Random, *, start: float = 0.0, told: str = "curve") -> list[SimulatedJob]:
    """Jobs that start together."""
    jobs: list[SimulatedJob] = []
    for number in range(count):
        while not 60 <= (takes := dice.lognormvariate(math.log(130), 0.45)) <= 300:
            pass
        jobs.append(
            SimulatedJob(
                f"video_{start:g}_{number}",
                start + dice.uniform(0, 2 if count > 1 else 0),
                takes,
                dice.uniform(0, 10),
                dice.uniform(0.7, 1.4),
                told,
            )
        )
    return sorted(jobs, key=lambda job: job.start)


def each_by_itself(every: float) -> Callable[[list[SimulatedJob]], Result]:
    """Per-job polling at a fixed interval, as most packages do it."""

    def run(jobs: list[SimulatedJob]) -> Result:
        looks = [math.ceil(job.takes / every) for job in jobs]
        return Result(sum(looks), [n * every - job.takes + ROUND_TRIP for n, job in zip(looks, jobs, strict=True)])

    return run


def one_list(every: float) -> Callable[[list[SimulatedJob]], Result]:
    """All pages of the list at a fixed interval until all are done."""

    def run(jobs: list[SimulatedJob]) -> Result:
        began, ended = min(job.start for job in jobs), max(job.end for job in jobs)
        rounds = math.ceil((ended - began) / every)
        lags = [math.ceil((job.end - began) / every) * every - (job.end - began) + ROUND_TRIP for job in jobs]
        return Result(rounds * math.ceil(len(jobs) / 100), lags)

    return run


def ours(
    jobs: list[SimulatedJob],
    experience: Experience,
    *,
    seed: int = 0,
    can_list: bool = True,
    strangers: int = 0,
) -> Result:
    """The looks of production's own `Pace` and `Watch`, in simulated time."""
    dice = random.Random(seed)
    pace = Pace(experience=experience, dice=dice)
    others = [
        SimulatedJob(f"other_{number}", jobs[0].start + dice.uniform(0, 200), 100, 0, 1) for number in range(strangers)
    ]
    waits: dict[str, Watch] = {}
    by_id = {job.id: job for job in jobs}
    events: list[tuple[float, int, str, object]] = []
    turn = iter(range(10**9))
    for job in jobs:
        heapq.heappush(events, (job.start, next(turn), "join", job))
    requests, planned, last = 0, math.inf, jobs[0].start

    def learn(state: JobState, now: float) -> None:
        wait = waits.get(state.id)
        if wait is None:
            return
        pace.learn_state(state.id, state, now)
        verdict = wait.judge(state, now)
        if isinstance(verdict, Done):
            by_id[state.id].noticed = now
            del waits[state.id]
            pace.leave(state.id)
        else:
            assert isinstance(verdict, LookAgain), verdict
            pace.plan_look(state.id, now=now, not_before=verdict.not_before, not_after=verdict.not_after)

    def listed(page: Page, now: float) -> tuple[list[JobState], bool]:
        there = [job for job in jobs + others if job.start <= now]
        there.sort(key=lambda job: job.start, reverse=True)
        first = next((n + 1 for n, job in enumerate(there) if job.id == page.after), 0)
        return [job.at(now) for job in there[first : first + 100]], len(there) > first + 100

    while events:
        now, _, what, thing = heapq.heappop(events)
        assert now >= last - 1e-9
        last = now
        if what == "join" and isinstance(thing, SimulatedJob):
            waits[thing.id] = wait = Watch(thing.id, Patience(3600), now=now)
            pace.join(thing.id, KIND, now=now, age=0.0, submitted=now, not_after=wait.deadline)
        elif what == "answer" and isinstance(thing, Single):
            learn(by_id[thing.job_id].at(now - ROUND_TRIP / 2), now)
        elif what == "answer" and isinstance(thing, Page):
            if can_list:
                rows, more = listed(thing, now - ROUND_TRIP / 2)
                pace.learn_page(thing, rows, more=more, now=now)
                for row in rows:
                    learn(row, now)
            else:
                pace.give_up_page(thing, now, never=True)
        elif what == "wake":
            planned = math.inf
        for ask in pace.due(now):
            requests += 1
            heapq.heappush(events, (now + ROUND_TRIP, next(turn), "answer", ask))
        wake = pace.wake()
        if wake is not None and wake < planned:
            planned = max(wake, now)
            heapq.heappush(events, (planned, next(turn), "wake", None))
    noticed = [(job.noticed, job.end) for job in jobs]
    return Result(requests, [seen - end for seen, end in noticed if seen is not None])


def ours_over(
    count: int,
    *,
    seed: int = 1,
    told: str = "curve",
    can_list: bool = True,
    strangers: int = 0,
    cold: bool = False,
    recalled: bool = False,
) -> Result:
    """Our pace over several batches, 600 jobs in all or so.

    `cold` forgets after each one what it learned; `recalled` begins each one with what the store kept of 20 jobs.
    """
    dice = random.Random(seed)
    experience, start = Experience(), 0.0
    if not cold:
        start = _warm(experience, dice, told)
    stored = decode(encode({}, experience.fresh)) if recalled else {}
    requests, lags = 0, []
    for number in range(max(2, min(200, 600 // count))):
        if cold or recalled:
            experience = Experience()
        for kind, took in stored.items():
            experience.learn(kind, took)
        jobs = jobs_of(count, dice, start=start, told=told)
        result = ours(jobs, experience, seed=seed + number, can_list=can_list, strangers=strangers)
        requests, lags = requests + result.requests, lags + result.lags
        start = max(job.end for job in jobs) + 60
    return Result(requests, lags)


def _warm(experience: Experience, dice: random.Random, told: str) -> float:
    """Twenty jobs that came before."""
    jobs = jobs_of(20, dice, told=told)
    ours(jobs, experience)
    return max(job.end for job in jobs) + 60


def fixed_over(run: Callable[[list[SimulatedJob]], Result], count: int, seed: int = 1) -> Result:
    """Another way of polling over the same batches."""
    dice, requests, lags = random.Random(seed), 0, []
    jobs_of(20, dice)
    for _ in range(max(2, min(200, 600 // count))):
        result = run(jobs_of(count, dice))
        requests, lags = requests + result.requests, lags + result.lags
    return Result(requests, lags)


def row(name: str, result: Result) -> None:
    print(  # noqa: T201
        f"{name:<44} {result.per_job:8.2f} {result.mean:8.2f} {result.quantile(0.95):8.2f} {max(result.lags):8.2f}"
    )


def simulate() -> None:
    for count in (1, 20, 100, 300):
        title = f"{count} job{'s' if count > 1 else ''} at once"
        print(f"\n{title:<44} req/job  lag mean     p95      max")  # noqa: T201
        row("each by itself, every 5 s", fixed_over(each_by_itself(5), count))
        row("each by itself, every 10 s", fixed_over(each_by_itself(10), count))
        row("one list, every 1 s", fixed_over(one_list(1), count))
        row("prefect-media", ours_over(count))
        row("prefect-media, new process, known store", ours_over(count, recalled=True))
        row("prefect-media, nothing learned yet", ours_over(count, cold=True))
        row("prefect-media, server without a list", ours_over(count, can_list=False))
        row("prefect-media, progress stalls at 99 %", ours_over(count, told="stall"))
        row("prefect-media, no progress told at all", ours_over(count, told="none"))
        if count > 1:
            row("prefect-media, 300 jobs of others", ours_over(count, strangers=300))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--real", action="store_true", help="against the simulator, in real time")
    if options.parse_args().real:
        from polling_real import main

        asyncio.run(main())
    else:
        simulate()
