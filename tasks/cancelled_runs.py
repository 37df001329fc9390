"""Purchases with `cancel_remote` end when their flow run is cancelled, whichever thread or process they run in.

Prefect interrupts the thread that the flow itself runs in. The threads and processes of its task runners hear nothing:
they are waited for, and killed when their time is up. So the state of the flow run is looked at, once in some seconds
for all purchases of a process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import CancelledRun
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from prefect_media.purchase_options import PurchaseOptions
from prefect_media.runtime import clock
from prefect_media.runtime.per_loop import shared
from prefect_media.runtime.sync import background_loop

LOOK_SECONDS = 3.0
"""Between two looks; workers kill what has not ended after 30 seconds, Docker's after 10."""

PATIENCE = 10.0
"""Seconds that a look may take."""


@contextmanager
def ended_with_flow_run(options: PurchaseOptions) -> Generator[None]:
    """Cancel the purchase in this block when its flow run, or the outermost one, is cancelled.

    Raises:
        CancelledRun: The flow run was cancelled.
    """
    runs = frozenset(UUID(run_id) for run_id in (flow_run.id, options.flow_run_id) if run_id)
    task = asyncio.current_task()
    if not options.cancel_remote or not runs or task is None or not get_current_settings().api.url:
        yield
        return
    purchase = _Purchase(runs, task, asyncio.get_running_loop(), options.logger)
    background = background_loop()
    background.call_soon_threadsafe(_begin, purchase)
    try:
        yield
    except asyncio.CancelledError:
        if not purchase.cancelled or task.uncancel() > 0:  # somebody else cancelled it, too
            raise
        raise CancelledRun("the flow run was cancelled") from None
    finally:
        background.call_soon_threadsafe(_end, purchase)


@dataclass(eq=False)
class _Purchase:
    runs: frozenset[UUID]
    task: asyncio.Task[Any]
    loop: asyncio.AbstractEventLoop
    logger: logging.Logger | logging.LoggerAdapter[Any]
    cancelled: bool = field(default=False, init=False)

    def cancel(self) -> None:
        with suppress(RuntimeError):  # it has ended, and its loop with it
            self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        # A second cancellation would interrupt what the first one has to put on record.
        if not self.task.cancelling():
            self.cancelled = self.task.cancel()


class _Watch:
    """Looks at the flow runs of all purchases that are under way. Lives on the background loop."""

    def __init__(self) -> None:
        self.purchases = set[_Purchase]()
        self._looking: asyncio.Task[None] | None = None
        self._can_look = True

    def begin(self, purchase: _Purchase) -> None:
        self.purchases.add(purchase)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while self.purchases:
            await clock.sleep(LOOK_SECONDS)
            cancelled = await self._cancelled_runs()
            for purchase in [purchase for purchase in self.purchases if purchase.runs & cancelled]:
                self.purchases.discard(purchase)
                purchase.cancel()

    async def _cancelled_runs(self) -> set[UUID]:
        runs = {run for purchase in self.purchases for run in purchase.runs}
        if not runs:
            return set()
        state = FlowRunFilterStateType(any_=[StateType.CANCELLING, StateType.CANCELLED])
        which = FlowRunFilter(id=FlowRunFilterId(any_=[*runs]), state=FlowRunFilterState(type=state))
        try:
            async with asyncio.timeout(PATIENCE), get_client() as client:
                cancelled = {run.id for run in await client.read_flow_runs(flow_run_filter=which)}
        except Exception as error:  # the next look may succeed
            if self._can_look:
                self._can_look = False
                for logger in [purchase.logger for purchase in self.purchases]:
                    logger.warning(
                        "Prefect can't be asked whether the flow run was cancelled; until it can be, cancelling it "
                        "does not end this job: %s: %s",
                        type(error).__name__,
                        error,
                    )
            return set()
        self._can_look = True
        return cancelled


def _begin(purchase: _Purchase) -> None:
    shared(_Watch, _Watch).begin(purchase)


def _end(purchase: _Purchase) -> None:
    shared(_Watch, _Watch).purchases.discard(purchase)
