"""How a purchase is to be made."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .budget import Budget
from .steps import OnStep

OnDoubt = Literal["raise", "resubmit"]
OnPartial = Callable[[bytes, int], object]
"""Takes a preview of an image and its number, from 0; may be async. What it raises is only logged."""


@dataclass(frozen=True, slots=True)
class PurchaseOptions:
    """How a purchase is to be made.

    Attributes:
        scope: What the purchase is unique within, such as a flow run.
        timeout: Seconds to wait for the result.
        queue_timeout: Seconds a video job may wait in the provider's queue; None leaves it to `timeout`.
        on_doubt: What to do when it can't be known whether the provider took the request.
        budget: What may be spent; None is no limit.
        retry_failed: Whether to buy again what failed before in this scope.
        cancel_remote: Whether to delete the job at the provider when the wait is cancelled.
        flow_run_id: The outermost flow run, for the index.
        flow_name: Name of the flow, for the names of media.
        on_step: Called at each step of the purchase; what it raises is only logged.
        on_partial: Called with each preview of an image that is being made.
        partial_images: How many previews of an image to ask for; 0 asks for none.
        logger: Where to say what is going on.
    """

    scope: str
    timeout: float
    on_doubt: OnDoubt = "raise"
    budget: Budget | None = None
    retry_failed: bool = False
    cancel_remote: bool = False
    flow_run_id: str | None = None
    flow_name: str | None = None
    queue_timeout: float | None = None
    on_step: OnStep | None = None
    on_partial: OnPartial | None = None
    partial_images: int = 0
    logger: logging.Logger | logging.LoggerAdapter[Any] = field(
        default_factory=lambda: logging.getLogger("prefect_media")
    )
