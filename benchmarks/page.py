"""Tables in a page of the docs, between two markers."""

from __future__ import annotations

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
