"""`prefect-media watch`: the purchases of a store, or of one flow run, followed live. Asks no provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from ..errors import InvalidRequest, StoreError
from ..ledger.ledger import Ledger
from ..ledger.record import Record
from ..runtime import clock
from .lazy import load
from .options import JsonOption, StoreOption
from .signals import end_of_command, sleep_until
from .targets import refuse_missing_folder, storage_of_name
from .watch_screen import Screen, headline, line_of

READS_AT_ONCE = 16
DAY = 86_400.0


class Watched:
    """The purchases of a store or of one flow run, as they were at the last look."""

    def __init__(self, ledger: Ledger, flow_run_id: str | None) -> None:
        self.ledger = ledger
        self.records: dict[str, Record] = {}
        self._folder = f"ledger/by-run/{flow_run_id}/" if flow_run_id else "ledger/purchases/"
        self._unreadable: set[str] = set()

    async def look(self) -> list[Record]:
        """Read what may have changed, and return what has: a purchase that is done stays as it is.

        Raises:
            errors.StoreError: The store can't be read.
        """
        keys = [
            path.rpartition("/")[2].removesuffix(".json") async for path, _ in self.ledger.storage.list(self._folder)
        ]
        self.records = {key: self.records[key] for key in keys if key in self.records}
        pending = [key for key in keys if key not in self._unreadable and not self._is_done(key)]
        changed: list[Record] = []
        for start in range(0, len(pending), READS_AT_ONCE):
            records = await asyncio.gather(*map(self._read, pending[start : start + READS_AT_ONCE]))
            changed += [record for record in records if record and not self._is_known(record)]
        self.records |= {record.key: record for record in changed}
        return sorted(changed, key=lambda record: record.updated_at)

    def _is_done(self, key: str) -> bool:
        return key in self.records and self.records[key].state == "done"

    def _is_known(self, record: Record) -> bool:
        """Whether nothing but its lease is new."""
        before = self.records.get(record.key)
        return before is not None and (before.state, before.job_ids) == (record.state, record.job_ids)

    async def _read(self, key: str) -> Record | None:
        try:
            stored = await self.ledger.get(key)
        except StoreError as error:
            if error.transient:
                raise
            self._unreadable.add(key)
            typer.echo(f"Left out: {error.message}", err=True)
            return None
        return stored[0] if stored else None


def watch(
    flow_run: Annotated[
        str | None,
        typer.Argument(
            metavar="[FLOW_RUN_ID]",
            help="Only what this flow run bought, the outermost where flows are nested; ends when it does.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = None,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks at the store.")] = 2.0,
    timeout: Annotated[float, typer.Option(min=0, help="End after so many seconds; 0 after one look.")] = DAY,
    as_json: JsonOption = False,
) -> None:
    """Follow purchases until Ctrl-C or the end of the flow run; exit code 1 when that did not complete."""
    if flow_run is not None:
        flow_run = _id(flow_run)
    ended_in = asyncio.run(_watch(flow_run, store, every, timeout, as_json=as_json))
    if ended_in not in (None, "COMPLETED"):
        raise typer.Exit(1)


async def _watch(
    flow_run_id: str | None, store: str | None, every: float, timeout: float, *, as_json: bool
) -> str | None:
    ledger = Ledger(await storage_of_name(store))
    if store:
        refuse_missing_folder(ledger.storage)
    ended, until = end_of_command(), clock.monotonic() + timeout
    final_state: Callable[[str], Awaitable[str | None]] | None = None
    if flow_run_id:
        final_state = load("prefect_media.tasks.flow_run_state:final_state_of")
    console = Console(highlight=False, soft_wrap=True)
    watched, state = Watched(ledger, flow_run_id), None
    screen = Screen(console, ledger.storage, flow_run_id) if console.is_terminal and not as_json else None
    first = True
    with screen or nullcontext():
        while True:
            try:
                # Before the store is read: what was bought until the run's end is seen by this last look.
                state = await final_state(flow_run_id) if final_state and flow_run_id else None
                changed = await watched.look()
            except StoreError as error:
                if first or not error.transient:
                    raise
                typer.echo(f"This look failed: {error.message}", err=True)
            else:
                if screen:
                    await screen.draw(watched.records.values())
                else:
                    _print(changed, first=first, as_json=as_json)
                first = False
            if state or ended.is_set() or clock.monotonic() + every > until:
                break
            await sleep_until(ended, every)
            if ended.is_set():
                break
    if not screen and not as_json:
        typer.echo(headline(watched.records.values()))
    return state


def _print(changed: list[Record], *, first: bool, as_json: bool) -> None:
    """Print what changed, one purchase a line; at the first look, without what was done long ago."""
    for record in changed:
        if as_json:
            typer.echo(record.model_dump_json())
        elif not (first and record.state == "done"):
            typer.echo(line_of(record))


def _id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise InvalidRequest(
            f"{text!r} is not the id of a flow run; pass one such as 0193b3c4-..., see prefect flow-run ls"
        ) from None
