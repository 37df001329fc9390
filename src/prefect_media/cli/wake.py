"""`prefect-media wake`: a waker in the foreground, for one round or until it is ended."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from prefect_media.tasks.wake import make_round

from ..errors import MediaError
from ..runtime import clock
from .options import StoreOption
from .targets import storage_of_name

ONCE = 60.0
"""Seconds between rounds that a single round is taken for: whoever starts it will do so again."""


def wake(
    store: StoreOption = None,
    every: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds between rounds, until Ctrl-C. Default: one round.", show_default=False),
    ] = None,
) -> None:
    """Make one round, or one every so many seconds until Ctrl-C or SIGTERM."""
    asyncio.run(_once(store) if every is None else _until_ended(store, every))


async def _once(store: str | None) -> None:
    storage = await storage_of_name(store)
    done = await make_round(storage, every=ONCE)
    typer.echo(f"{len(done.woken)} resumed, {done.waiting} go on waiting, {done.removed} records removed")


async def _until_ended(store: str | None, every: float) -> None:
    storage = await storage_of_name(store)
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    typer.echo(f"Looking at {storage.url} every {every:g} s, until Ctrl-C")
    while not ended.is_set():
        began = clock.monotonic()
        try:
            async with asyncio.timeout(max(10 * every, 600.0)):
                done = await make_round(storage, every=every)
        except MediaError as error:  # the next round may be luckier
            typer.echo(f"This round failed: {error.message}", err=True)
        except Exception as error:  # flows sleep until they are woken, so a waker ends for no single round
            typer.echo(f"This round failed: {type(error).__name__}: {error}", err=True)
        else:
            if done.woken or done.removed:
                typer.echo(f"{len(done.woken)} resumed, {done.waiting} go on waiting, {done.removed} records removed")
        await _sleep_until(ended, every - (clock.monotonic() - began))
    typer.echo("Stopped")


async def _sleep_until(ended: asyncio.Event, seconds: float) -> None:
    """Sleep, but not beyond the end."""
    sleeping = asyncio.create_task(clock.sleep(max(0.0, seconds)))
    ending = asyncio.create_task(ended.wait())
    await asyncio.wait({sleeping, ending}, return_when=asyncio.FIRST_COMPLETED)
    sleeping.cancel()
    ending.cancel()
