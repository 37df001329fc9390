"""`prefect-media budgets`: what was spent of each budget that a store keeps."""

from __future__ import annotations

import asyncio

import typer
from rich.table import Table

from ..budget import FOLDER
from ..ledger.accounts import Account, read
from .options import StoreOption
from .tables import print_table
from .targets import storage_of_name


def list_budgets(store: StoreOption = None) -> None:
    """Print a table of the budgets of a store, by name and period."""
    asyncio.run(_list(store))


async def _list(store: str | None) -> None:
    storage = await storage_of_name(store)
    accounts: dict[str, Account] = {}
    async for path, _ in storage.list(FOLDER):
        if found := await storage.fetch(path):
            accounts[path] = read(found.data, path)
    if not accounts:
        typer.echo(f"No budgets in {storage.url}")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("budget", "period", "spent USD", "purchases", "set aside USD", "under way"):
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("budget", "period") else "right")
    for path, account in sorted(accounts.items()):
        name, _, period = path.removeprefix(FOLDER).removesuffix(".json").partition("/")
        table.add_row(
            name,
            period,
            f"{account.spent_usd:.3f}",
            str(account.purchases),
            f"{account.reserved_usd:.3f}",
            str(len(account.reserved)),
        )
    print_table(table)
