"""What the ledger says of one purchase: one small readable JSON object."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..assets import Asset
from ..errors import ERRORS, MediaError
from ..image_batch import ImageBatch
from ..jobs import VideoJob

State = Literal["intent", "submitted", "done", "failed", "in_doubt"]


class Lease(BaseModel):
    """Who is submitting; they are believed to be alive until it was watched unchanged for its whole length."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: str
    until: datetime = Field(description="When it would end by its owner's clock; for people, decides nothing.")
    seconds: float = Field(
        default=30.0, ge=0, allow_inf_nan=False, description="Its whole length, as its owner has it set."
    )
    renewals: int = Field(default=0, description="Counted, so that no two writes of it are the same.")


class Failure(BaseModel):
    """Why a purchase came to nothing: enough to raise the same error again."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    error: str = Field(description="Name of the error's class in errors.py.")
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class Record(BaseModel):
    """One purchase."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str = Field(description="What makes the purchase the same one: scope, account and request, hashed.")
    state: State = "intent"
    scope: str
    kind: Literal["image", "video"]
    operation: str
    account: dict[str, str | None] = Field(description="Provider, host, organization and project that pay.")
    fingerprint: str = Field(description="SHA-256 of the normalised request.")
    request: dict[str, Any] = Field(description="The normalised request, reference images by their hash.")
    created_at: datetime
    updated_at: datetime
    attempt: int = 1
    doubtful: bool = Field(
        default=False, description="Whether an earlier attempt may have reached the provider and left no trace here."
    )
    server_time: float | None = Field(
        default=None,
        description="Unix time at the server, by its own clock, before the first request that may have been taken: "
        "no older job is ours. None where the server had not told it yet.",
    )
    lease: Lease | None = None
    job: VideoJob | None = None
    batch: ImageBatch | None = Field(default=None, description="The batch that this is, or that it is bought in.")
    other_jobs: tuple[str, ...] = Field(
        default=(), description="Ids of further jobs bought for this: failed ones, or duplicates after a race."
    )
    assets: tuple[Asset, ...] = ()
    failure: Failure | None = None
    cost_usd: float | None = None
    budget: str | None = Field(default=None, description="Where in the store the account lies that pays for it.")
    flow_run_id: str | None = Field(default=None, description="The outermost flow run that asked for it.")
    reference_uri: str | None = Field(default=None, description="Where the image or video that it starts from lies.")
    flow_name: str | None = Field(default=None, description="Name of the flow that asked for it first.")

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The provider's ids of all jobs that were bought for this."""
        own = self.job.id if self.job else self.batch.id if self.batch else None
        return (own, *self.other_jobs) if own and own not in self.other_jobs else self.other_jobs


def error_of(failure: Failure) -> MediaError:
    """The error that a failed purchase ended with, to be raised again; a plain one where its name is not known."""
    kind = ERRORS.get(failure.error, MediaError)
    return kind(failure.message, **{name: value for name, value in failure.details.items() if _is_detail(name, value)})


def _is_detail(name: str, value: object) -> bool:
    """Whether something on record can be an attribute of an error, and changes nothing of how errors work."""
    if name == "transient":
        return value is False  # what is on record is final
    reserved = name in ("self", "message", "details") or name.startswith("_") or hasattr(BaseException, name)
    return name.isidentifier() and not reserved


def failure_of(error: MediaError) -> Failure:
    """What to remember of an error."""
    return Failure(error=type(error).__name__, message=error.message, details=error.details)
