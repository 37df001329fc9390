"""One HTTP request to a provider, and what its failure means.

All requests go through the openai SDK's client, which knows authentication, proxies and TLS. A paid request is
sent exactly once: the SDK's own retries would buy the job again after a lost reply.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import TYPE_CHECKING, Any, Literal, cast

from ..errors import (
    AuthenticationFailed,
    ContentRejected,
    InvalidRequest,
    JobExpired,
    MediaError,
    ModelRetired,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
    SubmissionInDoubt,
)
from .client import Connection, paid_slots, wire_client

if TYPE_CHECKING:
    import httpx2
    from openai import APIConnectionError, APIStatusError

Upload = tuple[str, bytes, str]
"""A file in a multipart body: file name, content, MIME type."""

MODERATION_CODES = {
    "moderation_blocked",
    "content_policy_violation",
    "contentFilter",
    "content_filter",
    "sentinel_block",
}


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

    Raises:
        errors.MediaError: One of the tree, with status, code and request id.
    """
    import httpx2

    options: dict[str, Any] = {"max_retries": 0} if paid else {}
    if json_body is not None:
        options["body"] = json_body
    if form is not None:
        options["body"] = form
        options["files"] = files or []
        options["options"] = {"headers": {"Content-Type": "multipart/form-data"}}
    async with AsyncExitStack() as stack:
        if paid:
            await stack.enter_async_context(paid_slots(connection))
        with _explained(paid):
            client = wire_client(connection)
            if paid:
                client = client.with_options(max_retries=options.pop("max_retries"))
            send = getattr(client, method)
            response: httpx2.Response = await send(url, cast_to=httpx2.Response, **options)
    request_id = _request_id(response.headers)
    try:
        body = response.json()
    except ValueError:
        raise _not_json(response, request_id, paid) from None
    return Answer(body, request_id, response.headers)


@asynccontextmanager
async def open_stream(connection: Connection, url: str) -> AsyncGenerator[httpx2.Response]:
    """GET a body of any size, to be read piece by piece while the context is open."""
    import httpx2

    with _explained(paid=False):
        response = await wire_client(connection).get(
            url,
            cast_to=httpx2.Response,
            options={"headers": {"X-Stainless-Raw-Response": "stream", "Accept": "*/*", "Accept-Encoding": "identity"}},
        )
    try:
        yield response
    finally:
        await response.aclose()


class _explained:
    """Turns what the SDK raises into the tree of errors.py."""

    def __init__(self, paid: bool) -> None:
        self.paid = paid

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        from openai import APIConnectionError, APIStatusError

        if isinstance(error, APIStatusError):
            raise status_error(error, self.paid) from error
        if isinstance(error, APIConnectionError):
            raise connection_error(error, self.paid) from error


def connection_error(error: APIConnectionError, paid: bool) -> MediaError:
    """What a failure without an answer means. Only a connection that never stood proves that nothing was taken."""
    import httpx2

    cause = error.__cause__
    host = error.request.url.host
    what = f"{type(cause).__name__}: {cause}" if cause else str(error)
    if not paid or isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return ProviderUnavailable(f"{host} could not be reached ({what}); nothing was bought")
    return SubmissionInDoubt(f"the reply of {host} to a paid request was lost ({what})")


