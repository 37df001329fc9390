"""What became of many shots, on pages of Prefect: the first ones there, and all of them in a CSV file in the store."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from prefect_media.assets import Asset

from .cards import link_to
from .context import Store, storage_for
from .current_run import run_logger
from .gallery import leave_gallery
from .gallery_page import LINKS
from .generation import Generation
from .markup import markdown
from .table import leave_table

MOST_SHOWN = 500
"""Rows of a table, and cards of a gallery, at most."""

_FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@]")
"""How cells begin that spreadsheets take for formulas."""


async def show_outcomes(
    rows: Sequence[Mapping[str, Any]],
    cards: Sequence[Asset | Generation],
    *,
    title: str,
    shots: str,
    key: str,
    store: Store | None,
    file: str,
) -> None:
    """Leave a gallery and a table; where one has more than is shown, all rows go into a file. Raises nothing.

    Args:
        rows: The rows of the table, by column; all have the same columns.
        cards: What the gallery shows, in order.
        title: Heading of the gallery.
        shots: The name of the file that lists the shots.
        key: The table's key; the gallery's is the same with "-gallery".
        store: The store of the file.
        file: The key of the file.
    """
    too_long = max(len(rows), len(cards)) > MOST_SHOWN
    link = await _store_rows(rows, store, file) if too_long else ""
    note = _part_shown("cards", len(cards), link)
    await leave_gallery(cards[:MOST_SHOWN], title=title, key=f"{key}-gallery", note=note)
    note = _part_shown("rows", len(rows), link)
    await leave_table(rows[:MOST_SHOWN], title=f"Shots of {shots}", key=key, note=note)


def csv_of(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as a CSV file in UTF-8, with the mark by which Excel knows it."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows({name: harmless(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode("utf-8-sig")


def harmless(value: object) -> object:
    """A value for a cell of a spreadsheet: a text that could be taken for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


async def _store_rows(rows: Sequence[Mapping[str, Any]], store: Store | None, file: str) -> str:
    """Write all rows to a file, and return a link to it as markdown."""
    try:
        storage = await storage_for(store)
        await storage.put(file, csv_of(rows), content_type="text/csv; charset=utf-8")
    except Exception as error:  # no flow run fails because of what it shows
        run_logger().warning("The file of all rows could not be written: %s", error)
        return "a file that could not be written, the log says why"
    uri = storage.uri(file)
    link = await link_to(uri, LINKS)
    return f"[{markdown(uri, 1000)}](<{link.url}>)" if link else markdown(uri, 1000)


def _part_shown(kind: str, total: int, link: str) -> str:
    """Which part of a list a page has, as markdown; empty where it has all."""
    return f"{kind} 1 to {MOST_SHOWN:,} of {total:,}; all of them: {link}" if total > MOST_SHOWN else ""
