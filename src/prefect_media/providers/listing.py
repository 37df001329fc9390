"""The server's list of jobs, one page at a time, for whoever waits for many of them."""

from __future__ import annotations

from typing import cast
from urllib.parse import urlencode

from ..jobs import JobState
from .connection import Connection
from .dialects import dialect_of
from .error_mapping import look_again_after
from .wire import ask, fields_of

PAGE = 100
"""Jobs asked for in one page."""


async def page(connection: Connection, *, after: str | None) -> tuple[list[JobState], bool]:
    """One page of the account's jobs, newest first, and whether there are more. Sent once.

    Args:
        connection: Where to and as whom.
        after: The job before the first one of the page; None begins with the newest.

    Raises:
        errors.InvalidRequest: Servers of this kind have no list.
        errors.NotFound: This server has no list, or not the job that `after` names.
        errors.MediaError: The page can't be had.
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("list")
    query = urlencode({"limit": PAGE, "order": "desc", **({"after": after} if after else {})})
    answer = await ask(connection, method, f"{connection.url(path)}?{query}", retries=0)
    body = fields_of(answer.body)
    data = body.get("data")
    rows = cast(list[object], data) if isinstance(data, list) else []
    hint = look_again_after(answer.headers, dialect.poll_hint)
    states = [JobState.parse(dialect.understood(row), look_again_after=hint) for row in rows]
    return [state for state in states if state], body.get("has_more", len(rows) >= PAGE) is not False
