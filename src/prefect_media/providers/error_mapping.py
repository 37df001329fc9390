"""Maps the SDK's exceptions and HTTP error answers to the errors of errors.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

import httpx2

from ..cleaning import LONGEST, Cleaner, cleaner_of, quote_provider, sentence
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
from .error_bodies import error_fields, moderation_details, string_of
from .limits import TooLarge

if TYPE_CHECKING:
    from openai import APIConnectionError, APIStatusError

REDIRECTED_TO = "prefect_media.redirected_to"
"""Extension of a response that holds the origin of a redirect that was not followed."""


class map_errors:
    """A context manager that raises the errors of errors.py in place of the SDK's.

    Args:
        paid: Whether the request in it costs money.
    """

    def __init__(self, paid: bool) -> None:
        self.paid = paid

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        from openai import APIConnectionError, APIStatusError

        if isinstance(error, APIStatusError):
            raise status_error(error, self.paid) from _clean_copy(error)
        if isinstance(error, APIConnectionError):
            raise connection_error(error, self.paid) from (None if _quotes_a_secret(error) else error)


def connection_error(error: APIConnectionError, paid: bool) -> MediaError:
    """The error of a request without an answer. Only a connection that failed proves that the server took nothing."""
    cause = error.__cause__
    host = _place(error.request)
    if isinstance(cause, httpx2.LocalProtocolError) and "Illegal header" in str(cause):  # the header with the key
        return AuthenticationFailed(
            f"the key for {host} can't be sent: it contains an invalid character; paste it again"
        )
    what = f"{type(cause).__name__}: {cause}" if cause else str(error)
    if cause and isinstance(cause.__cause__, TooLarge) and not paid:
        return ProviderUnavailable(f"{host} sent an answer that is too large: {cause}; nothing was bought")
    what = sentence(cleaner_of(error.request.headers).text(what), 300)
    if not paid or isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return ProviderUnavailable(f"{host} could not be reached ({what}); nothing was bought")
    return SubmissionInDoubt(f"the reply of {host} to a paid request was lost ({what})")


def status_error(error: APIStatusError, paid: bool) -> MediaError:
    """The error of an HTTP error answer."""
    return _error_of(error.response, _fields_of(error.body, error.response), paid)


def answer_error(
    status: int, headers: Mapping[str, str], body: bytes, url: str, sent: Mapping[str, str] | None = None
) -> MediaError:
    """The error of an HTTP error answer to an unpaid request that was not sent through the SDK.

    Args:
        status: HTTP status of the answer.
        headers: Its headers.
        body: Its body, or the beginning of it.
        url: The URL of the request.
        sent: The headers of the request.
    """
    # The body may be cut and is decompressed already, so headers that describe it no longer apply.
    kept_headers = {
        name: value for name, value in headers.items() if not name.lower().startswith(("content-", "transfer-"))
    }
    response = httpx2.Response(
        status, headers=kept_headers, content=body, request=httpx2.Request("GET", url, headers=sent)
    )
    keep_secrets_out_of(response)
    try:
        fields = response.json()
    except (ValueError, RecursionError):
        fields = None
    return _error_of(response, _fields_of(fields, response), paid=False)


def hidden_error(response: httpx2.Response, body: object, paid: bool) -> MediaError | None:
    """The error of an answer with status 200 whose body is nothing but an error; None for any other answer."""
    if not isinstance(body, Mapping):
        return None
    row = cast(Mapping[str, Any], body)
    if not row.get("error") or row.get("id") or row.get("data"):
        return None
    return _error_of(response, _fields_of(row, response), paid)


def _fields_of(body: object, response: httpx2.Response) -> Mapping[str, Any]:
    is_object = isinstance(body, Mapping)
    text = "" if is_object else response.text  # a stream has none
    return error_fields(body, text, cleaner_for(response))


def _error_of(response: httpx2.Response, fields: Mapping[str, Any], paid: bool) -> MediaError:
    status, headers, host = response.status_code, response.headers, _place(response.request)
    code = string_of(fields.get("code")) or string_of(fields.get("type"))
    explanation = string_of(fields.get("message"))
    request_id = request_id_of(headers)
    about: dict[str, Any] = {"status_code": status, "code": code, "request_id": request_id}
    if explanation:
        about["provider_message"] = sentence(explanation, LONGEST)
    reference = f" (HTTP {status}, request id {request_id})" if request_id else f" (HTTP {status})"
    words = quote_provider(explanation)

    if (moderation := moderation_details(fields, explanation or "", code)) is not None:
        message = f"{host} rejected the content{reference}; change the prompt{words}"
        return ContentRejected(message, **about, **moderation)
    if status in (401, 403):
        return AuthenticationFailed(f"{host} refused the credentials{reference}; check the key{words}", **about)
    if status == 429:
        if code == "insufficient_quota":
            message = f"the account at {host} has no quota left{reference}; add credit{words}"
            return QuotaExceeded(message, **about)
        message = f"{host} takes no more requests now{reference}; try again later{words}"
        return RateLimited(message, retry_after=retry_after(headers), **about)
    if 300 <= status < 400:
        return _redirect_error(response, paid, about)
    if status == 410:
        return ModelRetired(f"{host} no longer serves this model{reference}; use another{words}", **about)
    if status == 404 and not paid:
        return NotFound(f"{host}: not found{reference}; check the id and base_url{words}", **about)
    if status == 404:
        url = str(response.request.url).partition("?")[0]
        hint = "check base_url, and the model that the server serves"
        if code == "DeploymentNotFound":
            hint = "model has to be the name of a deployment; a new one takes some minutes to appear"
        return InvalidRequest(f"nothing answers at {url}{reference}; {hint}; nothing was bought{words}", **about)
    if status == 503 and (wait := retry_after(headers)) is not None:
        message = f"{host} is overloaded{reference}; try again later{words}"
        return ProviderUnavailable(message, retry_after=wait, **about)
    if status >= 500 or status < 400 or status == 408:
        if paid:
            return SubmissionInDoubt(f"{host} failed while taking a paid request{reference}{words}", **about)
        return ProviderUnavailable(f"{host} failed{reference}; try again later{words}", **about)
    return InvalidRequest(f"{host} refused the request{reference}; nothing was bought{words}", **about)


def _redirect_error(response: httpx2.Response, paid: bool, about: Mapping[str, Any]) -> MediaError:
    """The error of a redirect that was not followed. Only 301, 307 and 308 prove that the request was not taken."""
    status, host = response.status_code, response.request.url.host
    where = response.extensions.get(REDIRECTED_TO, "nowhere")
    text = f"{host} redirects to {where} (HTTP {status}), and requests go to the server of base_url only"
    hint = f"if {where} is the right server, set base_url to it"
    if not paid:
        return ProviderUnavailable(f"{text}; {hint}", **about)
    if status in (301, 307, 308):
        return InvalidRequest(f"{text}; {hint}; nothing was bought", **about)
    return SubmissionInDoubt(f"{host} answered a paid request with a redirect to {where} (HTTP {status})", **about)


def not_json(response: httpx2.Response, paid: bool) -> MediaError:
    """The error of an answer that should have been JSON and is not."""
    kind = sentence(response.headers.get("content-type", "nothing"), 100)
    text = f"{_place(response.request)} answered HTTP {response.status_code} with {kind} where JSON was expected"
    about: dict[str, Any] = {"status_code": response.status_code, "request_id": request_id_of(response.headers)}
    return SubmissionInDoubt(text, **about) if paid else ProviderUnavailable(text, **about)


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The provider's id of the request: `x-request-id`, or Azure's `apim-request-id`."""
    request_id = headers.get("x-request-id") or headers.get("apim-request-id")
    return sentence(request_id, 200) if request_id else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, as the server asked: `retry-after-ms`, or `Retry-After` in seconds or as a date.

    Finite and not negative; None where the headers have no usable value.
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
    """Seconds to wait before the next poll of a job, as the server asked; finite and not negative.

    Args:
        headers: The headers of the answer.
        hint: The header with the milliseconds; "" where the dialect has none.
    """
    milliseconds = number_in(headers.get(hint))
    return max(0.0, milliseconds / 1000) if milliseconds is not None else retry_after(headers)


