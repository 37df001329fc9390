"""The steps of a purchase, for whoever shows them: a log, a page, an event, a trace. Showing never fails a purchase."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from .assets import Asset
from .budget import BudgetState
from .errors import BudgetExceeded, ContentRejected, MediaError, SubmissionInDoubt
from .runtime import clock

StepKind = Literal[
    "reused",
    "reserved",
    "over_budget",
    "submitted",
    "queued",
    "started",
    "progress",
    "stalled",
    "interrupted",
    "finished",
    "stored",
    "failed",
    "rejected",
    "doubt",
    "cancelled",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One moment in the life of a purchase. Never a secret.

    A purchase goes through some of these, in this order: "reused" (it was bought before in this scope; nothing is
    paid), "reserved" (its price is reserved in a budget), "submitted" (an image request leaves, a video job or a batch
    is on record), "queued" and "started" (the first look at a job that shows it waiting or running), "progress" (each
    further look), "stalled" (a job has not changed for a while, once for each such while), "interrupted" (the wait for
    a job was cancelled; the job goes on and stays on record), "finished" (the provider is done with a job), "stored"
    (the assets are on record). It ends early with "over_budget", "rejected" (moderation), "doubt" (a reply was lost) or
    "failed" (any other error, also one that the next attempt may cure: see `error.transient`), and with "cancelled"
    where the task was: a job that goes on was "interrupted" before.

    Attributes:
        kind: What happened.
        at: When, by this machine's clock (UTC).
        purchase: Key of the purchase on the ledger; None for a job that is not on it.
        operation: "generate", "edit", "remix", "extend", "batch", or "adopt" for a job known by its id only.
        media: What is bought.
        model: Model or deployment, where the request or the job names one.
        host: Host and port of the provider.
        prompt: The prompt, where it is known.
        size: "WIDTHxHEIGHT", where it is known.
        seconds: Length of the video as ordered or else as the server tells it, where it is known.
        count: Images asked for; of a batch its requests; 1 for a video.
        job_id: The provider's id of the job or batch, once there is one.
        submitted_at: When the job was submitted, once it is (UTC).
        status: The provider's own word for the job's state.
        progress: Per cent, 0 to 100, where the provider tells it.
        waited_seconds: For how long a stalled job has not changed.
        cost_usd: The estimate when reserved or submitted, the actual cost when stored or reused; None is unknown.
        bytes: Size of the stored assets together.
        assets: What was stored, or bought before.
        error: Why it ended early.
        budget: The budget it counts against, after a reservation or a refusal.
    """

    kind: StepKind
    at: datetime
    purchase: str | None
    operation: str
    media: Literal["image", "video"]
    model: str
    host: str
    prompt: str | None = None
    size: str | None = None
    seconds: float | None = None
    count: int = 1
    job_id: str | None = None
    submitted_at: datetime | None = None
    status: str | None = None
    progress: float | None = None
    waited_seconds: float | None = None
    cost_usd: float | None = None
    bytes: int | None = None
    assets: tuple[Asset, ...] = ()
    error: MediaError | None = None
    budget: BudgetState | None = None


OnStep = Callable[[Step], None]
"""Called at each step of a purchase, on its event loop: quick, and not async. What it raises is only logged."""


class StepReporter:
    """Reports the steps of one purchase.

    Args:
        on_step: Who is told; None reports nothing.
        logger: Where an error of `on_step` is logged.
        budget: Path of the account that the purchase counts against, if any.
        purchase: The fields of `Step` that are the same in all steps of the purchase.
    """

    def __init__(
        self,
        on_step: OnStep | None,
        logger: logging.Logger | logging.LoggerAdapter[Any],
        *,
        budget: str | None = None,
        purchase: dict[str, Any],
    ) -> None:
        self._on_step, self._logger, self._budget, self._purchase = on_step, logger, budget, purchase

    def report(self, kind: StepKind, **details: Any) -> None:
        """Report a step; `details` are fields of `Step`. Raises nothing."""
        if self._on_step is None:
            return
        try:
            self._on_step(Step(kind=kind, at=clock.now(), **{**self._purchase, **details}))
        except Exception as error:  # the purchase may be paid for, and goes on whether anybody hears of it or not
            self._logger.warning("A step (%s) could not be shown: %s: %s", kind, type(error).__name__, error)

    def report_stored(self, assets: tuple[Asset, ...], cost_usd: float | None, **details: Any) -> None:
        """Report that assets are stored and on record."""
        size = sum(asset.size_bytes for asset in assets)
        self.report("stored", assets=assets, cost_usd=cost_usd, bytes=size, **details)

    def report_error(self, error: MediaError) -> None:
        """Report the error that a purchase ends with."""
        match error:
            case BudgetExceeded():
                figures = (error.limit_usd, error.spent_usd, error.reserved_usd)
                budget = None if self._budget is None else BudgetState(self._budget, *figures)
                self.report("over_budget", error=error, budget=budget)
            case ContentRejected():
                self.report("rejected", error=error)
            case SubmissionInDoubt():
                self.report("doubt", error=error)
            case _:
                self.report("failed", error=error)

    @contextmanager
    def report_errors(self) -> Generator[None]:
        """Report the error, or the cancellation, that ends what happens in this context, and raise it on."""
        try:
            yield
        except MediaError as error:
            self.report_error(error)
            raise
        except asyncio.CancelledError:
            self.report("cancelled")
            raise

    @contextmanager
    def report_interruption(self, job_id: str | None) -> Generator[None]:
        """Report a job that goes on although nobody waits for it any more."""
        try:
            yield
        except asyncio.CancelledError:
            self.report("interrupted", job_id=job_id)
            raise
