"""The run that calls: whether there is one, and its logger. Needs no block, so that blocks can use what reports."""

from __future__ import annotations

import logging
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger


def run_logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The logger of the current run, or the package's own outside of runs."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("prefect_media")


def in_run() -> bool:
    """Whether a flow or a task is running here, so that artifacts have somewhere to go."""
    return FlowRunContext.get() is not None or TaskRunContext.get() is not None
