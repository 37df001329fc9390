"""Tables on pages of Prefect. They can't fail a paid step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.artifacts import acreate_table_artifact

from prefect_media.runtime.sync import run_sync

from .current_run import in_run, run_logger
from .markup import cell, markdown


async def ashow_table(rows: Sequence[Mapping[str, Any]], *, title: str, key: str) -> None:
    """Leave a table in Prefect. Nothing is raised when it can't be shown, only logged.

    Texts are shown as they are: markdown and HTML in them are not followed.

    Args:
        rows: Its rows, by column.
        title: What it shows.
        key: The artifact's key: lower-case letters, digits and dashes; equal keys become versions of one artifact.
    """
    await leave_table(rows, title=title, key=key)


async def leave_table(rows: Sequence[Mapping[str, Any]], *, title: str, key: str, note: str = "") -> None:
    """The same, with a note in markdown below the title."""
    if not in_run():
        run_logger().debug("The table is not shown: no flow run is going on here")
        return
    try:
        safe = [{str(cell(name)): cell(value) for name, value in row.items()} for row in rows]
        await acreate_table_artifact(safe, key=key, description="\n\n".join(filter(None, (markdown(title, 200), note))))
    except Exception as error:  # no flow run fails because of what it shows
        run_logger().warning("The table could not be shown: %s", error)


def show_table(rows: Sequence[Mapping[str, Any]], *, title: str, key: str) -> None:
    """The sync form of `ashow_table`. Also works where an event loop runs, which it blocks meanwhile."""
    run_sync(ashow_table(rows, title=title, key=key))
