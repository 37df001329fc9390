"""The records of purchases as they lie in a store: read, listed, indexed and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from string import hexdigits

from pydantic import ValidationError

from ..errors import StoreError
from ..requests import problems_of
from ..runtime.read_ahead import read_ahead
from ..storage.store import Storage
from . import prompt_index
from .job_owners import disown_jobs, disown_jobs_of_unreadable
from .record import Record

PAGE = 1000
"""Objects that a bucket lists in one request."""


class Records:
    """The records of one store."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    async def get(self, key: str) -> tuple[Record, str] | None:
        """A purchase and the version of its record; None when there is none."""
        stored = await self.storage.fetch(path_of(key))
        if stored is None:
            return None
        try:
            return Record.model_validate_json(stored.data), stored.version
        except ValueError as error:
            why = problems_of(error) if isinstance(error, ValidationError) else error
            raise StoreError(
                f"the purchase {key} on the ledger can't be read ({why}); it may come from a newer prefect-media: "
                f"update this one, or have it bought again with prefect-media jobs forget {key[:12]}",
                transient=False,
            ) from error

    async def purchases(
        self,
        unreadable: Callable[[StoreError], None] | None = None,
        keys: Iterable[str] | AsyncIterable[str] | None = None,
    ) -> AsyncIterator[Record]:
        """The purchases on the ledger, in the order of their keys as given.

        Args:
            unreadable: Told of what can't be read, which is then left out. By default it is raised.
            keys: Which; by default all, in no particular order.
        """

        async def read(key: str) -> Record | None:
            try:
                return await self._read(key)
            except StoreError as error:
                if unreadable is None or error.transient:
                    raise
                unreadable(error)
                return None

        async for record in read_ahead(read, self.keys() if keys is None else keys):
            if record:
                yield record

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """The keys of all purchases, or of those that begin so."""
        async for path, _ in self.storage.list(f"ledger/purchases/{prefix}"):
            if path.endswith(".json"):
                yield path.rpartition("/")[2].removesuffix(".json")

    async def keys_by_change(self, since: float = 0.0) -> list[str]:
        """The keys of purchases that changed since then, a Unix time at the store; the last one to change first."""
        dated = await self._dated("", PAGE)
        if len(dated) == PAGE:  # perhaps many more, and a page names the next one: so by their first letters, at once
            dated = [row for rows in await asyncio.gather(*map(self._dated, hexdigits[:16])) for row in rows]
        return [key for changed, key in sorted(dated, reverse=True) if changed >= since]

    async def _dated(self, prefix: str, most: int | None = None) -> list[tuple[float, str]]:
        """When the purchases changed whose keys begin so, with their keys; at most so many."""
        rows: list[tuple[float, str]] = []
        async for path, _, changed in self.storage.list_dated(f"ledger/purchases/{prefix}"):
            if path.endswith(".json"):
                rows.append((changed, path.rpartition("/")[2].removesuffix(".json")))
            if len(rows) == most:
                break
        return rows

    async def keys_of(self, flow_run_id: str) -> AsyncIterator[str]:
        """The keys of purchases that one flow run (the outermost) asked for, forgotten ones among them."""
        async for path, _ in self.storage.list(f"ledger/by-run/{flow_run_id}/"):
            yield path.rpartition("/")[2]

    async def purchases_with_prompt_of(self, record: Record) -> list[Record]:
        """The videos of the same account and prompt, `record` among them: whoever's job could be taken for another's.

        The first look at a ledger that an earlier version began reads all of it.
        """
        if not await prompt_index.is_complete(self.storage):
            await prompt_index.complete(self.storage, self.purchases())
        keys = prompt_index.keys_with_prompt_of(self.storage, record)
        return [purchase async for purchase in read_ahead(self._read, keys) if purchase]

    async def _read(self, key: str) -> Record | None:
        stored = await self.get(key)
        return stored and stored[0]

    async def forget(self, key: str) -> None:
        """Take a purchase off the ledger, so that the same request is bought again.

        Its jobs stay on record as nobody's: the next purchase must not adopt one in place of its own.

        Raises:
            errors.StoreError: The ledger can't be read or written; the purchase may still be on it.
        """
        try:
            stored = await self.get(key)
        except StoreError as unreadable:  # forgotten all the same
            if unreadable.transient:
                raise
            await disown_jobs_of_unreadable(self.storage, key)
        else:
            if stored:
                await disown_jobs(self.storage, stored[0])
        await self.storage.delete(path_of(key))

    async def index(self, record: Record, flow_run_id: str | None = None) -> None:
        """Enter a purchase in the indexes, before anything is sent for it."""
        entering = [] if record.state in ("submitted", "done") else [prompt_index.enter_prompt(self.storage, record)]
        if run := flow_run_id or record.flow_run_id:
            entering.append(self._enter_run(run, record.key))
        await asyncio.gather(*entering)

    async def _enter_run(self, run: str, key: str) -> None:
        await self.storage.create(f"ledger/by-run/{run}/{key}", b"{}")


def path_of(key: str) -> str:
    """Path of the record of a purchase."""
    return f"ledger/purchases/{key}.json"


def json_of(record: Record) -> bytes:
    """A record as it is stored."""
    return record.model_dump_json(indent=2).encode()
