"""What a video job is, and what each answer about one means. Nothing here does input or output, or reads a clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from . import display
from .cleaning import LONGEST, quote_provider, sentence
from .errors import JobExpired, NotFound
from .figures import amount, finite

if TYPE_CHECKING:
    from rich.table import Table

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

    def _repr_html_(self) -> str:
        return display.card(f"Video job {self.id}", self._facts())

    def __rich__(self) -> "Table":
        return display.table(f"Video job {self.id}", self._facts())

    def _facts(self) -> display.Facts:
        return (
            ("model", self.model or None),
            ("server", urlsplit(self.base_url).netloc.rpartition("@")[2]),
            ("size", self.size),
            ("length", self.seconds and f"{self.seconds} s"),
            ("submitted", f"{self.submitted_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("purchase", self.purchase),
            ("next", "fetch_video(credentials, job, store=...) waits for it and stores the video"),
        )


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
            error_message=None if message is None else sentence(str(message), LONGEST),
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


def expiry_error(job_id: str, error: NotFound) -> JobExpired:
    """The error of a job that was bought and that its server no longer has.

    Args:
        job_id: The provider's id of the job.
        error: The server's answer.
    """
    what, words = error.message.partition(";")[0], quote_provider(error.provider_message)
    message = f"job {job_id} is gone at the provider: {what}; pass retry_failed=True to buy it again{words}"
    return JobExpired(message, **{**error.details, "job_id": job_id})


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
    number = finite(value)
    if number is None:
        return None
    return min(100.0, max(0.0, number * 100 if fraction and 0 < number < 1 else number))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _unix_seconds(value: object) -> float | None:
    """Unix time in seconds; some servers count milliseconds."""
    number = finite(value)
    return number / 1000 if number is not None and number > 100_000_000_000 else number
