"""Ending paid jobs at the provider when their flow run is cancelled.

By default nothing is ended: a job goes on, stays on record, and the next run picks it up. A crash never cancels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from prefect_media.errors import MediaError
from prefect_media.ledger.ledger import Claim, Ledger
from prefect_media.purchases.orders import connection_of
from prefect_media.purchases.videos import cancel_purchase
from prefect_media.runtime.read_ahead import read_ahead
from prefect_media.runtime.sync import run_sync

from .context import Credentials, Store, connection_to, storage_for
from .current_run import run_logger

Logger = logging.Logger | logging.LoggerAdapter[Any]


def cancel_remote_jobs(
    credentials: Credentials, store: Store | None = None
) -> Callable[[Flow[Any, Any], FlowRun, State[Any]], None]:
    """A hook for `on_cancellation` that ends the run's unfinished jobs at the provider, where it can do that.

    Prefect calls it in the worker, after the flow's process has ended; the jobs are found on the ledger.

    Example:
        ```python
        @flow(on_cancellation=[cancel_remote_jobs("my-server", "my-store")])
        async def campaign(): ...
        ```

    Args:
        credentials: The name of saved credentials (or a block) that the jobs were bought with.
        store: The store that the flow uses: a block's name, a block, a URL or a folder.
    """

    def on_cancellation(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
        # Here is no run context: the worker calls this outside of the run, whose log these lines are for.
        logger = flow_run_logger(flow_run, flow)
        run_sync(cancel_jobs_of(str(flow_run.id), credentials, store, logger=logger))

    return on_cancellation


async def cancel_jobs_of(
    flow_run_id: str, credentials: Credentials, store: Store | None = None, *, logger: Logger | None = None
) -> list[str]:
    """End the unfinished jobs of a flow run at the provider, and return their ids.

    A job that can't be ended (some servers have no way to, most delete finished ones only) stays on record, to be
    fetched later.
    """
    connection = await connection_to(credentials)
    ledger = Ledger(await storage_for(store))
    logger = logger or run_logger()

    async def end(key: str) -> str | None:
        entry = await ledger.get(key)
        if entry is None or entry[0].state != "submitted" or (job := entry[0].job) is None:
            return None
        if entry[0].account != connection.account:
            logger.warning("Job %s belongs to another account; it goes on", job.id)
            return None
        try:
            await cancel_purchase(connection_of(job, connection), job, ledger, Claim(*entry))
        except MediaError as error:
            logger.warning("Job %s could not be ended; it stays on record, to be fetched later: %s", job.id, error)
            return None
        logger.info("Ended job %s", job.id)
        return job.id

    return [job_id async for job_id in read_ahead(end, ledger.keys_of(flow_run_id)) if job_id]
