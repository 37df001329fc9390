"""What can go wrong, named as a user would say it.

MediaError
├── InvalidRequest            the request can't work; nothing was sent, nothing was paid
│   └── ModelRetired            the model is gone on this host (`date`, `successor`)
├── AuthenticationFailed      no key, a wrong key, or no right to this model
├── ContentRejected           moderation said no (`stage`, `categories`); never retried
├── QuotaExceeded             the account has no credit left
├── BudgetExceeded            the purchase would pass the budget given
├── RateLimited         ↻     too many requests (`retry_after`, seconds)
├── ProviderUnavailable ↻     the server certainly did not take the request
├── SubmissionInDoubt         it can't be known whether the server took the job
├── JobFailed                 the provider gave up on the job (`code`)
│   └── JobExpired              the job or its content is gone at the provider
├── JobTimedOut               the deadline passed; the job may still finish and is billed
├── DownloadCorrupt     ↻     the content arrived broken
└── StoreError          ↻     the store could not be read or written

↻ marks what tasks retry; everything else is raised at once. Every error is one sentence for people, ends
with what to do, and carries attributes for machines. All of them survive pickling.
"""

from typing import Any

from .display import short_traceback


class MediaError(Exception):
    """The base of everything this package raises on purpose.

    Attributes:
        message: One sentence for people.
        job_id: The provider's id of the job that was bought, if one was.
        request_id: The provider's id of the HTTP request, for its support desk.
        status_code: The HTTP status the provider answered with.
        code: The provider's own word for the error.
        details: Everything else, by name; also readable as attributes.
    """

    transient = False
    """Whether trying the same again, a little later, may succeed and can't pay twice."""

    job_id: str | None = None
    request_id: str | None = None
    status_code: int | None = None
    code: str | None = None

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        for name, value in details.items():
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.details)

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of the error; IPython asks for it by this name."""
        support = ("job_id", "request_id", "status_code")
        return short_traceback(self, [(name, getattr(self, name)) for name in support])


def _rebuild(kind: type[MediaError], message: str, details: dict[str, Any]) -> MediaError:
    return kind(message, **details)


class InvalidRequest(MediaError):
    """The request can't work as it is. Raised before anything is sent or paid for."""


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
        categories: The provider's names of what was objected to.
        billed: Whether the rejected job was billed, where the provider says so; None where nobody knows.
    """

    stage: str | None = None
    categories: tuple[str, ...] = ()
    billed: bool | None = None


class QuotaExceeded(MediaError):
    """The account has no credit or no quota left; waiting does not help."""


class BudgetExceeded(MediaError):
    """The purchase was not made because it could pass the budget. Nothing was sent.

    Attributes:
        limit_usd: What may be spent, in USD.
        spent_usd: What is spent already; None where the price of this purchase is not known.
        reserved_usd: What is set aside for purchases under way.
        needed_usd: What this one would have cost.
    """

    limit_usd: float | None = None
    spent_usd: float | None = None
    reserved_usd: float | None = None
    needed_usd: float | None = None


class RateLimited(MediaError):
    """Too many requests; nothing was accepted.

    Attributes:
        retry_after: Seconds the provider asked us to wait, if it said so.
    """

    transient = True
    retry_after: float | None = None


class ProviderUnavailable(MediaError):
    """The provider can't be reached or is overloaded, and certainly did not take the request."""

    transient = True
    retry_after: float | None = None


class SubmissionInDoubt(MediaError):
    """The reply to a paid request was lost, so the provider may or may not have taken it.

    Attributes:
        key: The purchase's key on the ledger.
        candidates: Ids of the provider's jobs that may be the one, where its list shows any.
    """

    key: str | None = None
    candidates: tuple[str, ...] = ()


class JobFailed(MediaError):
    """The provider accepted the job and could not finish it (`code` is the provider's).

    Attributes:
        billed: Whether the job was billed all the same, where the provider says so; None where nobody knows.
    """

    billed: bool | None = None


class JobExpired(JobFailed):
    """The job or its content no longer exists at the provider."""


class JobTimedOut(MediaError):
    """The deadline passed while the job was still running. It is billed and may still finish.

    Attributes:
        timeline: Seconds since the wait began and the status the job then changed to, in order.
    """

    timeline: tuple[tuple[float, str], ...] = ()


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
        JobFailed,
        JobExpired,
        JobTimedOut,
        DownloadCorrupt,
        StoreError,
    )
}
"""The errors that a record may name: what else stands there is text."""
