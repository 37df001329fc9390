"""What a benchmark tells: on the standard output, and as tables in a page of the docs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path


def write(path: Path, text: str, begin: str, end: str) -> None:
    """Put a text between the markers of a page.

    Raises:
        SystemExit: The page lacks a marker.
    """
    page = path.read_text()
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{path} has no {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def say(text: str) -> None:
    """Write a line at once."""
    print(text, flush=True)  # noqa: T201
