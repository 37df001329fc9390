"""Task runs that a task worker runs in the background, ordered by `.delay`; one keeps its id when it is run again."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import TaskRun, TaskRunResult
from prefect.context import TaskRunContext
from prefect.exceptions import ObjectNotFound

from prefect_media.errors import InvalidRequest
from prefect_media.runtime.retry import retrying

MOST_LEVELS = 20
"""How deep tasks may call one another."""

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Between looks for a task run that Prefect's server has yet to hear of."""


async def background_run_id() -> str | None:
    """The id of the outermost task run here, if a task worker runs it."""
    context = TaskRunContext.get()
    if context is None:
        return None
    async with get_client() as client:
        run_id = await _outermost(client, context.task_run)
        states = await client.read_task_run_states(run_id)
    # Of a run that was not ordered by `.delay`, the server may know nothing yet.
    return str(run_id) if any(state.state_details.deferred for state in states) else None


async def _outermost(client: PrefectClient, run: TaskRun) -> UUID:
    for _ in range(MOST_LEVELS):
        parent = next(
            (each.id for each in run.task_inputs.get("__parents__", ()) if isinstance(each, TaskRunResult)), None
        )
        if parent is None:
            break
        try:
            run = await retrying(
                partial(client.read_task_run, parent), PAUSES, lambda error: isinstance(error, ObjectNotFound)
            )
        except ObjectNotFound:
            raise InvalidRequest(
                f"Prefect's server does not know the task run {parent} around this one, so it is not known what "
                'scope="run" is here; pass "forever" or a name of your own; nothing was sent'
            ) from None
    return run.id
