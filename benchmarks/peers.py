"""This package against what people write without it: the SDK with boto3, and LiteLLM with boto3, all in memory.

    make bench-peers
    python benchmarks/peers.py --python .venv-peers/bin/python [--jobs 20] [--write docs/performance.md]

LiteLLM is in an environment of its own, because it has requirements of its own.
"""

from __future__ import annotations

import argparse
import subprocess
from dataclasses import replace
from pathlib import Path

from page import say, table, write
from suite import least
from transfers import Bench, Case, Row, line

BEGIN, END = "<!-- peers: begin -->", "<!-- peers: end -->"
ENGINES = ("sdk-buffered", "litellm", "flow")
HEADS = (
    "engine",
    "what",
    "wall s",
    "× sdk-buffered",
    "CPU ms per job",
    "× sdk-buffered",
    "peak MB",
    "requests per job",
)


def report(best: dict[Case, Row], version: str) -> str:
    rows = (_cells(case, row, best[replace(case, engine="sdk-buffered")]) for case, row in best.items())
    return f"LiteLLM {version}.\n\n{table(HEADS, rows)}"


def _cells(case: Case, row: Row, peer: Row) -> list[str]:
    return [
        case.engine,
        f"{case.jobs} images" if case.images else f"{case.jobs} videos of {case.size:g} MB",
        f"{row.wall:.1f}",
        f"{row.wall / peer.wall:.2f}",
        f"{row.cpu_per_job:.1f}",
        f"{row.cpu / peer.cpu:.2f}",
        f"{row.peak:.0f}",
        f"{sum(row.requests.values()) / case.jobs:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="with LiteLLM and boto3")
    parser.add_argument("--jobs", type=int, help="in place of 100 videos and 300 images")
    parser.add_argument("--repeat", type=int, default=2, help="the least of so many counts")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    wanted = parser.parse_args()
    cases = [
        *(Case(engine, wanted.jobs or 100) for engine in ENGINES),
        *(Case(engine, wanted.jobs or 300, images=True) for engine in ENGINES),
    ]
    best: dict[Case, Row] = {}
    with Bench(pythons={"litellm": str(wanted.python.absolute())}) as bench:
        for _ in range(wanted.repeat):
            for case in cases:
                row = bench.run(case)
                say(line(row))
                best[case] = least(best[case], row) if case in best else row
    told = "import importlib.metadata as m; print(m.version('litellm'))"
    text = report(best, subprocess.check_output([wanted.python, "-c", told], text=True).strip())
    say(text)
    if wanted.write:
        write(wanted.write, text, BEGIN, END)


if __name__ == "__main__":
    main()