def _place(request: httpx2.Request) -> str:
    """Host of a request, with its port if unusual."""
    return request.url.netloc.decode("ascii", "replace")


def cleaner_for(response: httpx2.Response) -> Cleaner:
    """Removes from an answer the secrets that were sent with its request, redirects included."""
    return cleaner_of(response.request.headers, *(each.request.headers for each in response.history))


def keep_secrets_out_of(response: httpx2.Response) -> None:
    """Remove secrets from the headers of an answer, and read its text as UTF-8 whatever its headers say."""
    response.headers = httpx2.Headers(cleaner_of(response.request.headers).headers(response.headers))
    response.encoding = "utf-8"


def _clean_copy(error: APIStatusError) -> APIStatusError:
    """A copy of an error without secrets: tracebacks and monitors show the causes of errors."""
    response, cleaner = error.response, cleaner_for(error.response)
    try:
        content = json.dumps(cleaner.json(response.json())).encode()
    except (ValueError, RecursionError):
        content = cleaner.excerpt(response.text, LONGEST).encode()
    kept_headers = {
        name: text for name, text in response.headers.items() if not name.startswith(("content-", "transfer-"))
    }
    request = httpx2.Request(response.request.method, response.request.url)
    copy = httpx2.Response(response.status_code, headers=kept_headers, content=content, request=request)
    return type(error)(sentence(cleaner.excerpt(error.message, 1000)), response=copy, body=None)


def _quotes_a_secret(error: BaseException) -> bool:
    """Whether the text of an error, or of one of its causes, contains a secret of its request."""
    request = getattr(error, "request", None)
    cleaner = cleaner_of(request.headers) if request is not None else cleaner_of()
    cause: BaseException | None = error
    while cause is not None:
        if cleaner.text(str(cause)) != str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
