"""Which videos were ordered with which prompt: one empty object per purchase, in a folder per account and prompt.

After a lost reply it names the purchases whose jobs could be taken for one another, without a look at all records. An
entry is written before anything is sent, and never deleted: one that is left over costs a read and decides nothing.

Records of versions without this index are entered on first need, all at once; `COMPLETE` says that they are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from ..runtime.hashing import sha256_of
from ..runtime.per_loop import shared
from ..runtime.read_ahead import read_ahead
from ..storage.store import Storage
from .job_owners import enter_job
from .record import Record

FOLDER = "ledger/by-prompt/"

COMPLETE = FOLDER + "complete.json"


async def enter_prompt(storage: Storage, record: Record) -> None:
    """Enter a purchase in the index, unless it is no video."""
    if record.kind == "video":
        await storage.create(f"{_folder_of(record)}{record.key}", b"{}")


async def keys_with_prompt_of(storage: Storage, record: Record) -> AsyncIterator[str]:
    """Keys of the purchases of the same account and prompt that are in the index, forgotten ones among them."""
    async for path, _ in storage.list(_folder_of(record)):
        yield path.rpartition("/")[2]


async def is_complete(storage: Storage) -> bool:
    """Whether all purchases are in the index, those of earlier versions among them."""
    return await storage.fetch(COMPLETE) is not None


class _FirstLook(asyncio.Lock):
    """Held by whoever looks, while the others wait for what it finds."""

    over = False


async def begin(storage: Storage) -> None:
    """Note of a ledger without a purchase that its index is complete; looked at once per process."""
    first_look = shared(("prompt index", storage.url, storage.options), _FirstLook)
    if first_look.over:
        return
    async with first_look:
        if first_look.over:
            return
        if not await is_complete(storage) and await anext(aiter(storage.list("ledger/purchases/")), None) is None:
            await _note_complete(storage)
        first_look.over = True


async def complete(storage: Storage, purchases: AsyncIterator[Record]) -> None:
    """Enter all purchases, and the jobs of each. Several processes may do so at once."""

    async def enter(record: Record) -> None:
        await asyncio.gather(
            enter_prompt(storage, record), *(enter_job(storage, record, job_id) for job_id in record.job_ids)
        )

    async for _ in read_ahead(enter, (record async for record in purchases if record.kind == "video")):
        pass
    await _note_complete(storage)


async def _note_complete(storage: Storage) -> None:
    await storage.create(COMPLETE, b"{}")


def _folder_of(record: Record) -> str:
    """By the words of the prompt alone: a server may trim it or change its line ends."""
    words = str(record.request.get("prompt") or "").split()
    return f"{FOLDER}{sha256_of(json.dumps([record.account, words], sort_keys=True))}/"
