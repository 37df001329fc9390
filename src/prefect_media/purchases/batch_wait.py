"""Waiting for an image batch without fetching it."""

from __future__ import annotations

from ..errors import JobTimedOut, ProviderUnavailable, RateLimited
from ..image_batch import ImageBatch
from ..providers.connection import Connection
from ..purchase_options import PurchaseOptions
from ..runtime import clock
from ..settings import settings
from ..storage.store import Storage
from .batch_fetch import LONGEST_PAUSE, is_finished


async def wait(connection: Connection, batch: ImageBatch, storage: Storage, options: PurchaseOptions) -> None:
    """Wait until a batch is finished; one that failed is finished too.

    Raises:
        errors.JobTimedOut: It was not finished in time; it goes on, and can be fetched later.
        errors.InvalidRequest: It was made at another server than the credentials are for, or is not on this ledger.
        errors.MediaError: It can't be looked at.
    """
    deadline, pause = clock.monotonic() + options.timeout, settings().poll_seconds
    while True:
        try:
            if await is_finished(connection, batch, storage):
                return
        except (ProviderUnavailable, RateLimited) as error:
            options.logger.info("Batch %s can't be looked at now: %s", batch.id, error)
        left = deadline - clock.monotonic()
        if left <= 0:
            raise JobTimedOut(f"batch {batch.id} was not finished after {options.timeout:g} s", job_id=batch.id)
        await clock.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)
