"""What a video job is, and what each answer about one means. Nothing here does input or output, or reads a clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from .cleaning import sentence
from .errors import ContentRejected, JobExpired, JobFailed, JobTimedOut, MediaError, ProviderUnavailable, RateLimited
from .figures import LEAST_PAUSE, amount

Phase = Literal["waiting", "running", "done", "failed"]

# Every status word seen on a server that speaks /v1/videos; a word not listed here keeps the job running.
WAITING = {"queued", "pending", "submitted", "not_start", "preparing", "created", "starting", "unknown"}
RUNNING = {"in_progress", "processing", "running", "generating", "cancelling"}
DONE = {"completed", "complete", "success", "succeeded", "finished", "done"}
FAILED = {"failed", "failure", "fail", "error", "cancelled", "canceled", "expired", "deleted"}
KNOWN = WAITING | RUNNING | DONE | FAILED


class VideoJob(BaseModel):
    """A video job at a provider, with everything needed to resume it from anywhere. Never a secret."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    provider: Literal["openai", "azure"] = Field(description="Which API the job was made with.")
    base_url: str = Field(description="The server the job was made at.")
    api_version: str | None = Field(default=None, description="Azure's api-version the job was made with.")
    dialect: str = Field(default="openai", description="How that server speaks the Videos API.")
    model: str = Field(description="Model or deployment.")
    id: str = Field(description="The provider's id of the job.")
    fingerprint: str = Field(description="SHA-256 of the normalised request.")
    submitted_at: datetime = Field(description="When the provider took the job (UTC).")
    purchase: str | None = Field(default=None, description="Key of its purchase on the ledger.")
    size: str | None = Field(default=None, description='"WIDTHxHEIGHT", as ordered or else as the server said.')
    seconds: str | None = Field(default=None, description="Duration, as ordered or else as the server said.")

    @property
    def kind(self) -> tuple[str, str | None, str | None]:
        """Model, size and seconds: what decides how long it takes."""
        return self.model, self.size, self.seconds


@dataclass(frozen=True, slots=True)
class JobState:
    """One look at a job, as the server described it."""

    id: str
    status: str
    progress: float | None = None
    """Per cent, from 0 to 100, where the server tells."""
    error_code: str | None = None
    error_message: str | None = None
    model: str | None = None
    prompt: str | None = None
    size: str | None = None
    seconds: str | None = None
    created_at: float | None = None
    """Unix time in seconds."""
    remixed_from: str | None = None
    cost_usd: float | None = None
    """What the server says that the job cost, in USD."""
    look_again_after: float | None = None
    """Seconds the server asked us to wait before the next look."""
    content_url: str | None = field(default=None, repr=False)
    """Where a finished video lies that the server itself does not serve; signed, so it is on no record."""

    @property
    def phase(self) -> Phase:
        """Where the job stands. A word nobody knows counts as running: giving up on a paid job is worse."""
        word = self.status.lower()
        if word in DONE:
            return "done"
        if word in FAILED:
            return "failed"
        return "waiting" if word in WAITING else "running"

    @classmethod
    def parse(cls, body: object, *, look_again_after: float | None = None) -> "JobState | None":
        """Read a job from a server's JSON, however loosely it follows the schema; None if there is no job in it."""
        if not isinstance(body, Mapping):
            return None
        row = cast(Mapping[str, Any], body)
        identity, status = row.get("id"), row.get("status")
        if not isinstance(identity, str) or not identity.strip() or not isinstance(status, str):
            return None
        error = row.get("error")
        code, message = None, None
        if isinstance(error, Mapping):
            fields = cast(Mapping[str, Any], error)
            code, message = fields.get("code") or fields.get("type"), fields.get("message")
        elif error:
            message = error
        return cls(
            id=identity,
            status=status,
            progress=_per_cent(row.get("progress")),
            error_code=None if code is None else sentence(str(code), 200),
            error_message=None if message is None else sentence(str(message)),
            model=_text(row.get("model")),
            prompt=_text(row.get("prompt")),
            size=_text(row.get("size")),
            seconds=_text(row.get("seconds")),
            created_at=_unix_seconds(row.get("created_at")),
            remixed_from=_text(row.get("remixed_from_video_id")),
            cost_usd=amount(row.get("cost_usd")),
            look_again_after=look_again_after,
            content_url=_text(row.get("content_url")),
        )


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to put up with what; all in seconds but `poll_errors`."""

    timeout: float
    """From the beginning of the wait to its end, the queue included."""
    queue_timeout: float | None = None
    """From the beginning of the wait to the first sign that the provider works on the job."""
    stall: float = 600.0
    """Without any change until a warning is given."""
    poll_errors: int = 10
    """Failed looks in a row until watching is given up for now."""
    unknown: float = 20.0
    """From the submission, during which a server need not know its own job yet."""


UNKNOWN_LOOKS = 3
"""Looks in a row that must say that there is no such job: a balanced server's newest replica may not know it yet."""

