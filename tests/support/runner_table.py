"""Writes the table of docs/scaling.md from the rows that tests/tasks/test_task_runners.py left.

python tests/support/runner_table.py build/runners.jsonl docs/scaling.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

BEGIN, END = "<!-- runners: begin -->", "<!-- runners: end -->"
MEASURED = ("seconds to the first result", "seconds for 40 images", "processes", "MB")


def table(rows: list[dict[str, object]]) -> str:
    """A row is written only when all that the test checks is so."""
    lines = [f"| task runner | {' | '.join(MEASURED)} |", f"| --- |{' --- |' * len(MEASURED)}"]
    lines += [f"| {row['runner']} | {' | '.join(str(row[name]) for name in MEASURED)} |" for row in rows]
    return "\n".join(lines)


def write(rows: Path, page: Path) -> None:
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    page.write_text(f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
