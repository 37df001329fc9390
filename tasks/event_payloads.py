"""What each Prefect event carries: its payload, field by field. docs/events.md shows the same to people."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Payload(BaseModel):
    """What all payloads share: unknown fields are a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PurchasePayload(Payload):
    """What the events of a purchase have in common. Prompts are not in events; `prefect-media jobs show` has them."""

    purchase: str | None = Field(description="Key of the purchase on the ledger; null for a job that is not on it.")
    operation: str = Field(description='"generate", "edit", "remix", "extend", "batch" or "adopt".')
    model: str = Field(description="Model or deployment.")
    host: str = Field(description="Host and port of the provider.")
    job_id: str | None = Field(description="The provider's id of the job or batch; null where there is none.")
    count: int = Field(description="Images, or requests of a batch; 1 for a video.")
    size: str | None = Field(description='"WIDTHxHEIGHT", where it is known.')
    seconds: float | None = Field(description="Length of a video, where it is known.")


class Submitted(PurchasePayload):
    """`video.submitted`, `batch.submitted`: a job was bought and is on record."""

    estimated_usd: float | None = Field(description="The estimated cost in USD; null where it is unknown.")


class Started(PurchasePayload):
    """`video.started`, `video.resumed`: the provider works on the job, or does so again after a stall."""

    status: str | None = Field(description="The provider's own word.")
    progress: float | None = Field(description="Per cent, where the provider tells it.")


class Stalled(Started):
    """`video.stalled`: a job has not changed for `PREFECT_MEDIA_STALL_SECONDS`; sent once for each such while."""

    seconds_without_change: float = Field(description="For how long it has not changed.")


class Made(PurchasePayload):
    """`image.created`, `video.completed`: assets are stored and on record."""

    assets: list[str] = Field(description="Where they are.")
    bytes: int = Field(description="Their size together.")
    cost_usd: float | None = Field(description="The actual cost in USD; null where it is unknown.")


class BatchCompleted(PurchasePayload):
    """`batch.completed`: the provider is done with a batch; its images are stored next."""

    status: str | None = Field(description="The provider's own word.")


class Failed(PurchasePayload):
    """`image|video|batch.failed`, `image|video|batch.rejected`: nothing was made, and no retry will change that."""

    error: str = Field(description="Name of the error's class.")
    message: str = Field(description="What went wrong and what to do.")
    code: str | None = Field(description="The provider's own word for the error.")
    billed: bool | None = Field(description="Whether it was billed all the same; null where that is unknown.")


class Doubt(PurchasePayload):
    """`doubt.raised`: the reply to a paid request was lost, and it can't be known whether the provider took it."""

    message: str = Field(description="What is known and what to do.")
    candidates: list[str] = Field(description="Ids of the provider's jobs that it may be.")
    command: str = Field(description="The command that clears it.")


class BudgetPayload(PurchasePayload):
    """`budget.reserved`, `budget.exceeded`: a price was reserved in a budget, or did not fit into it."""

    budget: str = Field(description="Path of the budget's account in the store.")
    limit_usd: float | None = Field(description="What may be spent.")
    spent_usd: float | None = Field(description="What is spent.")
    reserved_usd: float | None = Field(description="What is reserved for purchases under way.")
    used_percent: float | None = Field(description="Spent and reserved, of the limit.")
    needed_usd: float | None = Field(description="What this purchase is estimated to cost.")


class Published(Payload):
    """`published`: assets were copied to where they are used, with a manifest."""

    manifest: str = Field(description="Where the manifest is.")
    assets: list[str] = Field(description="Where the assets are: the first hundred.")
    count: int = Field(description="How many there are.")
    bytes: int = Field(description="Their size together.")
    total_cost_usd: float | None = Field(description="What they cost in USD; null where any price is unknown.")


class ModelEnding(Payload):
    """`model.ending`: a model in use goes away; sent by the flow `model_watch`."""

    what: Literal["gone", "going", "unlisted", "date differs"] = Field(description="What was noticed.")
    ends: str = Field(description='ISO date on which it ends, or "None".')
    successor: str | None = Field(description="What to use instead, where the catalog knows.")
    sentence: str = Field(description="The same for people.")


class Waiting(Payload):
    """`flow.waiting`: a flow run is about to be suspended."""

    waited_for: Literal["jobs", "review"] = Field(description="Whether jobs or a person are waited for.")
    jobs: list[str] = Field(description="Ids of the jobs: the first hundred.")
    deadline: str = Field(description="When it is woken at the latest (UTC, ISO 8601).")


class Woken(Payload):
    """`flow.woken`: a waker resumed a flow run. One whose question was answered is resumed by Prefect itself."""

    reason: Literal["finished", "deadline", "no form"] = Field(description="Why it was resumed.")
    waited_for: Literal["jobs", "review"] = Field(description="Whether jobs or a person were waited for.")
    jobs: list[str] = Field(description="Ids of the jobs: the first hundred.")
    seconds: float = Field(description="How long it slept.")


class Asked(Payload):
    """What the events of a question to people have in common."""

    review: str = Field(description="Key of the question, the same in every event about it.")
    kind: Literal["choose", "approve"] = Field(description="What is asked for.")
    question: str = Field(description="The question.")
    assets: list[str] = Field(description="Where the assets are that it is about.")
    count: int = Field(description="How many there are.")


class ReviewRequested(Asked):
    """`review.requested`: a question is shown in Prefect's page of the flow run."""

    deadline: str = Field(description="Until when it can be answered (UTC, ISO 8601).")


class ReviewAnswered(Asked):
    """`review.answered`: the flow run has read the answer, which is on record."""

    chosen: list[int] = Field(description="Numbers of the chosen assets, from 1.")
    approved: bool | None = Field(description="The decision, where there was one to take.")
    text: str = Field(description="Notes, or the reason.")
    seconds: float = Field(description="How long after the question was asked.")


class ReviewTimedOut(Asked):
    """`review.timed-out`: nobody answered in time."""

    default: bool = Field(description="Whether the flow run goes on with a default; otherwise it got an error.")
    chosen: list[int] = Field(description="Numbers of the assets that are the default.")
    approved: bool | None = Field(description="The default decision, where there is one.")


PREFIX = "prefect-media."

PAYLOADS: dict[str, type[Payload]] = {
    "image.created": Made,
    "image.failed": Failed,
    "image.rejected": Failed,
    "video.submitted": Submitted,
    "video.started": Started,
    "video.stalled": Stalled,
    "video.resumed": Started,
    "video.completed": Made,
    "video.failed": Failed,
    "video.rejected": Failed,
    "batch.submitted": Submitted,
    "batch.completed": BatchCompleted,
    "batch.failed": Failed,
    "batch.rejected": Failed,
    "budget.reserved": BudgetPayload,
    "budget.exceeded": BudgetPayload,
    "doubt.raised": Doubt,
    "published": Published,
    "model.ending": ModelEnding,
    "flow.waiting": Waiting,
    "flow.woken": Woken,
    "review.requested": ReviewRequested,
    "review.answered": ReviewAnswered,
    "review.timed-out": ReviewTimedOut,
}
"""All events by name, without `PREFIX`."""
