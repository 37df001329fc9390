"""What a batch of images is, and what each answer about one means. Nothing here does input or output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from .cleaning import sentence
from .errors import InvalidRequest, JobExpired, JobFailed, MediaError
from .jobs import JobState

ENDED = {"completed", "expired", "cancelled", "failed"}
"""Status words after which nothing more is made. A word that nobody knows keeps the batch running."""

MARK = "prefect-media"
"""Name in a batch's metadata under which its key on the ledger stands, so that it is found after a lost reply."""

TOLD = 10
"""Complaints about a file that are quoted."""

FREE = "nothing was paid for it; submit the batch again, or make it alone"


class ImageBatch(BaseModel):
    """Images ordered together at half the price, with all that is needed to fetch them anywhere. Never a secret.

    Example:
        ```python
        text = batch.model_dump_json()  # tomorrow, on another machine with the same store:
        made = fetch_image_batch("my-openai", ImageBatch.model_validate_json(text), store="my-store")
        ```
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    provider: Literal["openai", "azure"] = Field(description="Which API the batch was made with.")
    base_url: str = Field(description="The server the batch was made at.")
    id: str | None = Field(
        default=None, description="The provider's id of the batch; None where everything had been bought before."
    )
    key: str = Field(description="Key of the batch on the ledger.")
    submitted_at: datetime = Field(description="When it was submitted (UTC).")
    count: int = Field(description="How many requests it answers.")

    def under_way(self, what: str) -> InvalidRequest:
        """The error of a request that is to be bought while it is in this batch."""
        return InvalidRequest(
            f"{what} is in an image batch of this scope that is not fetched yet; fetch it with fetch_image_batch or "
            f"prefect-media jobs resume {self.key[:12]}, or pass another variant to make another; nothing was sent",
            key=self.key,
        )


@dataclass(frozen=True, slots=True)
class BatchState:
    """One look at a batch, as the server described it."""

    id: str
    status: str
    key: str | None = None
    """Its key on the ledger, where we made it."""
    created_at: float | None = None
    """Unix time in seconds."""
    output_file: str | None = None
    error_file: str | None = None
    completed: int = 0
    failed: int = 0
    total: int = 0
    complaints: tuple[str, ...] = ()
    """Why the server refused its file, if it did."""

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def as_job(self) -> JobState:
        """The same in the words of a wait for a job: running, or ended one way or another."""
        made = self.completed + self.failed
        progress = 100 * made / self.total if self.total else None
        return JobState(self.id, "completed" if self.ended else "in_progress", progress)

    def silence(self) -> tuple[MediaError, bool]:
        """What it means when an ended batch says nothing of a request, and whether that may have been paid."""
        match self.status:
            case "expired":
                return JobExpired(f"batch {self.id} expired before it was made; {FREE}", job_id=self.id), False
            case "cancelled":
                return JobFailed(f"batch {self.id} was cancelled before it was made; {FREE}", job_id=self.id), False
            case "failed":
                why = "; ".join(self.complaints) or "no explanation"
                return JobFailed(f"the provider refused batch {self.id}: {why}; {FREE}", job_id=self.id), False
            case _:
                message = f"batch {self.id} is {self.status}, and its files say nothing of it that can be read"
                return JobFailed(f"{message}; pass retry_failed=True to buy it again", job_id=self.id), True

    @classmethod
    def parse(cls, body: object) -> BatchState | None:
        """Read a batch from a server's JSON; None if there is none in it."""
        row = _fields(body)
        if not isinstance(row.get("id"), str) or not isinstance(row.get("status"), str):
            return None
        counts = _fields(row.get("request_counts"))
        rows = _fields(row.get("errors")).get("data")
        errors = cast(list[object], rows)[:TOLD] if isinstance(rows, list) else []
        return cls(
            id=row["id"],
            status=row["status"],
            key=_text(_fields(row.get("metadata")).get(MARK)),
            created_at=row["created_at"] if isinstance(row.get("created_at"), int | float) else None,
            output_file=_text(row.get("output_file_id")),
            error_file=_text(row.get("error_file_id")),
            **{name: _count(counts.get(name)) for name in ("completed", "failed", "total")},
            complaints=tuple(sentence(str(_fields(error).get("message") or error), 300) for error in errors),
        )


def _fields(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
