"""What a provider's failure means: from exceptions and error bodies of every shape to the tree of errors.py."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

from ..cleaning import LONGEST, Cleaner, cleaner_of, sentence
from ..errors import (
    AuthenticationFailed,
    ContentRejected,
    InvalidRequest,
    MediaError,
    ModelRetired,
    NotFound,
    ProviderUnavailable,
    QuotaExceeded,
    RateLimited,
    SubmissionInDoubt,
)
from ..figures import number_in
from ..runtime import clock
from .limits import TooLarge

if TYPE_CHECKING:
    import httpx2
    from openai import APIConnectionError, APIStatusError

REDIRECTED_TO = "prefect_media.redirected_to"
"""Extension of a response: where its redirect, which was not followed, leads."""

MODERATION_CODES = {
    "moderation_blocked",
    "content_policy_violation",
    "contentFilter",
    "content_filter",
    "sentinel_block",
    "ResponsibleAIPolicyViolation",
}

LONGEST_MESSAGE = 100_000
"""Characters of a message that is searched for the error of a provider behind a gateway."""

_OBJECT = re.compile(r"""\{\s*["']error["']""")


class explained:
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
            raise status_error(error, self.paid) from _cleaned(error)
        if isinstance(error, APIConnectionError):
            raise connection_error(error, self.paid) from (None if _quotes_a_secret(error) else error)


def connection_error(error: APIConnectionError, paid: bool) -> MediaError:
    """What a failure without an answer means. Only a connection that never stood proves that nothing was taken."""
    import httpx2

    cause = error.__cause__
    host = _place(error.request)
    if isinstance(cause, httpx2.LocalProtocolError) and "Illegal header" in str(cause):  # whose value is the key
        return AuthenticationFailed(f"the key for {host} can't be sent: it has a letter that no key has; copy it anew")
    what = f"{type(cause).__name__}: {cause}" if cause else str(error)
    if cause and isinstance(cause.__cause__, TooLarge) and not paid:
        return ProviderUnavailable(f"{host} sends more than any answer can be: {cause}; nothing was bought")
    what = sentence(cleaner_of(error.request.headers).text(what), 300)
    if not paid or isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return ProviderUnavailable(f"{host} could not be reached ({what}); nothing was bought")
    return SubmissionInDoubt(f"the reply of {host} to a paid request was lost ({what})")


def status_error(error: APIStatusError, paid: bool) -> MediaError:
    """What an HTTP error answer means."""
    return _meaning(error.response, _fields(error.body, error.response), paid)


def answer_error(
    status: int, headers: Mapping[str, str], body: bytes, url: str, sent: Mapping[str, str] | None = None
) -> MediaError:
    """What an HTTP error answer to a request of our own means, one that cost nothing.

    Args:
        status: HTTP status of the answer.
        headers: Its headers.
        body: Its body, or the beginning of it.
        url: Where the request went.
        sent: The headers of the request.
    """
    import httpx2

    # The length may be that of a longer body, and what it is packed with is undone already.
    kept = {name: value for name, value in headers.items() if not name.lower().startswith(("content-", "transfer-"))}
    response = httpx2.Response(status, headers=kept, content=body, request=httpx2.Request("GET", url, headers=sent))
    keep_secrets_out_of(response)
    try:
        fields = response.json()
    except (ValueError, RecursionError):
        fields = None
    return _meaning(response, _fields(fields, response), paid=False)


def hidden_error(response: httpx2.Response, body: object, paid: bool) -> MediaError | None:
    """What an answer with status 200 means that carries nothing but an error; None for an honest answer."""
    if not isinstance(body, Mapping):
        return None
    row = cast(Mapping[str, Any], body)
    if not row.get("error") or row.get("id") or row.get("data"):
        return None
    return _meaning(response, _fields(row, response), paid)


def _meaning(response: httpx2.Response, fields: Mapping[str, Any], paid: bool) -> MediaError:
    status, headers, host = response.status_code, response.headers, _place(response.request)
    code = _string(fields.get("code")) or _string(fields.get("type"))
    said = sentence(_string(fields.get("message")) or "no explanation")
    request_id = request_id_of(headers)
    about: dict[str, Any] = {"status_code": status, "code": code, "request_id": request_id}
    reference = f" (HTTP {status}, request id {request_id})" if request_id else f" (HTTP {status})"

    if (moderation := _moderation(fields, said, code)) is not None:
        message = f"{host} rejected the content: {said}{reference}; change the prompt"
        return ContentRejected(message, **about, **moderation)
    if status in (401, 403):
        return AuthenticationFailed(f"{host} refused the credentials: {said}{reference}; check the key", **about)
    if status == 429:
        if code == "insufficient_quota":
            return QuotaExceeded(f"the account at {host} has no quota left: {said}{reference}", **about)
        wait = retry_after(headers)
        return RateLimited(f"{host} takes no more requests now: {said}{reference}", retry_after=wait, **about)
    if 300 <= status < 400:
        return _redirect(response, paid, about)
    if status == 410:
        return ModelRetired(f"{host} no longer serves this model: {said}{reference}", **about)
    if status == 404 and not paid:
        return NotFound(f"{host}: not found: {said}{reference}", **about)
    if status == 404:
        url = str(response.request.url).partition("?")[0]
        hint = "check base_url, and the model that the server serves"
        if code == "DeploymentNotFound":
            hint = "model has to be the name of a deployment; a new one takes some minutes to appear"
        return InvalidRequest(f"nothing answers at {url}: {said}{reference}; {hint}. Nothing was bought", **about)
    if status == 503 and (wait := retry_after(headers)) is not None:
        return ProviderUnavailable(f"{host} is overloaded: {said}{reference}", retry_after=wait, **about)
    if status >= 500 or status < 400 or status == 408:
        if paid:
            return SubmissionInDoubt(f"{host} failed while taking a paid request: {said}{reference}", **about)
        return ProviderUnavailable(f"{host} failed: {said}{reference}", **about)
    return InvalidRequest(f"{host} refused the request: {said}{reference}; nothing was bought", **about)


def _redirect(response: httpx2.Response, paid: bool, about: Mapping[str, Any]) -> MediaError:
    """What a redirect means that is not followed. These three say that the request was not taken; others need not."""
    status, host = response.status_code, response.request.url.host
    where = response.extensions.get(REDIRECTED_TO, "nowhere")
    said = f"{host} redirects to {where} (HTTP {status}), and requests go to the server of base_url alone"
    hint = f"if {where} is the right one, set base_url to it"
    if not paid:
        return ProviderUnavailable(f"{said}; {hint}", **about)
    if status in (301, 307, 308):
        return InvalidRequest(f"{said}; {hint}. Nothing was bought", **about)
    return SubmissionInDoubt(f"{host} answered a paid request with a redirect to {where} (HTTP {status})", **about)


def not_json(response: httpx2.Response, paid: bool) -> MediaError:
    """What an answer means that should have been JSON."""
    kind = sentence(response.headers.get("content-type", "nothing"), 100)
    said = f"{_place(response.request)} answered HTTP {response.status_code} with {kind} where JSON was expected"
    about: dict[str, Any] = {"status_code": response.status_code, "request_id": request_id_of(response.headers)}
    return SubmissionInDoubt(said, **about) if paid else ProviderUnavailable(said, **about)


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The provider's id of the request: `x-request-id`, or Azure's `apim-request-id`."""
    found = headers.get("x-request-id") or headers.get("apim-request-id")
    return sentence(found, 200) if found else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asked us to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date.

    Finite and not negative; None where it says nothing that can be waited for.
    """
    if (milliseconds := number_in(headers.get("retry-after-ms"))) is not None:
        return max(0.0, milliseconds / 1000)
    text = headers.get("retry-after")
    if text is None:
        return None
    if (seconds := number_in(text)) is not None:
        return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - clock.now().timestamp())
    except (ValueError, OverflowError):
        return None


def look_again_after(headers: Mapping[str, str], hint: str) -> float | None:
    """Seconds the server asked us to wait before the next look at a job; finite and not negative.

    Args:
        headers: Of its answer.
        hint: The header with the milliseconds; "" where its kind has none.
    """
    milliseconds = number_in(headers.get(hint))
    return max(0.0, milliseconds / 1000) if milliseconds is not None else retry_after(headers)


def _fields(body: object, response: httpx2.Response) -> Mapping[str, Any]:
    """The error's fields, whatever the shape: OpenAI's object, FastAPI's `detail`, plain text, HTML, nothing."""
    cleaner = cleaner_for(response)
    with suppress(ValueError):  # it is nested too deeply to be an error
        body = cleaner.json(body)
    if isinstance(body, Mapping):
        row = cast(Mapping[str, Any], body)
        if isinstance(row.get("error"), Mapping):
            row = cast(Mapping[str, Any], row["error"])
        if "message" in row:
            return _unwrapped(row)
        if detail := row.get("detail") or row.get("error"):
            return {**row, "message": detail if isinstance(detail, str) else json.dumps(detail)}
        return row
    text = re.sub(r"<[^<>]*>|\s+", " ", cleaner.excerpt(response.text, LONGEST)).strip()
    return {"message": text[:300]} if text else {}


def _unwrapped(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The error itself, where a gateway (LiteLLM) packed that of the provider behind it into words or fields."""
    inside = _error_in(row["message"]) or row.get("provider_specific_fields")
    if not isinstance(inside, Mapping):
        return row
    return {**row, **{name: value for name, value in cast(Mapping[str, Any], inside).items() if value is not None}}


def _error_in(message: object) -> Mapping[str, Any] | None:
    """The `error` of a JSON object that stands in a message, as JSON has it or as Python prints it."""
    if not isinstance(message, str) or len(message) > LONGEST_MESSAGE or (start := _OBJECT.search(message)) is None:
        return None
    body: object = None
    try:
        body, _ = json.JSONDecoder().raw_decode(message, start.start())
    except (ValueError, RecursionError):
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            body = ast.literal_eval(message[start.start() : message.rfind("}") + 1])
    error = cast(Mapping[str, Any], body).get("error") if isinstance(body, Mapping) else None
    return cast(Mapping[str, Any], error) if isinstance(error, Mapping) else None


def _moderation(fields: Mapping[str, Any], said: str, code: str | None) -> dict[str, Any] | None:
    """Stage and categories of what moderation objected to; None where it was not moderation."""
    inner = _row(fields.get("innererror") or fields.get("inner_error"))
    codes = {code, *(_string(value) for value in (fields.get("type"), inner.get("code")))}
    if not codes & {*MODERATION_CODES, "image_generation_user_error"} and "ContentPolicyViolationError" not in said:
        return None
    details = _row(fields.get("moderation_details"))
    filters = _row(inner.get("content_filter_result") or inner.get("content_filter_results"))
    listed = details.get("categories")
    categories = [str(name) for name in cast(list[object], listed)] if isinstance(listed, list) else []
    categories = categories or [name for name, result in filters.items() if _row(result).get("filtered") is True]
    if not categories and (match := re.search(r"safety_violations=\[([^\]]*)\]", said)):
        categories = [word.strip() for word in match[1].split(",") if word.strip()]
    return {"stage": _string(details.get("moderation_stage")), "categories": tuple(categories)}


def _place(request: httpx2.Request) -> str:
    """The server a request went to: its name, with the port if that is unusual."""
    return request.url.netloc.decode("ascii", "replace")


def cleaner_for(response: httpx2.Response) -> Cleaner:
    """What takes out of an answer the secrets that were sent for it, redirects included."""
    return cleaner_of(response.request.headers, *(each.request.headers for each in response.history))


def keep_secrets_out_of(response: httpx2.Response) -> None:
    """Clean the headers of an answer, and have its text read as UTF-8, whatever it says of itself."""
    import httpx2

    response.headers = httpx2.Headers(cleaner_of(response.request.headers).headers(response.headers))
    response.encoding = "utf-8"


def _cleaned(error: APIStatusError) -> APIStatusError:
    """The same error without secrets: it becomes a cause, and tracebacks and monitors show causes."""
    import httpx2

    response, cleaner = error.response, cleaner_for(error.response)
    try:
        content = json.dumps(cleaner.json(response.json())).encode()
    except (ValueError, RecursionError):
        content = cleaner.excerpt(response.text, LONGEST).encode()
    kept = {name: text for name, text in response.headers.items() if not name.startswith(("content-", "transfer-"))}
    request = httpx2.Request(response.request.method, response.request.url)
    copy = httpx2.Response(response.status_code, headers=kept, content=content, request=request)
    return type(error)(sentence(cleaner.excerpt(error.message, 1000)), response=copy, body=None)


def _quotes_a_secret(error: BaseException) -> bool:
    """Whether an error, or one that led to it, has a secret of its request in its text."""
    request = getattr(error, "request", None)
    cleaner = cleaner_of(request.headers) if request is not None else cleaner_of()
    causes: BaseException | None = error
    while causes is not None:
        if cleaner.text(str(causes)) != str(causes):
            return True
        causes = causes.__cause__ or causes.__context__
    return False


def _row(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _string(value: object) -> str | None:
    return None if value is None else str(value)
