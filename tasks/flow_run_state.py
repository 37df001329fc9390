"""Flow runs at Prefect's server: how many it lists per request, and whether one is over."""

from __future__ import annotations

import asyncio
import logging
from uuid import UUID

from prefect import get_client
from prefect.settings import get_current_settings

FLOW_RUNS_PER_REQUEST = 200
"""Prefect's API returns at most this many."""

PATIENCE = 10.0
"""Seconds that an answer may take."""

_logger = logging.getLogger("prefect_media")


async def final_state_of(flow_run_id: str) -> str | None:
    """The type of the state that a flow run ended in, such as COMPLETED; None while it goes on or nobody can say.

    Raises nothing. No server is started for the question.
    """
    if not get_current_settings().api.url:
        return None
    try:
        async with asyncio.timeout(PATIENCE), get_client() as client:
            run = await client.read_flow_run(UUID(flow_run_id))
    except Exception as error:  # who looks on can do without the answer
        _logger.debug("Prefect could not be asked about the flow run %s: %s", flow_run_id, error)
        return None
    return run.state.type.value if run.state and run.state.is_final() else None
