"""What a task run shows of its purchases, step by step. Nothing here can fail a step that was paid for."""

from __future__ import annotations

from prefect_media.requests import MediaRequest
from prefect_media.steps import OnStep, Step
from prefect_media.storage.store import Storage

from .current_run import run_logger
from .events import purchase_events
from .jobs_left import note_jobs_left
from .page_writer import show_on_page
from .run_log import log_steps
from .shots import origin_of


def show_steps(storage: Storage, request: MediaRequest | None = None) -> OnStep:
    """Shows the steps of a task's purchases: in the log of the run, on its live page, and as Prefect events.

    Args:
        storage: The store that the purchases are on record in.
        request: What is bought, where the task knows it; from it come the prompt and the lineage of the page's cards.
    """
    observers = [log_steps(), purchase_events(storage.url), note_jobs_left(storage.url)]
    if page := show_on_page(origin_of(request) if request is not None else None):
        observers.append(page)
    logger = run_logger()

    def show(step: Step) -> None:
        for observe in observers:
            try:
                observe(step)
            except Exception as error:  # one that is broken hides nothing from the others
                logger.warning("A step (%s) could not be shown: %s: %s", step.kind, type(error).__name__, error)

    return show
