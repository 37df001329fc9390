"""Which models a server has, and until when: `GET /models`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import cast

from .connection import Connection
from .wire import ask, fields_of


async def listed(connection: Connection) -> Mapping[str, date | None]:
    """The models a server lists, each with its `shutdown_date`; None where it says nothing of one.

    Raises:
        errors.NotFound: The server has no list.
        errors.MediaError: It can't be asked.
    """
    body = fields_of((await ask(connection, "get", connection.url("/models"))).body)
    data = body.get("data")
    rows = [fields_of(row) for row in cast(list[object], data)] if isinstance(data, list) else []
    return {str(row["id"]): _date(row.get("shutdown_date")) for row in rows if row.get("id")}


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value)[:10]) if value else None
    except ValueError:
        return None
