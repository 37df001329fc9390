"""The server's list of jobs, one page at a time: polls many jobs with one request."""

from __future__ import annotations

from ..jobs import JobState
from .connection import Connection
from .detection import dialect_of
from .error_mapping import look_again_after
from .pages import PAGE, page_query, rows_of
from .wire import ask, fields_of


async def page(connection: Connection, *, after: str | None) -> tuple[list[JobState], bool]:
    """One page of the account's jobs, newest first, and whether there are more. Sent once.

    Args:
        connection: Where to and as whom.
        after: The job before the first one of the page; None begins with the newest.

    Raises:
        errors.InvalidRequest: Servers of this kind have no list.
        errors.NotFound: This server has no list, or not the job that `after` names.
        errors.MediaError: The request failed.
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("list")
    answer = await ask(connection, method, f"{connection.url(path)}?{page_query(after)}", retries=0)
    body = fields_of(answer.body)
    rows = rows_of(body) or []
    hint = look_again_after(answer.headers, dialect.poll_hint)
    states = [JobState.parse(dialect.translate_job(row), look_again_after=hint) for row in rows]
    return [state for state in states if state], body.get("has_more", len(rows) >= PAGE) is not False
