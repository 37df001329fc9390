"""An event loop whose time is virtual: a sleep costs nothing, and everything happens in the same order every time.

Each callback belongs to a simulated process, by a context variable. What belongs to a process that was killed never
runs again, not even its `finally`: nothing of it reaches the store or the provider any more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from random import Random
from uuid import UUID

EPOCH = datetime(2026, 6, 1, tzinfo=UTC)
"""When all histories begin."""

PROCESS: ContextVar[Process] = ContextVar("simulated process")


class Process:
    """One simulated process of a buyer: what it has in memory dies with it.

    Attributes:
        name: How the history calls it.
        machine: Whose wall clock it reads.
        steps: Callbacks that it has run.
        things: What `per_loop.shared` keeps for it.
        counts: How often it did what, so that faults can name the nth time.
    """

    def __init__(self, name: str, machine: Machine) -> None:
        self.name, self.machine = name, machine
        self.dead = False
        self.steps = 0
        self.kill_at = 0
        self.freeze_at = 0
        self.freeze_for = 0.0
        self.frozen_until = 0.0
        self.things: dict[object, object] = {}
        self.counts: dict[str, int] = {}
        self.tasks: list[asyncio.Task[object]] = []
        self.context = Context()
        self.context.run(PROCESS.set, self)


class Machine:
    """A wall clock that is off by some seconds."""

    def __init__(self, name: str, offset: float) -> None:
        self.name, self.offset = name, offset


class Handle:
    """What asyncio expects of a scheduled call."""

    __slots__ = ("args", "callback", "context", "moment")

    def __init__(self, callback, args, context, moment=0.0):
        self.callback, self.args, self.context, self.moment = callback, args, context, moment

    def cancel(self):
        self.callback = self.args = None

    def cancelled(self):
        return self.callback is None

    def when(self):
        return self.moment


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs until nothing is left to do, or something is wrong."""

    def __init__(self) -> None:
        self.moment = 0.0
        self.steps = 0
        self.stopped = False
        self.on_death = None
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Handle | None, asyncio.Future[None] | None]] = []
        self._sequence = 0

    def time(self):
        return self.moment

    def call_soon(self, callback, *args, context=None):
        handle = Handle(callback, args, context if context is not None else copy_context())
        self._ready.append(handle)
        return handle

    def call_later(self, delay, callback, *args, context=None):
        return self.call_at(self.moment + delay, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        handle = Handle(callback, args, context if context is not None else copy_context(), when)
        self._sequence += 1
        heappush(self._timers, (when, self._sequence, handle, None))
        return handle

    def pause(self, seconds: float) -> asyncio.Future[None]:
        """A future that is done after some time; it belongs to no process."""
        future = asyncio.Future(loop=self)
        self._sequence += 1
        heappush(self._timers, (self.moment + seconds, self._sequence, None, future))
        return future

    def create_future(self):
        return asyncio.Future(loop=self)

    def create_task(self, coro, *, name=None, context=None, **_):
        process = PROCESS.get(None)
        if context is not None and process is not None and PROCESS not in context:
            context.run(PROCESS.set, process)  # a context of its own, but of the same process
        task = asyncio.Task(coro, loop=self, name=name or "task", context=context)
        if process is not None:
            process.tasks.append(task)
        return task

    def run_in_executor(self, executor, func, *args):
        """What a thread does takes no time here, but others run before it has ended."""
        future = self.create_future()

        def work():
            if future.done():
                return
            try:
                future.set_result(func(*args))
            except StopIteration as error:
                future.set_exception(RuntimeError(str(error)))
            except Exception as error:
                future.set_exception(error)

        self.call_soon(work)
        return future

    def call_exception_handler(self, context):
        """A task that nobody waited for; what it was about shows in the invariants."""

    get_debug = bool  # says False, quickly: every future asks

    def is_running(self):
        return True

    def is_closed(self):
        return False

    def run(self, *, until: float, most_steps: int) -> str:
        """Run everything there is; says why it ended: "idle", "late", "busy" or "stopped"."""
        ready, timers = self._ready, self._timers
        asyncio.events._set_running_loop(self)
        try:
            while not self.stopped:
                if ready:
                    handle = ready.popleft()
                elif timers:
                    when, _, handle, future = timers[0]
                    if handle is not None and handle.callback is None:
                        heappop(timers)
                        continue
                    if when > until:
                        return "late"
                    heappop(timers)
                    if when > self.moment:
                        self.moment = when
                    if handle is None:
                        if not future.done():
                            future.set_result(None)
                        continue
                else:
                    return "idle"
                callback = handle.callback
                if callback is None:
                    continue
                context = handle.context
                process = context.get(PROCESS)
                if process is not None:
                    if process.dead:
                        continue
                    if process.frozen_until > self.moment:
                        self._sequence += 1
                        heappush(timers, (process.frozen_until, self._sequence, handle, None))
                        continue
                    process.steps += 1
                    if process.steps == process.kill_at:
                        process.dead = True
                        self.on_death(process, "is killed")
                        continue
                    if process.steps == process.freeze_at:
                        process.frozen_until = self.moment + process.freeze_for
                        self.on_death(process, f"stands still for {process.freeze_for:g} s")
                        self._sequence += 1
                        heappush(timers, (process.frozen_until, self._sequence, handle, None))
                        continue
                self.steps += 1
                if self.steps > most_steps:
                    return "busy"
                context.run(callback, *handle.args)
            return "stopped"
        finally:
            asyncio.events._set_running_loop(None)


class Clocks:
    """The `clock.source` of simulated processes: each reads its machine's wall clock; chance is the history's."""

    def __init__(self, loop: VirtualLoop, dice: Random) -> None:
        self._loop, self._dice = loop, dice
        self._looks = 0

    def now(self):
        self._looks += 1  # no two looks at a real clock see the same microsecond
        return EPOCH + timedelta(0, self._loop.moment + PROCESS.get().machine.offset, self._looks)

    def monotonic(self):
        return self._loop.moment

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)

    def block(self, seconds):
        raise AssertionError("nothing may block here")

    def uuid(self):
        return UUID(int=self._dice.getrandbits(128), version=4)

    def random(self):
        return self._dice
