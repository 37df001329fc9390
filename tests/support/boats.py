"""Batches of pictures that cost next to nothing to make."""

from __future__ import annotations

from buyer import MODEL

from prefect_media import ImageRequest, MediaStore, afetch_image_batch, asubmit_image_batch
from prefect_media.ledger.ledger import Ledger
from prefect_media.storage.store import storage_at

HERE = {"scope": "a test"}
DETAILED = "gpt-image-2"


def boats(*prompts, **fields):
    """Images that cost next to nothing to make."""
    return [ImageRequest(prompt=prompt, **{"model": MODEL, "size": "64x64", **fields}) for prompt in prompts]


async def made(simulator, requests, store, **more):
    batch = await asubmit_image_batch.fn(simulator.credentials, requests, store=store, **{**HERE, **more})
    return batch, await afetch_image_batch.fn(simulator.credentials, batch, store=store)


async def records(store):
    storage = store.storage() if isinstance(store, MediaStore) else storage_at(str(store))
    return [record async for record in Ledger(storage).purchases()]


async def states(store):
    """How the purchases stand, by their prompts; the batch under its operation."""
    return {record.request.get("prompt", record.operation): record.state for record in await records(store)}


def sent(simulator, method="POST"):
    return [request.path.partition("?")[0] for request in simulator.requests if request.method == method]
