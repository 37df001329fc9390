"""Things of which there is one per event loop: clients, pollers, limits. They can't be used from another one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, Any]] = WeakKeyDictionary()
_lock = threading.RLock()  # on a loop with eager tasks, making one thing may ask for another


def shared(key: Any, make: Callable[[], T]) -> T:
    """The one object of its kind on the running event loop, made when it is first asked for."""
    with _lock:
        things = _by_loop.setdefault(asyncio.get_running_loop(), {})
        if key not in things:
            for loop in [loop for loop in _by_loop if loop.is_closed()]:
                del _by_loop[loop]
            things[key] = make()
        return things[key]
