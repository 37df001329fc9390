"""`prefect-media jobs list`: the purchases on a ledger of any size, read as they are printed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from textwrap import indent
from typing import Annotated, get_args

import typer
from rich.table import Table
from rich.text import Text

from ..errors import InvalidRequest, StoreError
from ..ledger.ledger import Ledger
from ..ledger.record import Record, State
from .columns import row_of
from .options import JsonOption, StoreOption
from .tables import print_table
from .targets import refuse_missing_folder, storage_of_name

LIMIT = 50
"""Purchases that are listed on a terminal."""

CLOCKS_APART = timedelta(days=1)
"""How far the clocks of a store and of who buys may differ: what changed longer before `--since` is not read."""


def list_purchases(
    store: StoreOption = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only these: intent, submitted, done, failed, in_doubt.", show_default=False),
    ] = None,
    scope: Annotated[str | None, typer.Option(help="Only those of this scope.", show_default=False)] = None,
    since: Annotated[
        datetime | None, typer.Option(help="Only those ordered since then, in UTC.", show_default=False)
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Only so many, the last to change; 0 for all. Default: 50 on a terminal.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the purchases on the ledger, oldest first; JSON of all is in the order of their last change."""
    states = state or []
    if unknown := set(states) - set(get_args(State)):
        raise InvalidRequest(f"there is no state {', '.join(unknown)}; the states are {', '.join(get_args(State))}")
    if limit is None and not as_json and sys.stdout.isatty():
        limit = LIMIT
    filters = Filters(tuple(states), scope, since and since.replace(tzinfo=UTC), limit or None)
    asyncio.run(_list(store, filters, as_json=as_json))


@dataclass(frozen=True, slots=True)
class Filters:
    """Which purchases are listed."""

    states: tuple[str, ...]
    scope: str | None
    since: datetime | None
    limit: int | None

    async def of(self, ledger: Ledger) -> AsyncIterator[Record]:
        """Those of a ledger: with a limit oldest first, else in the order of their last change."""
        keys = await ledger.keys_by_change((self.since - CLOCKS_APART).timestamp() if self.since else 0.0)
        if self.limit is None:
            keys.reverse()
        matching = (record async for record in ledger.purchases(print_skipped, keys) if self._has(record))
        if self.limit is None:
            async for record in matching:
                yield record
            return
        records: list[Record] = []
        async for record in matching:
            records.append(record)
            if len(records) == self.limit:
                break
        for record in sorted(records, key=_age):
            yield record

    def _has(self, record: Record) -> bool:
        return (
            (not self.states or record.state in self.states)
            and self.scope in (None, record.scope)
            and (self.since is None or record.created_at >= self.since)
        )


async def _list(store: str | None, filters: Filters, *, as_json: bool) -> None:
    ledger = Ledger(await storage_of_name(store))
    if store:  # the default one begins with the first purchase
        refuse_missing_folder(ledger.storage)
    if as_json:
        await _print_json(filters.of(ledger))
        return
    records = sorted([record async for record in filters.of(ledger)], key=_age)
    if not records:
        kind = " of that kind" if filters.states or filters.scope or filters.since else ""
        typer.echo(f"No purchases{kind} on the ledger of {ledger.storage.url}")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("key", "state", "kind", "model", "job", "prompt", "USD", "where", "when (UTC)"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("key", "state"))
    for record in records:
        table.add_row(*map(Text, row_of(record)))  # not as markup: prompts have brackets
    print_table(table)
    if len(records) == filters.limit:
        typer.echo(f"The {filters.limit} that changed last; --limit 0 lists all", err=True)


async def _print_json(records: AsyncIterator[Record]) -> None:
    """One JSON list, an element at a time."""
    before = "["
    async for record in records:
        typer.echo(before, nl=False)
        typer.echo("\n" + indent(json.dumps(record.model_dump(mode="json"), indent=2), "  "), nl=False)
        before = ","
    typer.echo("[]" if before == "[" else "\n]")


def print_skipped(unreadable: StoreError) -> None:
    """Say that a record can't be read."""
    typer.echo(f"Left out: {unreadable.message}", err=True)


def _age(record: Record) -> datetime:
    return record.created_at
