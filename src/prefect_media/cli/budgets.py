"""`prefect-media budgets`: what was spent of each budget that a store keeps."""

from __future__ import annotations

import asyncio

import typer
from rich.table import Table

from ..budget import FOLDER
from ..ledger.accounts import Account, read
from .options import JsonOption, StoreOption
from .tables import print_json, print_table
from .targets import storage_of_name


def list_budgets(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Print a table of the budgets of a store, by name and period."""
    asyncio.run(_list(store, as_json=as_json))


async def _list(store: str | None, *, as_json: bool) -> None:
    storage = await storage_of_name(store)
    accounts: dict[tuple[str, str], Account] = {}
    async for path, _ in storage.list(FOLDER):
        if stored := await storage.fetch(path):
            name, _, period = path.removeprefix(FOLDER).removesuffix(".json").partition("/")
            accounts[name, period] = read(stored.data, path)
    if as_json:
        print_json([_fields(*key, account) for key, account in sorted(accounts.items())])
        return
    if not accounts:
        typer.echo(f"No budgets in {storage.url}")
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("budget", "period", "spent USD", "purchases", "reserved USD", "under way"):
        table.add_column(heading, no_wrap=True, justify="left" if heading in ("budget", "period") else "right")
    for (name, period), account in sorted(accounts.items()):
        table.add_row(
            name,
            period,
            f"{account.spent_usd:.3f}",
            str(account.purchases),
            f"{account.reserved_usd:.3f}",
            str(len(account.reserved)),
        )
    print_table(table)


def _fields(name: str, period: str, account: Account) -> dict[str, object]:
    return {
        "budget": name,
        "period": period,
        "spent_usd": account.spent_usd,
        "purchases": account.purchases,
        "reserved_usd": account.reserved_usd,
        "under_way": len(account.reserved),
    }
