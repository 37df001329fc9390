"""Which store and which provider a command is about, by name, by URL or from the environment; and its tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import InvalidRequest
from ..settings import settings
from ..storage.address import is_address
from ..storage.store import Storage, storage_at

if TYPE_CHECKING:
    from rich.table import Table

    from ..providers.connection import Connection

PIPE_WIDTH = 400
"""Columns of a table that no terminal shows: nothing is folded for whoever reads it line by line."""


async def storage_of_name(store: str | None) -> Storage:
    """The store of a URL, a folder or a saved block; the default one for None. Imports Prefect only for blocks."""
    place = store or settings().store
    if place and is_address(place):
        return storage_at(place)
    from prefect_media.tasks.context import storage_for  # a block, or the folder under the Prefect home

    return await storage_for(place)


async def connections_of(credentials: str | None) -> list[Connection]:
    """Where jobs can be asked about: a saved block, or whatever the environment has keys for."""
    if credentials:
        from prefect_media.tasks.context import connection_to

        return [await connection_to(credentials)]
    from prefect_media.blocks import AzureOpenAICredentials, OpenAICredentials

    possible: list[Callable[[], Connection]] = []
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        possible.append(lambda: OpenAICredentials().connection())
    if endpoint := os.environ.get("AZURE_OPENAI_ENDPOINT"):
        possible.append(lambda: AzureOpenAICredentials(base_url=endpoint).connection())
    if not possible:
        raise InvalidRequest(
            "There is no key: pass --credentials with the name of a saved block, or set OPENAI_API_KEY "
            "(and OPENAI_BASE_URL), or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY"
        )
    return [connect() for connect in possible]


def print_table(table: Table) -> None:
    """Print a table, as wide as the terminal, or with nothing folded where there is none."""
    from rich.console import Console

    terminal = Console()
    (terminal if terminal.is_terminal else Console(width=PIPE_WIDTH)).print(table)