def status_error(error: APIStatusError, paid: bool) -> MediaError:
    """What an HTTP error answer means."""
    status, headers = error.status_code, error.response.headers
    fields = _error_fields(error)
    code = _string(fields.get("code")) or _string(fields.get("type"))
    said = _string(fields.get("message")) or f"HTTP {status} without an explanation"
    request_id = _request_id(headers)
    about: dict[str, Any] = {"status_code": status, "code": code, "request_id": request_id}
    reference = f" (HTTP {status}, request id {request_id})" if request_id else f" (HTTP {status})"
    host = error.request.url.host

    if moderation := _moderation(fields, said, code):
        return ContentRejected(
            f"{host} rejected the content: {said}{reference}; change the prompt", **about, **moderation
        )
    if status in (401, 403):
        return AuthenticationFailed(f"{host} refused the credentials: {said}{reference}; check the key", **about)
    if status == 429:
        if code == "insufficient_quota":
            return QuotaExceeded(f"the account at {host} has no quota left: {said}{reference}", **about)
        wait = _retry_after(headers)
        return RateLimited(f"{host} takes no more requests now: {said}{reference}", retry_after=wait, **about)
    if status == 410:
        return ModelRetired(f"{host} no longer serves this model: {said}{reference}", **about)
    if status == 404 and not paid:
        return JobExpired(f"{host} does not know it: {said}{reference}", **about)
    if status == 404:
        url = str(error.request.url).partition("?")[0]
        hint = "check base_url, and the model that the server serves"
        if code == "DeploymentNotFound":
            hint = "model has to be the name of a deployment; a new one takes some minutes to appear"
        return InvalidRequest(f"nothing answers at {url}: {said}{reference}; {hint}. Nothing was bought", **about)
    if status == 503 and (wait := _retry_after(headers)) is not None:
        return ProviderUnavailable(f"{host} is overloaded: {said}{reference}", retry_after=wait, **about)
    if status >= 500 or status == 408:
        if paid:
            return SubmissionInDoubt(f"{host} failed while taking a paid request: {said}{reference}", **about)
        return ProviderUnavailable(f"{host} failed: {said}{reference}", **about)
    return InvalidRequest(f"{host} refused the request: {said}{reference}; nothing was bought", **about)


def _error_fields(error: APIStatusError) -> Mapping[str, Any]:
    """The error's fields, whatever the shape: OpenAI's object, FastAPI's `detail`, plain text, HTML, nothing."""
    body = error.body
    if isinstance(body, Mapping):
        row = cast(Mapping[str, Any], body)
        if isinstance(row.get("error"), Mapping):
            row = cast(Mapping[str, Any], row["error"])
        if "message" in row:
            return row
        if detail := row.get("detail") or row.get("error"):
            return {**row, "message": detail if isinstance(detail, str) else json.dumps(detail)}
        return row
    text = re.sub(r"<[^>]*>|\s+", " ", error.response.text).strip()
    return {"message": text[:300]} if text else {}


def _moderation(fields: Mapping[str, Any], said: str, code: str | None) -> dict[str, Any] | None:
    if code not in MODERATION_CODES and fields.get("type") != "image_generation_user_error":
        return None
    details = cast(Mapping[str, Any], fields.get("moderation_details") or {})
    categories = details.get("categories")
    if not categories and (match := re.search(r"safety_violations=\[([^\]]*)\]", said)):
        categories = [word.strip() for word in match[1].split(",") if word.strip()]
    return {"stage": details.get("moderation_stage"), "categories": tuple(categories or ())}


def _not_json(response: httpx2.Response, request_id: str | None, paid: bool) -> MediaError:
    kind = response.headers.get("content-type", "nothing")
    said = f"{response.request.url.host} answered HTTP {response.status_code} with {kind} where JSON was expected"
    about: dict[str, Any] = {"status_code": response.status_code, "request_id": request_id}
    return SubmissionInDoubt(said, **about) if paid else ProviderUnavailable(said, **about)


def _request_id(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-request-id") or headers.get("apim-request-id")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asked us to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date."""
    if milliseconds := _number(headers.get("retry-after-ms")):
        return milliseconds / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := _number(text)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return None


def look_again_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asked us to wait before the next look at a job."""
    milliseconds = _number(headers.get("openai-poll-after-ms"))
    return milliseconds / 1000 if milliseconds is not None else _retry_after(headers)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def fields_of(body: object) -> Mapping[str, Any]:
    """The fields of a JSON object; none where it is something else."""
    return cast(Mapping[str, Any], body) if isinstance(body, Mapping) else {}


def _string(value: object) -> str | None:
    return None if value is None else str(value)
