"""`python -m simulation`, in tests/: plays histories for some minutes and says what came of them. See --help."""

from __future__ import annotations

import argparse
import gc
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .alone import say, settle

settle("simulation")

from .draw import draw  # noqa: E402
from .history import History  # noqa: E402
from .shrink import describe, shrink  # noqa: E402
from .world import play  # noqa: E402

SHIFTS = 6
"""Steps by which what is done to a process in a kept history is moved at most."""

KEPT = Path(__file__).with_name("kept.jsonl")


class Tally:
    """What came of many histories."""

    def __init__(self) -> None:
        self.histories = self.steps = 0
        self.faults: Counter[str] = Counter()
        self.transitions: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.broken: Counter[str] = Counter()
        self.began = time.process_time()

    def add(self, history: History) -> list[str]:
        outcome = play(history)
        self.histories += 1
        self.steps += outcome.steps
        self.faults.update(outcome.faults)
        self.transitions.update(outcome.transitions)
        self.ends.update(outcome.ends)
        if outcome.violations:
            self.broken[outcome.violations[0].partition(":")[0]] += 1
        if self.histories % 100 == 0:
            gc.collect()
        return outcome.violations

    def report(self) -> str:
        seconds = time.process_time() - self.began
        lines = [
            f"{self.histories:,} histories, {self.steps:,} steps, {seconds:,.0f} s of one core, "
            f"{self.histories / seconds:,.0f} histories/s, {sum(self.broken.values())} violations"
        ]
        for title, counts in (
            ("faults", self.faults),
            ("transitions of records", self.transitions),
            ("how buyers ended", self.ends),
        ):
            lines.append(f"{title}: {sum(counts.values()):,} of {len(counts)} kinds")
            lines += [f"  {count:>9,}  {name}" for name, count in sorted(counts.items(), key=lambda row: -row[1])]
        return "\n".join(lines)


def kept(file: Path) -> list[History]:
    """Histories that failed once."""
    return [History.from_json(line) for line in file.read_text().splitlines() if line.strip()]


def shifted(history: History) -> list[History]:
    """A history, and the same with each process killed or stopped some steps earlier or later: the code moves on."""
    moves = [fault for fault in history.faults if fault.where.startswith(("kill.", "freeze."))]
    return [
        replace(
            history,
            faults=tuple(
                replace(fault, nth=max(1, fault.nth + steps)) if fault in moves else fault for fault in history.faults
            ),
        )
        for steps in (range(-SHIFTS, SHIFTS + 1) if moves else (0,))
    ]


def twice(histories: list[History]) -> int:
    """Whether each history is the same a second time, after others than before."""
    traces = {history.seed: play(history, trace=True).trace for history in histories}
    differing = [
        history.seed for history in reversed(histories) if play(history, trace=True).trace != traces[history.seed]
    ]
    say(f"{len(histories)} histories twice, {len(differing)} differ: {differing[:10]}")
    return 1 if differing else 0


def main(draw: Callable[..., History], kept_file: Path) -> int:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default: %(default)s)")
    parser.add_argument("--histories", type=int, help="how many, in place of --seconds")
    parser.add_argument("--seed", type=int, help="the first seed; the others follow it (default: a new one)")
    parser.add_argument("--skew", type=float, help="how far clocks are off at most, in seconds")
    parser.add_argument("--show", type=int, metavar="SEED", help="print one history as a list of steps")
    parser.add_argument("--keep-going", action="store_true", help="count violations in place of ending with the first")
    parser.add_argument("--kept", action="store_true", help="play the histories that failed once, and no others")
    parser.add_argument("--twice", action="store_true", help="play each history twice, and see whether it is the same")
    arguments = parser.parse_args()
    limits = {} if arguments.skew is None else {"skew": arguments.skew}
    if arguments.show is not None:
        say(describe(draw(arguments.show, **limits)))
        return 0
    play(draw(0))  # imports what is imported late
    gc.collect()
    gc.freeze()
    gc.disable()
    tally = Tally()
    for history in kept(kept_file):
        for near in shifted(history):
            if tally.add(near):
                say(describe(near))
                return 1
    if arguments.kept:
        say(f"{tally.histories} kept histories and their neighbours, 0 violations")
        return 0
    first = secrets.randbelow(10**12) if arguments.seed is None else arguments.seed
    say(f"first seed: {first}")
    if arguments.twice:
        return twice([draw(seed, **limits) for seed in range(first, first + (arguments.histories or 200))])
    end = time.monotonic() + arguments.seconds
    for seed in range(first, first + (arguments.histories or 10**12)):
        if not arguments.histories and time.monotonic() > end:
            break
        history = draw(seed, **limits)
        if (violations := tally.add(history)) and not arguments.keep_going:
            say(f"seed {seed} breaks {violations[0]}; it is made smaller ...")
            say(describe(shrink(history)))
            return 1
        if violations:
            say(f"seed {seed}: {violations[0]}")
    say(tally.report())
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main(draw, KEPT))