LONGEST_AFTER_ERROR = 15.0
"""Longest pause after a failed look, in seconds."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The job is to be looked at again; times on the clock that the `Watch` was given."""

    not_before: float
    """What the server asked for, or what a failed look makes wise."""
    not_after: float
    """When the deadline is decided. Always goes before `not_before`: a paid job gets its last look."""


@dataclass(frozen=True, slots=True)
class Done:
    """The job is done; its content can be fetched."""

    state: JobState


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about a job that a person may want to know; the wait goes on."""

    kind: Literal["stalled", "unknown_status"]
    text: str
    seconds: float = 0.0
    """How long there was no change, of a job that stalled."""


Verdict = LookAgain | Done | MediaError
"""What to do after a look; an error is to be raised."""


class Watch:
    """The wait for one job: takes what looks at it brought, and says what to do then.

    Args:
        job_id: The provider's id of the job.
        patience: How long to put up with what.
        now: When the wait begins, in seconds on any clock that never goes back.
        age: Seconds since the job was submitted.
    """

    def __init__(self, job_id: str, patience: Patience, *, now: float, age: float = 0.0) -> None:
        self.job_id = job_id
        self.deadline = now + patience.timeout
        self.state: JobState | None = None
        self.notices: list[Notice] = []
        """What was noticed so far; whoever tells people about it takes it out."""
        self._patience = patience
        self._began = now
        self._born = now - max(0.0, age)
        self._misses = 0
        self._refused = 0
        self._unknown = 0
        self._changed = now
        self._stalled = False
        self._words: set[str] = set()
        self._timeline: list[tuple[float, str]] = []

    def saw(self, state: JobState, now: float) -> Verdict:
        """What a good answer means."""
        self._misses = self._refused = self._unknown = 0
        self._note(state, now)
        if state.phase == "done":
            return Done(state)
        if state.phase == "failed":
            return self._failure(state)
        return self._patiently(now, now + (amount(state.look_again_after) or 0.0))

    def missed(self, error: MediaError, now: float) -> Verdict:
        """What a failed look means: mostly nothing, because a look that failed says little about the job."""
        if isinstance(error, JobExpired):
            self._unknown += 1
            if self._unknown >= UNKNOWN_LOOKS and now - self._born > self._patience.unknown:
                said = f"job {self.job_id} is gone at the provider: {error.message}"
                return JobExpired(said, **{**error.details, "job_id": self.job_id})
            return self._patiently(now, now + _pause_after(self._unknown))
        if not isinstance(error, ProviderUnavailable | RateLimited):
            return self._told(error)
        if isinstance(error, RateLimited):
            self._refused += 1  # a server that says so is well, and so may the job be: only the deadline ends that
        else:
            self._misses += 1
        if self._misses >= self._patience.poll_errors:
            return self._told(error)
        pause = _pause_after(self._misses + self._refused)
        if (asked := amount(error.retry_after)) is not None:
            pause = max(pause, asked, LEAST_PAUSE)
        return self._patiently(now, now + pause)

    def overdue(self) -> JobTimedOut:
        """The error of a wait that ran out, be it while a look was on its way."""
        status = self.state.status if self.state else "unknown"
        return self._timed_out(f"was not done after {self._patience.timeout:g} s (it is {status})")

    def _patiently(self, now: float, not_before: float) -> LookAgain | JobTimedOut:
        queued = self.state is not None and self.state.phase == "waiting"
        queue = self._patience.queue_timeout if queued else None
        if now >= self.deadline:
            return self.overdue()
        if queue is not None and now - self._began >= queue:
            return self._timed_out(f"was still waiting in the provider's queue after {queue:g} s")
        not_after = self.deadline if queue is None else min(self.deadline, self._began + queue)
        return LookAgain(not_before=min(not_before, not_after), not_after=not_after)

    def _note(self, state: JobState, now: float) -> None:
        before, self.state = self.state, state
        if before is None or before.status != state.status:
            self._timeline.append((round(now - self._began, 3), state.status))
        word = state.status.lower()
        if word not in KNOWN and word not in self._words:
            self._words.add(word)
            text = f"job {self.job_id} has a status nobody knows, {state.status!r}; it is taken as running"
            self.notices.append(Notice("unknown_status", text))
        if before is None or (before.status, before.progress) != (state.status, state.progress):
            self._changed, self._stalled = now, False
        elif not self._stalled and now - self._changed >= self._patience.stall:
            self._stalled = True
            at = f" at {state.progress:g} %" if state.progress is not None else ""
            still = now - self._changed
            left = f"it is given up in {max(0.0, self.deadline - now) / 60:.0f} min"
            text = f"job {self.job_id} is {state.status}{at} for {still / 60:.0f} min; {left}"
            self.notices.append(Notice("stalled", text, still))

    def _failure(self, state: JobState) -> MediaError:
        said = state.error_message or f"the provider says {state.status!r} and nothing else"
        about: dict[str, Any] = {"job_id": self.job_id, "code": state.error_code}
        if state.cost_usd is not None:
            about["billed"] = state.cost_usd > 0
            said += f" (billed {state.cost_usd:g} USD)" if about["billed"] else " (not billed)"
        if (state.error_code and "moderation" in state.error_code) or state.error_code == "content_policy_violation":
            stopped = f"job {self.job_id} was stopped by moderation: {said}; change the prompt"
            return ContentRejected(stopped, stage="output", **about)
        if state.status.lower() == "expired":
            return JobExpired(f"job {self.job_id} expired at the provider: {said}", **about)
        return JobFailed(f"job {self.job_id} failed: {said}; pass retry_failed=True to buy it again", **about)

    def _timed_out(self, what: str) -> JobTimedOut:
        return JobTimedOut(
            f"job {self.job_id} {what}. "
            "It is billed and may still finish: run the same again, or prefect-media jobs resume (with --store, "
            "where it is not the default one)",
            job_id=self.job_id,
            timeline=tuple(self._timeline),
        )

    def _told(self, error: MediaError) -> MediaError:
        error.job_id = error.details["job_id"] = self.job_id
        return error


def _pause_after(failures: int) -> float:
    """Seconds after the nth failure in a row: a blip is over at once, a restart takes a minute."""
    return min(0.25 * 2 ** min(failures - 1, 10), LONGEST_AFTER_ERROR)


def _number(value: object) -> float | None:
    """A number that can be reckoned with; JSON may carry others, such as NaN and ones with a thousand digits."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if abs(value) < 1e18 else None


def _per_cent(value: object) -> float | None:
    """Progress, however it is told: 45, 45.0, "45%", or 0.45 of the whole."""
    if isinstance(value, str):
        try:
            value = float(value.strip().removesuffix("%"))
        except ValueError:
            return None
        fraction = False
    else:
        fraction = isinstance(value, float)
    number = _number(value)
    if number is None:
        return None
    return min(100.0, max(0.0, number * 100 if fraction and 0 < number < 1 else number))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _unix_seconds(value: object) -> float | None:
    """Unix time in seconds; some servers count milliseconds."""
    number = _number(value)
    return number / 1000 if number is not None and number > 100_000_000_000 else number
