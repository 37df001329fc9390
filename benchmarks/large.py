"""Ten thousand small videos in one flow: what grows with their number.

    python benchmarks/large.py                            300, 1,000, 3,000 and 10,000 videos of 1 MB, 300 at a time
    python benchmarks/large.py --jobs 300 --jobs 1000
    python benchmarks/large.py --write docs/performance.md

The largest number is also made with fifty videos in each task run (`agather(per_task_run=50)`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from page import say, table, write
from transfers import Bench, Case, Row, line

NUMBERS = (300, 1_000, 3_000, 10_000)
BEGIN, END = "<!-- large: begin -->", "<!-- large: end -->"
HEADS = (
    *("videos", "in a task run", "wall s", "CPU ms per job", "peak MB", "longest stall of the loop s"),
    *("Prefect CPU ms per job", "Prefect peak MB", "lag mean / max s"),
)


def report(rows: list[Row]) -> str:
    return table(HEADS, map(_cells, rows))


def _cells(row: Row) -> list[str]:
    return [
        f"{row.case.jobs:,}",
        row.case.engine.partition("-")[2] or "1",
        f"{row.wall:.0f}",
        f"{row.cpu_per_job:.1f}",
        f"{row.peak:.0f}",
        f"{row.stall:.2f}",
        f"{1000 * (row.prefect_cpu or 0) / row.case.jobs:.1f}",
        f"{row.prefect_memory:.0f}",
        f"{row.lag['mean']:.2f} / {row.lag['max']:.2f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, action="append", help="may be given several times")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    wanted = parser.parse_args()
    numbers = wanted.jobs or NUMBERS
    cases = [*(Case("agather", number, 1.0) for number in numbers), Case("agather-50", max(numbers), 1.0)]
    rows: list[Row] = []
    with Bench() as bench:
        for case in cases:
            rows.append(bench.run(case))
            say(line(rows[-1]))
    text = report(rows)
    say(text)
    if wanted.write:
        write(wanted.write, text, BEGIN, END)


if __name__ == "__main__":
    main()
