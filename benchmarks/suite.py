"""The published benchmark: every case several times, against the goals of this package.

    python benchmarks/suite.py                               all of it, half an hour
    python benchmarks/suite.py --quick                       a few minutes
    python benchmarks/suite.py --write docs/performance.md   and put the tables there, between the markers

Of all repetitions the least counts, for every figure by itself: what else this machine does can only add to it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from client import MB, available
from machine import calm
from page import say, table, write
from transfers import Bench, Case, Row, WrongResult, line

GIB = 1024**3 / MB
BUSY = 0.1
"""Share of the machine used by others from which on wall times are not judged."""

BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"

Results = dict[Case, Row]


@dataclass(frozen=True)
class Section:
    """Cases that are shown in one table."""

    title: str
    cases: tuple[Case, ...]


def full() -> list[Section]:
    four = ("floor", "sdk", "bare", "flow")
    ours = ("floor", "bare", "flow")
    submit = [Case("submit", 300), Case("submit", 20)] if available("submit") else []
    return [
        Section("Videos of 20 MB", tuple(Case(engine, jobs) for jobs in (1, 20, 100, 300) for engine in four)),
        Section("The same with TLS on both sides", tuple(Case(engine, 100, tls=True) for engine in four)),
        Section(
            "Videos of 1 MB and of 200 MB",
            tuple(Case(engine, jobs, size) for jobs, size in ((100, 1.0), (20, 200.0)) for engine in ours),
        ),
        Section(
            "Images of 1.5 MB",
            (
                *(Case(engine, jobs, images=True) for jobs in (100, 300) for engine in four),
                Case("sdk-buffered", 300, images=True),
            ),
        ),
        Section(
            "One video of 1 GiB, into the bucket and into a folder",
            (
                Case("floor", 1, GIB),
                *(Case(engine, 1, GIB, local=local) for local in (False, True) for engine in four[2:]),
            ),
        ),
        Section(
            "Other ways to write it",
            (
                *(Case("floor", 100, hashing=False), Case("floor-flow", 100), Case("floor-flow", 300)),
                *(Case("floor-flow", 100, tls=True), Case("sdk-buffered", 100), *submit, Case("submit-threads", 20)),
            ),
        ),
    ]


def quick() -> list[Section]:
    three = ("floor", "bare", "flow")
    return [
        Section("Videos of 20 MB", tuple(Case(engine, jobs) for jobs in (20, 100) for engine in three)),
        Section("Images of 1.5 MB", tuple(Case(engine, 100, images=True) for engine in three)),
        Section("One video of 1 GiB", (Case("flow", 1, GIB), Case("flow", 1, GIB, local=True))),
    ]


def measure(sections: Iterable[Section], repeat: int, patience: float) -> tuple[Results, list[Row], list[Case]]:
    """The best of all repetitions of each case, every single run, and the cases that failed."""
    best: Results = {}
    runs: list[Row] = []
    failures: list[Case] = []
    with Bench() as bench:
        for turn in range(repeat):
            for case in [case for section in sections for case in section.cases]:
                calm(patience)
                try:
                    row = bench.run(case)
                except WrongResult as failure:
                    say(f"{turn + 1}/{repeat} {case.engine} {case.jobs}: {str(failure).splitlines()[-1]}")
                    failures.append(case)
                    continue
                say(f"{turn + 1}/{repeat} {line(row)}")
                runs.append(row)
                best[case] = least(best[case], row) if case in best else row
    return best, runs, failures


def least(one: Row, other: Row) -> Row:
    """Both in one, with the smaller figure of each kind."""
    names = ("wall", "cpu", "idle", "peak", "servers")
    figures = {name: min(getattr(one, name), getattr(other, name)) for name in names}
    prefect = [row.prefect_cpu for row in (one, other) if row.prefect_cpu is not None]
    quicker = one if one.wall < other.wall else other
    return replace(quicker, **figures, prefect_cpu=min(prefect, default=None))


def imports() -> dict[str, float]:
    """Milliseconds that it takes to import us on top of Prefect, and to be told how the command line works."""
    code = "import time, prefect; a = time.perf_counter(); import prefect_media; print(time.perf_counter() - a)"
    ours = min(float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(7))
    command = Path(sys.executable).with_name("prefect-media")
    helps: list[float] = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([command, "--help"], check=True, capture_output=True)
        helps.append(time.perf_counter() - began)
    return {"import": 1000 * ours, "help": 1000 * min(helps)}


@dataclass(frozen=True)
class Goal:
    """What was promised; `found` is None where the cases it needs were not run.

    Attributes:
        disturbed: Whether other programs used so much of the machine that a wall time says nothing.
    """

    name: str
    most: float
    unit: str
    found: float | None
    disturbed: bool = False

    @property
    def verdict(self) -> str:
        if self.disturbed:
            return "machine too busy to tell"
        return "met" if self.found is not None and self.found <= self.most else "**missed**"


def goals(best: Results, starts: dict[str, float]) -> list[Goal]:
    def row(engine: str, jobs: int, size: float = 20.0, *, images: bool = False, local: bool = False) -> Row:
        return best[Case(engine, jobs, size, images=images, local=local)]

    def wall(name: str, most: float, ours: str, jobs: int, *, tls: bool = False, against: str = "floor") -> Goal:
        pair = [best.get(Case(engine, jobs, tls=tls)) for engine in (ours, against)]
        if not all(pair):
            return Goal(name, most, "x", None)
        flow, floor = (row for row in pair if row)
        return Goal(name, most, "x", flow.wall / floor.wall, max(flow.others, floor.others) > BUSY)

    def growth(*, local: bool) -> float:
        big = row("flow", 1, GIB, local=local)
        return big.peak - big.idle

    def goal(name: str, most: float, unit: str, found: Callable[[], float]) -> Goal:
        try:
            return Goal(name, most, unit, found())
        except KeyError:
            return Goal(name, most, unit, None)

    times, ms, mb, requests = "x", "ms", "MB", "requests"
    return [
        wall("Flow, wall time against the floor, 100 jobs", 1.10, "flow", 100),
        wall("The same, 300 jobs", 1.10, "flow", 300),
        wall("The same, 100 jobs with TLS", 1.10, "flow", 100, tls=True),
        wall("Flow, wall time against the floor in a flow, 300 jobs", 1.05, "flow", 300, against="floor-flow"),
        wall("The same, 100 jobs with TLS", 1.02, "flow", 100, tls=True, against="floor-flow"),
        goal("Flow, CPU of the client per job, 100 jobs", 45, ms, lambda: row("flow", 100).cpu_per_job),
        goal("The same, 300 jobs", 45, ms, lambda: row("flow", 300).cpu_per_job),
        goal("The same, 100 jobs of 1 MB", 14, ms, lambda: row("flow", 100, 1.0).cpu_per_job),
        goal(
            "Flow, CPU against SDK and boto3, 300 images",
            1.15,
            times,
            lambda: row("flow", 300, images=True).cpu / row("sdk-buffered", 300, images=True).cpu,
        ),
        goal("Flow, peak memory, 100 jobs", 180, mb, lambda: row("flow", 100).peak),
        goal("The same, 300 jobs", 180, mb, lambda: row("flow", 300).peak),
        wall("Without Prefect, wall time against the floor, 100 jobs", 1.05, "bare", 100),
        wall("The same, 300 jobs", 1.05, "bare", 300),
        goal(
            "Flow, CPU against the streaming SDK, 100 jobs",
            0.6,
            times,
            lambda: row("flow", 100).cpu / row("sdk", 100).cpu,
        ),
        goal("The same, 300 jobs", 0.6, times, lambda: row("flow", 300).cpu / row("sdk", 300).cpu),
        goal("Flow, memory beyond idle for 1 GiB into the bucket", 64, mb, lambda: growth(local=False)),
        goal("The same into a folder", 64, mb, lambda: growth(local=True)),
        goal(
            "Flow, CPU per job, 300 jobs against 20",
            1.2,
            times,
            lambda: row("flow", 300).cpu_per_job / row("flow", 20).cpu_per_job,
        ),
        goal(
            "Flow, peak memory, 300 jobs against 20", 1.3, times, lambda: row("flow", 300).peak / row("flow", 20).peak
        ),
        goal(
            "`.submit`, CPU per job against gather, 300 jobs",
            1.3,
            times,
            lambda: row("submit", 300).cpu / row("flow", 300).cpu,
        ),
        goal(
            "HTTP requests to Prefect per further job",
            0,
            requests,
            lambda: round((asked(row("flow", 300)) - asked(row("flow", 20))) / 280, 2),
        ),
        goal(
            "HTTP requests to Prefect per flow run, 20 jobs, without logs", 15, requests, lambda: asked(row("flow", 20))
        ),
        goal("`import prefect_media` after `import prefect`", 20, ms, lambda: starts["import"]),
        goal("`prefect-media --help`", 500, ms, lambda: starts["help"]),
    ]


def asked(row: Row) -> int:
    """HTTP requests to Prefect; those that carry the log go by time and volume, not by job or run."""
    return sum(count for kind, count in row.prefect_requests.items() if not kind.endswith(" logs"))


HEADS = (
    *("engine", "jobs", "wall s", "wall × floor", "wall × sdk", "beyond the longest video"),
    *("CPU ms per job", "CPU × floor", "CPU × sdk", "peak MB", "of it idle", "lag mean / max s"),
    *("requests per job", "bucket requests per job", "Prefect CPU ms per job"),
)


def shown(section: Section, best: Results) -> str:
    rows = (_cells(case, best) for case in section.cases if case in best)
    return f"### {section.title}\n\n{table(HEADS, rows)}"


def _cells(case: Case, best: Results) -> list[str]:
    row = best[case]
    floor, sdk = (best.get(replace(case, engine=name, local=False, hashing=True)) for name in ("floor", "sdk"))
    return [
        names(case),
        f"{case.jobs}" + ("" if case.size in (20.0, GIB) or case.images else f" × {case.size:g} MB"),
        f"{row.wall:.2f}",
        ratio(row.wall, floor and floor.wall),
        ratio(row.wall, sdk and sdk.wall),
        "" if case.images else f"{row.wall - row.longest:.2f}",
        f"{row.cpu_per_job:.1f}",
        ratio(row.cpu, floor and floor.cpu),
        ratio(row.cpu, sdk and sdk.cpu),
        f"{row.peak:.0f}",
        f"{row.idle:.0f}",
        "" if case.images else f"{row.lag['mean']:.2f} / {row.lag['max']:.2f}",
        f"{sum(row.requests.values()) / case.jobs:.1f}",
        "" if case.local else f"{sum(row.stored.values()) / case.jobs:.1f}",
        "" if row.prefect_cpu is None else f"{1000 * row.prefect_cpu / case.jobs:.0f}",
    ]


def names(case: Case) -> str:
    told = {", TLS": case.tls, ", folder": case.local, ", no hash": not case.hashing}
    return case.engine + "".join(text for text, holds in told.items() if holds)


def ratio(ours: float, theirs: float | None) -> str:
    return f"{ours / theirs:.2f}" if theirs else ""


def report(sections: Iterable[Section], best: Results, starts: dict[str, float], repeat: int) -> str:
    others = sorted(row.others for row in best.values())
    software = ", ".join(f"{name} {version(name)}" for name in ("prefect", "openai", "obstore"))
    head = (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {software}; best of {repeat}. "
        f"Other programs took {others[len(others) // 2]:.0%} of the machine (median; most: {others[-1]:.0%})."
    )
    wanted = [goal for goal in goals(best, starts) if goal.found is not None]
    met = table(
        ("goal", "at most", "found", ""),
        ((goal.name, f"{goal.most:g} {goal.unit}", f"{goal.found:.3g} {goal.unit}", goal.verdict) for goal in wanted),
    )
    return "\n\n".join([head, met, *(shown(section, best) for section in sections)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer cases, once each")
    parser.add_argument("--repeat", type=int, help="default: 3, or 1 with --quick")
    parser.add_argument("--patience", type=float, default=30, help="seconds to wait for a quiet machine before a run")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures of every run there")
    wanted = parser.parse_args()
    sections = quick() if wanted.quick else full()
    repeat = wanted.repeat or (1 if wanted.quick else 3)
    best, runs, failures = measure(sections, repeat, wanted.patience)
    if wanted.json:
        wanted.json.write_text(json.dumps([asdict(row) for row in runs], indent=1))
    text = report(sections, best, imports(), repeat)
    say(f"\n{text}")
    if failures:
        raise SystemExit(f"\n{len(failures)} runs failed, so nothing was written.")
    if wanted.write:
        write(wanted.write, text, BEGIN, END)


if __name__ == "__main__":
    main()
