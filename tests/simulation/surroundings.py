"""What is replaced around our code while a history happens: clocks, sockets, threads, and what processes share."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect_media.providers import batches as batches_wire
from prefect_media.providers import dialects, images, server_time, wire
from prefect_media.providers import download as content
from prefect_media.runtime import clock, per_loop
from prefect_media.storage import store as storage
from prefect_media.waiting import durations as experience

from .loop import PROCESS
from .store import run_transfer
from .wire import Client, Content

if TYPE_CHECKING:
    from .world import World


class Silent:
    """A logger that says nothing, and costs nothing."""

    def debug(self, *_: object, **__: object) -> None: ...
    def info(self, *_: object, **__: object) -> None: ...
    def warning(self, *_: object, **__: object) -> None: ...
    def error(self, *_: object, **__: object) -> None: ...


class ByProcess:
    """In place of `per_loop._by_loop`: what is shared is shared within a simulated process."""

    def setdefault(self, loop: object, default: object) -> dict[object, object]:
        return PROCESS.get().things

    def __iter__(self):
        return iter(())


class Own(MutableMapping[Any, Any]):
    """In place of a dict or a set at the top of a module: each simulated process has its own."""

    def _mine(self) -> dict[Any, Any]:
        process = PROCESS.get(None)
        return {} if process is None else process.things.setdefault(self, {})

    def __getitem__(self, key):
        return self._mine()[key]

    def __setitem__(self, key, value):
        self._mine()[key] = value

    def __delitem__(self, key):
        del self._mine()[key]

    def __iter__(self):
        return iter(self._mine())

    def __len__(self):
        return len(self._mine())

    def __hash__(self):
        return id(self)

    def add(self, key):
        self._mine()[key] = True


_ALL_TASKS: Any = getattr(asyncio.tasks, "_all_tasks" if sys.version_info < (3, 12) else "_scheduled_tasks")

PATCHES: list[tuple[Any, str, Any]] = [
    (per_loop, "_by_loop", ByProcess()),
    (experience, "_of", Own()),
    (experience, "_recalled", Own()),
    (storage, "run_transfer", run_transfer),
    (wire, "wire_client", lambda connection, retries=None: Client(retries)),
    (images, "wire_client", lambda connection, retries=None: Client(retries)),
    (content, "Content", Content),
    (batches_wire, "Content", Content),
    (server_time, "_readings", Own()),
]
"""A module, a name in it, and what stands there while a history happens."""


@contextmanager
def living_in(world: World):
    """Replace everything that is outside of our code by the world."""
    before = [(place, name, getattr(place, name)) for place, name, _ in world.patches]
    source = clock.source
    known = dialects.dialects()
    if "simulated-billed" not in known:
        known["simulated-billed"] = replace(known["openai"], name="simulated-billed", cost="usage.cost")
    _ALL_TASKS.add = id  # nobody asks for all tasks, and a weak set of them is slow
    collecting = gc.isenabled()
    gc.disable()  # what died must not be collected, and so end, in the middle of a history
    try:
        for place, name, value in world.patches:
            setattr(place, name, value)
        clock.source = world.clocks
        yield
    finally:
        clock.source = source
        del _ALL_TASKS.add
        for place, name, value in before:
            setattr(place, name, value)
        if collecting:
            gc.enable()
