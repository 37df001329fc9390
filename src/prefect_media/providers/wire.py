"""One HTTP request to a provider, and what its failure means.

All requests go through the openai SDK's client, which knows authentication, proxies and TLS. A paid request is
sent exactly once: the SDK's own retries would buy the job again after a lost reply.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from ..errors import InvalidRequest
from .connection import Connection, paid_slots, wire_client
from .error_mapping import cleaner_for, explained, hidden_error, not_json, request_id_of
from .limits import parse_json
from .server_time import note_date

if TYPE_CHECKING:
    import httpx2
from ..media.upload import Upload


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
        paid: Whether taking the request costs money. Then it is sent once, and when it can't be known
            whether it was taken, `errors.SubmissionInDoubt` is raised.
        ready: Awaited right before a paid request is sent, once there is room for it; may raise to keep it here.
        retries: How often the SDK may send an unpaid request again; None leaves it to the SDK.

    Raises:
        errors.MediaError: One of the tree, with status, code and request id.
    """
    import httpx2

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
        with explained(paid):
            client = wire_client(connection)
            if paid or retries is not None:
                client = client.with_options(max_retries=0 if paid else retries or 0)
            send = getattr(client, method)
            response: httpx2.Response = await send(url, cast_to=httpx2.Response, **options)
    note_date(connection.base_url, response.headers)
    try:
        body = cleaner_for(response).json(parse_json(response.content))
    except ValueError:
        raise not_json(response, paid) from None
    if error := hidden_error(response, body, paid):
        raise error
    return Answer(body, request_id_of(response.headers), response.headers)


def beside(fields: Collection[str], extra: Mapping[str, Any]) -> Mapping[str, Any]:
    """Further fields of a request, none of which may replace one that it has.

    Raises:
        errors.InvalidRequest: One would; nothing was sent.
    """
    if clash := [name for name in extra if name in fields]:
        raise InvalidRequest(
            f"extra has {', '.join(clash)}, which the request says itself; leave it out of extra. Nothing was sent"
        )
    return extra


def fields_of(body: object) -> Mapping[str, Any]:
    """The fields of a JSON object; none where it is something else."""
    return cast(Mapping[str, Any], body) if isinstance(body, Mapping) else {}
