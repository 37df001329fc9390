"""Processes that execute a flow run or make a round of a waker, and that die where a test says.

Like the buyers of `buyer.py`: the nursery imports everything once and forks a process for each order. A flow run is
executed by Prefect's own `python -m prefect.engine`, as a worker starts it.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import sys
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import prefect.flow_engine
import prefect.flow_runs
import sleeping_flows  # noqa: F401  # as its deployment names it
from buyer import at, die, main
from prefect.exceptions import Pause
from prefect.input import RunInput
from prefect_media.tasks import ask_people, context, suspension, waiting, wake

from prefect_media.settings import settings
from prefect_media.waiting import server_look


def when_suspended(*, before: Callable[..., None] | None = None, after: Callable[..., None] | None = None) -> None:
    """Have something happen right before Prefect's server hears of the suspension, or right after."""
    at(prefect.flow_runs, "propose_state", before=before, after=after)


def at_the_signal(place: Any) -> None:
    """Die where the flow run is suspended for good, and its process is about to end."""
    original = place.asuspend

    async def suspend(*args: Any, **kwargs: Any) -> None:
        try:
            await original(*args, **kwargs)
        except Pause:
            die()

    place.asuspend = suspend


def die_of_a_result(result: object) -> None:
    if isinstance(result, list):
        die()


FLOW_POINTS: dict[str, Callable[[], None]] = {
    "before the record": lambda: at(suspension, "write", before=die),
    "after the record": lambda: at(suspension, "write", after=die),
    "before the suspension": lambda: when_suspended(before=die),
    "after the suspension": lambda: when_suspended(after=die),
    "before the end of a film": lambda: at_the_signal(waiting),
    "before the form": lambda: at(RunInput, "asave", before=die),
    "before the end of a question": lambda: at_the_signal(ask_people),
    "before the start": die,
    "woken": lambda: at(waiting, "remove_used", before=die),
    "woken, without its record": lambda: at(waiting, "remove_used", after=die),
    "after the wait": lambda: at(waiting._Wait, "step", after=die_of_a_result),  # pyright: ignore[reportPrivateUsage]
    "answered": lambda: at(ask_people, "remove_used", before=die),
    "before the answer is kept": lambda: at(ask_people, "settle", before=die),
    "after the answer is kept": lambda: at(ask_people, "settle", after=die),
}
WAKER_POINTS: dict[str, Callable[[], None]] = {
    "waker: records read": lambda: at(wake, "read_all", after=die),
    "waker: request noted": lambda: at(server_look, "_swap", after=die),
    "waker: before the resume": lambda: at(wake, "resume", before=die),
    "waker: after the resume": lambda: at(wake, "resume", after=die),
    "waker: record removed": lambda: at(wake, "remove", after=die),
}


def live(order: dict[str, Any]) -> int:
    os.environ["PREFECT_MEDIA_POLL_SECONDS"] = "0.05"
    os.environ["PREFECT_MEDIA_LEASE_SECONDS"] = "0.5"
    settings.cache_clear()
    waiting.AWAKE = 1.0  # seconds that a flow run looks at its job once it is woken
    if point := order.get("die"):
        (FLOW_POINTS | WAKER_POINTS)[point]()
    if "flow_run" not in order:
        wake.FORM_GRACE = timedelta()  # nobody saves a form while this waker looks
        asyncio.run(make_round(order["store"]))
        return 0
    os.environ["PREFECT__FLOW_RUN_ID"] = order["flow_run"]
    sys.argv = ["prefect.engine"]
    warnings.simplefilter("ignore", RuntimeWarning)  # the nursery has imported the module before it is run
    try:
        runpy.run_module("prefect.engine", run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


async def make_round(store: str) -> None:
    """A round of a waker, a minute after the last one."""
    storage = await context.storage_for(store)
    for path in [path async for path, _ in storage.list(server_look.FOLDER)]:
        await storage.delete(path)
    await wake.make_round(storage)


if __name__ == "__main__":
    main(live)
