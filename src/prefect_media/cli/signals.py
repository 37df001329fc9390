"""How a command that goes on until Ctrl-C ends: by an event, so that its work is done or left in good order."""

from __future__ import annotations

import asyncio
import signal

from ..runtime import clock


def end_of_command() -> asyncio.Event:
    """An event that Ctrl-C and SIGTERM set from now on, instead of what they do otherwise."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    return ended


async def sleep_until(ended: asyncio.Event, seconds: float) -> None:
    """Sleep, but not beyond the end."""
    sleeping = asyncio.create_task(clock.sleep(max(0.0, seconds)))
    ending = asyncio.create_task(ended.wait())
    await asyncio.wait({sleeping, ending}, return_when=asyncio.FIRST_COMPLETED)
    sleeping.cancel()
    ending.cancel()
