"""`prefect-media wake`: a waker in the foreground, for one round or until it is ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import typer

from prefect_media.tasks.wake import Round, make_round

from ..errors import MediaError
from ..runtime import clock
from .options import JsonOption, StoreOption
from .signals import end_of_command, sleep_until
from .targets import storage_of_name

ONCE = 60.0
"""Seconds between rounds that a single round is taken for: whoever starts it will do so again."""


def wake(
    store: StoreOption = None,
    every: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds between rounds, until Ctrl-C. Default: one round.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make one round, or one every so many seconds until Ctrl-C or SIGTERM."""
    say = _say_as_json if as_json else _say
    asyncio.run(_once(store, say) if every is None else _until_ended(store, every, say))


async def _once(store: str | None, say: Callable[[Round], None]) -> None:
    storage = await storage_of_name(store)
    say(await make_round(storage, every=ONCE))


async def _until_ended(store: str | None, every: float, say: Callable[[Round], None]) -> None:
    storage = await storage_of_name(store)
    ended = end_of_command()
    typer.echo(f"Looking at {storage.url} every {every:g} s, until Ctrl-C", err=True)
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
                say(done)
        await sleep_until(ended, every - (clock.monotonic() - began))
    typer.echo("Stopped", err=True)


def _say(done: Round) -> None:
    typer.echo(f"{len(done.woken)} resumed, {done.waiting} still waiting, {done.removed} records removed")


def _say_as_json(done: Round) -> None:
    typer.echo(json.dumps(asdict(done)))
