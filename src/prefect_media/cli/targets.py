"""Which store and which provider a command is about, by name, by URL or from the environment."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import prefect_media

from ..errors import InvalidRequest
from ..settings import settings
from ..storage.address import is_address, parse_address
from ..storage.store import Storage, storage_at
from .lazy import load

if TYPE_CHECKING:
    from ..providers.connection import Connection


async def storage_of_name(store: str | None) -> Storage:
    """The store of a URL, a folder or a saved block; the default one for None. Imports Prefect only for blocks."""
    place = store or settings().store
    if place and is_address(place):
        return storage_at(place)
    storage_for: Callable[[str | None], Awaitable[Storage]] = load("prefect_media.tasks.context:storage_for")
    return await storage_for(place)  # a block, or the folder under the Prefect home


def refuse_missing_folder(storage: Storage) -> None:
    """Refuse a store that is a folder which does not exist: nothing can be listed there, and it may be mistyped.

    Raises:
        errors.InvalidRequest: There is no such folder.
    """
    scheme, root, _ = parse_address(storage.url)
    if scheme == "file" and not Path(root).is_dir():
        raise InvalidRequest(f"there is no store at {root}; check --store and PREFECT_MEDIA_STORE")


async def targets_of_block(name: str) -> tuple[list[Connection], list[Storage]]:
    """What a saved block leads to: a provider or a store, or one of each where two blocks have the name.

    Raises:
        errors.InvalidRequest: There is no such block.
    """
    connections: list[Connection] = []
    storages: list[Storage] = []
    faults: list[InvalidRequest] = []
    connection_to: Callable[[str], Awaitable[Connection]] = load("prefect_media.tasks.context:connection_to")
    storage_for: Callable[[str], Awaitable[Storage]] = load("prefect_media.tasks.context:storage_for")
    try:
        connections.append(await connection_to(name))
    except InvalidRequest as error:
        faults.append(error)
    try:
        if not is_address(name):
            storages.append(await storage_for(name))
    except InvalidRequest as error:
        faults.append(error)
    if not connections and not storages:
        raise InvalidRequest(" / ".join(fault.message for fault in faults))
    return connections, storages


async def connections_of(credentials: str | None) -> list[Connection]:
    """Where jobs can be asked about: a saved block, or whatever the environment has keys for."""
    if credentials:
        connection_to: Callable[[str], Awaitable[Connection]] = load("prefect_media.tasks.context:connection_to")
        return [await connection_to(credentials)]
    possible: list[Callable[[], Connection]] = []
    if os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"):
        possible.append(lambda: prefect_media.OpenAICredentials().connection())
    if endpoint := os.environ.get("AZURE_OPENAI_ENDPOINT"):
        possible.append(lambda: prefect_media.AzureOpenAICredentials(base_url=endpoint).connection())
    if not possible:
        raise InvalidRequest(
            "there is no key: pass --credentials with the name of a saved block, or set OPENAI_API_KEY "
            "(and OPENAI_BASE_URL), or AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY"
        )
    return [connect() for connect in possible]
