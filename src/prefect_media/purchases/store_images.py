"""Paid images into the store: each as it arrives, checked, and with what is known of it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from inspect import isawaitable
from typing import cast

import httpx

from ..assets import Asset, AssetSource
from ..catalog.lookup import ModelEntry
from ..catalog.prices import share
from ..errors import DownloadCorrupt
from ..ledger.record import Record
from ..media.facts import SUFFIXES, expect, image_facts
from ..media.reach import Home, Refused
from ..media.safe_fetch import Missing, download
from ..providers.batches import Line
from ..providers.connection import Connection, headers_of
from ..providers.images import OnPreview, Picture, Reply
from ..providers.limits import image_bytes
from ..purchase_options import PurchaseOptions
from ..requests import ImageEditRequest, ImageRequest
from ..runtime.hashing import sha256_of
from ..runtime.per_loop import shared
from ..runtime.retry import retrying, until_refused_twice
from ..settings import settings
from ..storage.base import Stored
from ..storage.store import Storage
from ..user_input import redact_url
from .asset_source import source_of
from .media_keys import media_key
from .sidecar import SUFFIX, Sidecar, write_sidecars
from .store_video import LINK_PATIENCE

PUT_PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a paid image is stored again."""

LINK_PAUSES = (1.0, 2.0, 4.0)
"""Seconds before a paid image that an answer names by a link is fetched again."""

ANSWERS_AT_ONCE = 1
"""Answers with images that are read at once, of however many requests are in the air: each takes the memory of
its largest picture about three times over."""


async def store_images(
    connection: Connection,
    request: ImageRequest | ImageEditRequest,
    reply: Reply | Line,
    storage: Storage,
    record: Record,
    options: PurchaseOptions,
    model: ModelEntry,
) -> list[Asset]:
    """Store the pictures of one answer as they arrive, and note on each what it was made with and what it cost.

    Raises:
        errors.SubmissionInDoubt: The answer broke off.
    """
    assets: list[Asset] = []
    bare = source_of(connection, record, request.model, reply.request_id, batch_id=record.batch and record.batch.id)
    # A stream takes as long as the model does; a whole answer is only fetched when there is room for it.
    async with nullcontext() if reply.streams else _in_memory():
        async for picture in reply.pictures(_previews(options)):
            index = len(assets) + 1
            picture = await _fetch(connection, request, picture)
            assets.append(await store_image(storage, record, index, max(index, request.n), picture, bare))
            for warning in assets[-1].warnings:
                options.logger.warning("%s: %s", assets[-1].uri, warning)
    usd, estimated = model.cost_of_images(reply.usage), model.quote(request).usd
    if record.batch:
        usd, estimated = model.cost_in_batch(usd), model.cost_in_batch(estimated)
    more = {
        "usage": reply.usage,
        "cost_usd": share(usd, len(assets)),
        "estimated_usd": share(estimated, request.n),
    }
    return [
        asset.model_copy(
            update={"source": bare.model_copy(update={**more, "revised_prompt": row.get("revised_prompt")})}
        )
        for asset, row in zip(assets, reply.rows, strict=True)
    ]


def _previews(options: PurchaseOptions) -> OnPreview | None:
    if options.on_partial is None:
        return None
    show = options.on_partial

    async def preview(picture: bytes, number: int) -> None:
        try:
            result = show(picture, number)
            if isawaitable(result):
                await result
        except Exception as error:  # the user's own function; the image is paid for all the same
            options.logger.warning("A preview could not be shown: %s", error)

    return preview


async def store_image(
    storage: Storage, record: Record, index: int, count: int, picture: Picture, source: AssetSource
) -> Asset:
    assert picture.data is not None
    data = picture.data
    content_type = expect("image", data[:64])
    key = media_key(record, SUFFIXES[content_type], index if count > 1 else None)
    stored = await _put(storage, key, data, content_type)
    return await _image(stored, data, source.model_copy(update={"revised_prompt": picture.revised_prompt}))


async def _image(stored: Stored, data: bytes, source: AssetSource) -> Asset:
    facts = await asyncio.to_thread(image_facts, data)
    return Asset(
        uri=stored.uri,
        kind="image",
        content_type=expect("image", data[:64]),
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        width=facts.width,
        height=facts.height,
        warnings=facts.warnings,
        source=source,
    )


async def find_stored_images(
    connection: Connection,
    request: ImageRequest | ImageEditRequest,
    storage: Storage,
    record: Record,
    options: PurchaseOptions,
    model: ModelEntry,
) -> list[Asset] | None:
    """The images of an earlier attempt whose process died after it had stored them all; None where there is none.

    What is known of one is in its sidecar. Without one, its tokens are not known any more, nor what it cost.
    """
    for attempt in range(record.attempt - 1, 0, -1):
        earlier = record.model_copy(update={"attempt": attempt})
        bare = source_of(
            connection,
            earlier,
            request.model,
            None,
            estimated_usd=share(model.quote(request).usd, request.n),
        )
        stems = [media_key(earlier, "", index if request.n > 1 else None) for index in range(1, request.n + 1)]
        assets = [asset for stem in stems if (asset := await _find_stored_image(storage, stem, bare))]
        if len(assets) == request.n:
            await write_sidecars(storage, earlier, assets, options.logger)
            return assets
    return None


async def _find_stored_image(storage: Storage, stem: str, source: AssetSource) -> Asset | None:
    """The image whose key begins so."""
    keys = [key async for key, _ in storage.list(stem)]
    for key in keys:
        if key.endswith(SUFFIX):
            return Sidecar.model_validate_json(await storage.read(key)).asset
    for key in keys:
        data = await storage.read(key)
        stored = Stored(storage.uri(key), len(data), sha256_of(data))
        return await _image(stored, data, source)
    return None


async def _put(storage: Storage, key: str, data: bytes, content_type: str) -> Stored:
    """Store a paid image. It is tried again here, because nobody else has it."""
    put = partial(storage.put, key, data, content_type=content_type)
    return await retrying(put, PUT_PAUSES, until_refused_twice())


async def _fetch(connection: Connection, request: ImageRequest | ImageEditRequest, picture: Picture) -> Picture:
    """A picture with its bytes, wherever they lie. Fetching is tried again here: it is paid for and has no id."""
    if picture.data is not None:
        return picture
    url, limit, private = cast(str, picture.url), image_bytes(request), settings().allow_private_urls
    home = Home(httpx.URL(connection.base_url), await headers_of(connection))
    fetch = partial(download, url, limit=limit, private=private, home=home, patience=LINK_PATIENCE)
    try:
        data = await retrying(fetch, LINK_PAUSES, lambda error: isinstance(error, Missing))
    except Missing as missing:
        raise DownloadCorrupt(f"a paid image can't be fetched from {redact_url(url)}: {missing}") from None
    except Refused as refused:
        raise DownloadCorrupt(
            f"a paid image at {redact_url(url)} is not fetched: {refused}; fetch it by hand, if you trust that server",
            transient=False,
        ) from None
    return replace(picture, data=data, url=None)


def _in_memory() -> asyncio.Semaphore:
    """Bounds the answers with images that this process reads at once; the others wait on their lines."""
    return shared("in memory", lambda: asyncio.Semaphore(ANSWERS_AT_ONCE))
