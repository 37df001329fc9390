"""One HTTP request to a provider, and what its failure means.

All requests go through the openai SDK's client, which knows authentication, proxies and TLS. A paid request is
sent exactly once: the SDK's own retries would buy the job again after a lost reply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import httpx2

from ..errors import InvalidRequest
from ..media.upload import Upload
from .connection import Connection, paid_slots, wire_client
from .error_mapping import cleaner_for, hidden_error, map_errors, not_json, request_id_of
from .limits import parse_json
from .server_time import record_date


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer in JSON."""

    body: Any
    request_id: str | None
    headers: Mapping[str, str] = field(repr=False)


async def ask(
    connection: Connection,
    method: Literal["get", "post", "delete"],
    url: str,
    *,
    json_body: Mapping[str, Any] | None = None,
    form: Mapping[str, Any] | None = None,
    files: list[tuple[str, Upload]] | None = None,
    paid: bool = False,
    ready: Callable[[], Awaitable[None]] | None = None,
    retries: int | None = None,
) -> Answer:
    """Send one request and read the JSON answer.

    Args:
        connection: Where to and as whom.
        method: HTTP method.
        url: Full URL.
        json_body: Body to send as JSON.
        form: Fields to send as multipart/form-data.
        files: Files to send beside `form`.
        paid: Whether the request costs money. Then it is sent once, and `errors.SubmissionInDoubt` is raised when the
            server may have taken it.
        ready: Awaited right before a paid request is sent, once one of the connection's slots is free; an error that
            it raises stops the request.
        retries: How often the SDK may retry an unpaid request; None leaves it to the SDK.

    Raises:
        errors.MediaError: One of the tree, with status, code and request id.
    """
    options: dict[str, Any] = {}
    if json_body is not None:
        options["body"] = json_body
    if form is not None:
        options["body"] = form
        options["files"] = files or []
        options["options"] = {"headers": {"Content-Type": "multipart/form-data"}}
    async with AsyncExitStack() as stack:
        if paid:
            await stack.enter_async_context(paid_slots(connection))
            if ready:
                await ready()
        with map_errors(paid):
            client = wire_client(connection, retries=0 if paid else retries)
            send = getattr(client, method)
            response: httpx2.Response = await send(url, cast_to=httpx2.Response, **options)
    record_date(connection.base_url, response.headers)
    try:
        body = cleaner_for(response).json(parse_json(response.content))
    except ValueError:
        raise not_json(response, paid) from None
    if error := hidden_error(response, body, paid):
        raise error
    return Answer(body, request_id_of(response.headers), response.headers)


def validate_extra(fields: Collection[str], extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `extra` of a request, none of whose fields may replace one of the request's own.

    Raises:
        errors.InvalidRequest: A field of it would; nothing was sent.
    """
    if clashes := [name for name in extra if name in fields]:
        raise InvalidRequest(
            f"extra has {', '.join(clashes)}, which the request sets itself; leave it out of extra; nothing was sent"
        )
    return extra


def fields_of(body: object) -> Mapping[str, Any]:
    """The fields of a JSON object; empty for any other value."""
    return cast(Mapping[str, Any], body) if isinstance(body, Mapping) else {}
