"""What can go wrong, named as a user would say it.

MediaError
├── InvalidRequest            the request can't work as it is; nothing was paid
│   └── ModelRetired            the model is no longer served by this host (`date`, `successor`)
├── AuthenticationFailed      no key, a wrong key, or no right to this model
├── ContentRejected           moderation refused the prompt or the result (`stage`, `categories`)
├── QuotaExceeded             the account has no credit left
├── BudgetExceeded            the purchase could exceed its budget
├── RateLimited         ↻     too many requests (`retry_after`, seconds)
├── ProviderUnavailable ↻     the server is unreachable or overloaded and did not take the request
├── SubmissionInDoubt         the reply was lost; the server may or may not have taken the job
├── NotFound                  HTTP 404: the server has no such job, list or route
├── JobFailed                 the provider could not finish the job (`code`)
│   └── JobExpired              the job existed, and it or its content is gone; also a NotFound
├── JobTimedOut               the deadline passed; the job may still finish and is billed
├── ReviewTimedOut            nobody answered a question in time, and it has no default (`question`)
├── DownloadCorrupt     ↻     the content arrived incomplete or is not a video or image
└── StoreError          ↻     the store could not be read or written

↻ marks what tasks retry; everything else is raised at once. The message of every error is one sentence: what
is wrong, what to do, and at its end what the provider says, shortened. Its attributes are for programs. All errors
survive pickling.
"""

from typing import Any

from .display import short_traceback


class MediaError(Exception):
    """The base of everything this package raises on purpose.

    Attributes:
        message: What is wrong and what to do, in one sentence.
        job_id: The provider's id of the job that was bought, if one was.
        request_id: The provider's id of the HTTP request, for its support desk.
        status_code: The HTTP status the provider answered with.
        code: The provider's error code.
        provider_message: What the provider says, of which the message has the beginning at its end; 10,000 characters
            at most.
        details: Everything else, by name; also readable as attributes.
    """

    transient = False
    """Whether tasks retry it: the same request may succeed a little later, and can't be paid for twice."""

    job_id: str | None = None
    request_id: str | None = None
    status_code: int | None = None
    code: str | None = None
    provider_message: str | None = None

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        for name, value in details.items():
            setattr(self, name, value)

    @property
    def complaint(self) -> str:
        """The message up to "nothing was sent", for a place that says so once for several errors or goes on."""
        return self.message.partition("; nothing was sent")[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of the error; IPython asks for it by this name."""
        support = ("job_id", "request_id", "status_code")
        return short_traceback(self, [(name, getattr(self, name)) for name in support])


def _rebuild(kind: type[MediaError], message: str, details: dict[str, Any]) -> MediaError:
    return kind(message, **details)


class InvalidRequest(MediaError):
    """The request can't work as it is: refused before it was sent, or by the server. Nothing was paid."""


class ModelRetired(InvalidRequest):
    """The model is no longer served by this host.

    Attributes:
        date: ISO date on which the host switched the model off.
        successor: The model to use instead, or None where there is none.
    """

    date: str | None = None
    successor: str | None = None


class AuthenticationFailed(MediaError):
    """The provider refused the credentials (HTTP 401 or 403)."""


class ContentRejected(MediaError):
    """The provider's moderation refused the prompt, the reference or the result. Never retried.

    Attributes:
        stage: "input" or "output" where the provider says so.
        categories: The provider's names for what it objected to.
        billed: Whether the rejected job was billed; None where the provider does not say.
    """

    stage: str | None = None
    categories: tuple[str, ...] = ()
    billed: bool | None = None


class QuotaExceeded(MediaError):
    """The account has no credit or no quota left; waiting does not help."""


class BudgetExceeded(MediaError):
    """The purchase was refused because it could exceed the budget. Nothing was sent.

    Attributes:
        limit_usd: The budget's limit, in USD.
        spent_usd: What is spent already, in USD; None where the price of this purchase is not known.
        reserved_usd: What is reserved for purchases under way, in USD.
        needed_usd: The most that this purchase can cost; None where its price is not known.
    """

    limit_usd: float | None = None
    spent_usd: float | None = None
    reserved_usd: float | None = None
    needed_usd: float | None = None


class RateLimited(MediaError):
    """Too many requests; nothing was accepted.

    Attributes:
        retry_after: Seconds to wait, as the provider asked; None where it did not.
    """

    transient = True
    retry_after: float | None = None


class ProviderUnavailable(MediaError):
    """The provider can't be reached or is overloaded, and certainly did not take the request.

    Attributes:
        retry_after: Seconds to wait, as the provider asked; None where it did not.
    """

    transient = True
    retry_after: float | None = None


class SubmissionInDoubt(MediaError):
    """The reply to a paid request was lost, so the provider may or may not have taken it.

    Attributes:
        key: The purchase's key on the ledger.
        candidates: Ids of the jobs on the provider's list that may be this one.
    """

    key: str | None = None
    candidates: tuple[str, ...] = ()


class NotFound(MediaError):
    """The server answered HTTP 404 to a request that costs nothing: it has no such job, list or route."""


class JobFailed(MediaError):
    """The provider accepted the job and could not finish it (`code` is the provider's).

    Attributes:
        billed: Whether the failed job was billed; None where the provider does not say.
    """

    billed: bool | None = None


class JobExpired(JobFailed, NotFound):
    """A job that was bought, or its content, no longer exists at the provider."""


class JobTimedOut(MediaError):
    """The deadline passed while the job was still running. It is billed and may still finish.

    Attributes:
        timeline: Each change of the job's status in order: seconds since the wait began, and the new status.
    """

    timeline: tuple[tuple[float, str], ...] = ()


class ReviewTimedOut(MediaError):
    """Nobody answered a question in time, and it has no default.

    Attributes:
        question: The question.
    """

    question: str | None = None


class DownloadCorrupt(MediaError):
    """The content arrived broken: cut short, or not the kind of file that was asked for."""

    transient = True


class StoreError(MediaError):
    """The store can't be read or written."""

    transient = True


ERRORS: dict[str, type[MediaError]] = {
    kind.__name__: kind
    for kind in (
        InvalidRequest,
        ModelRetired,
        AuthenticationFailed,
        ContentRejected,
        QuotaExceeded,
        BudgetExceeded,
        RateLimited,
        ProviderUnavailable,
        SubmissionInDoubt,
        NotFound,
        JobFailed,
        JobExpired,
        JobTimedOut,
        ReviewTimedOut,
        DownloadCorrupt,
        StoreError,
    )
}
"""The errors that a record can name; the failure of any other name is read as a `MediaError`."""
