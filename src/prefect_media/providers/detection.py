"""Which dialect a server speaks: what the credentials or the job say, else what its answers give away.

`GET /models` is free, and it is sent once per process and server. A server that matches no table of dialects.toml is
taken to speak OpenAI's dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextvars import Context
from typing import Any, cast
from urllib.parse import urlsplit

from ..errors import MediaError
from ..runtime.per_loop import shared
from .connection import Connection
from .dialects import Dialect, dialects, get_dialect
from .wire import ask, fields_of

AUTO = "auto"
"""In place of a dialect's name: detect it."""

_detected: dict[str, Dialect] = {}
"""By base URL."""


async def dialect_of(connection: Connection) -> Dialect:
    """The dialect that the server of a connection speaks.

    Where the server can't be reached or fails, the result is not kept: the next call asks it again.
    """
    if connection.dialect != AUTO:
        return get_dialect(connection.dialect)
    if dialect := _known_dialect(connection):
        return dialect
    tasks = shared("dialect detection", dict[str, asyncio.Task[Dialect]])
    if (task := tasks.get(connection.base_url)) is None:  # however many callers wait, the server is asked once
        task = tasks[connection.base_url] = asyncio.create_task(_detect(connection), context=Context())
        task.add_done_callback(lambda _: tasks.pop(connection.base_url))
    return await asyncio.shield(task)


def dialect_name(connection: Connection) -> str:
    """Name of the dialect that requests of a connection are made in; OpenAI's before it was detected."""
    if connection.dialect != AUTO:
        return connection.dialect
    dialect = _known_dialect(connection)
    return dialect.name if dialect else "openai"


async def accepted_fields(connection: Connection, extra: Mapping[str, Any]) -> Collection[str]:
    """The fields of `extra` that the server accepts even where the catalog says that its model does not."""
    special = {name for dialect in dialects().values() for name in dialect.takes}
    if connection.catalog_host != "other" or special.isdisjoint(extra):
        return ()  # without a request to detect the dialect
    return (await dialect_of(connection)).takes


async def _detect(connection: Connection) -> Dialect:
    try:
        answer = await ask(connection, "get", connection.url("/models"))
    except MediaError as error:
        dialect, is_certain = dialects()["openai"], error.status_code is not None and error.status_code < 500
    else:
        dialect, is_certain = _match_models(answer.body, answer.headers), True
    if is_certain:
        _detected[connection.base_url] = dialect
    return dialect


def _known_dialect(connection: Connection) -> Dialect | None:
    return _detected.get(connection.base_url) or _match_host(connection.base_url)


def _match_host(base_url: str) -> Dialect | None:
    host = f".{urlsplit(base_url).hostname or ''}"
    return next((d for d in dialects().values() if d.known_by.host and host.endswith(f".{d.known_by.host}")), None)


def _match_models(body: object, headers: Mapping[str, str]) -> Dialect:
    """The dialect whose marks an answer to `GET /models` carries."""
    rows = fields_of(body).get("data")
    first = fields_of(cast(list[object], rows)[0] if isinstance(rows, list) and rows else None)
    for dialect in dialects().values():
        mark = dialect.known_by
        if mark.owned_by and str(first.get("owned_by", "")).startswith(mark.owned_by):
            return dialect
        if (mark.model_field and mark.model_field in first) or (mark.header and mark.header in headers):
            return dialect
    return dialects()["openai"]
