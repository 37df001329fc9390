"""What a video job is and when to look at it next. Nothing in this file does any input or output."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

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


@dataclass(frozen=True, slots=True)
class JobState:
    """One look at a job, as the server described it."""

    id: str
    status: str
    progress: float | None = None
    """Per cent, where the server tells."""
    error_code: str | None = None
    error_message: str | None = None
    model: str | None = None
    prompt: str | None = None
    size: str | None = None
    seconds: str | None = None
    created_at: float | None = None
    """Unix time in seconds."""
    remixed_from: str | None = None
    look_again_after: float | None = None
    """Seconds the server asked us to wait before the next look."""

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
        if not isinstance(identity, str) or not isinstance(status, str):
            return None
        error = row.get("error")
        code, message = None, None
        if isinstance(error, Mapping):
            fields = cast(Mapping[str, Any], error)
            code, message = fields.get("code") or fields.get("type"), fields.get("message")
        elif error:
            message = error
        progress = row.get("progress")
        return cls(
            id=identity,
            status=status,
            progress=float(progress) if isinstance(progress, int | float) else None,
            error_code=_text(code),
            error_message=_text(message),
            model=_text(row.get("model")),
            prompt=_text(row.get("prompt")),
            size=_text(row.get("size")),
            seconds=_text(row.get("seconds")),
            created_at=_unix_seconds(row.get("created_at")),
            remixed_from=_text(row.get("remixed_from_video_id")),
            look_again_after=look_again_after,
        )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _unix_seconds(value: object) -> float | None:
    """Unix time in seconds; some servers count milliseconds."""
    if not isinstance(value, int | float):
        return None
    return value / 1000 if value > 100_000_000_000 else float(value)


def next_look(waited: float, state: JobState | None, *, longest: float) -> float:
    """Seconds until the next look at a job.

    Looks are frequent at first and rarer as the job gets older, a tenth of the time already waited, never
    rarer than `longest` seconds and never sooner than the server asks for; spread by up to a fifth so that
    jobs started together are not asked about together.

    Args:
        waited: Seconds since the wait began.
        state: The last look, if there was one.
        longest: The longest pause, in seconds.
    """
    pause = min(max(0.25, waited / 10), longest)
    pause *= random.uniform(0.8, 1.0)
    hint = state.look_again_after if state else None
    return max(pause, hint) if hint is not None else pause
