"""The models that a server offers, with their retirement dates: `GET /models`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from .connection import Connection
from .pages import rows_of
from .wire import ask, fields_of


async def list_models(connection: Connection) -> Mapping[str, date | None]:
    """The models on a server's list, each with its `shutdown_date`; None where the list has no date.

    Raises:
        errors.NotFound: The server has no list.
        errors.MediaError: The request failed.
    """
    body = fields_of((await ask(connection, "get", connection.url("/models"))).body)
    rows = map(fields_of, rows_of(body) or [])
    return {str(row["id"]): _date(row.get("shutdown_date")) for row in rows if row.get("id")}


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10]) if value else None
    except ValueError:
        return None
