"""From the provider into the store: whole, hashed, and checked to be what was asked for."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import nullcontext
from dataclasses import replace
from inspect import isawaitable
from typing import Any, Literal, NamedTuple, cast

import httpx

from . import clock, costs, media, web
from .assets import Asset, AssetSource
from .errors import DownloadCorrupt, MediaError, StoreError
from .jobs import JobState, VideoJob
from .naming import media_key
from .per_loop import shared
from .providers import videos
from .providers.batches import Line
from .providers.client import Connection, headers_of
from .providers.content import content_of
from .providers.dialects import dialect_of
from .providers.images import OnPreview, Picture, Reply
from .providers.limits import image_bytes
from .reach import Home, Refused, shown
from .record import Record
from .requests import ImageEditRequest, ImageRequest
from .settings import settings
from .sidecar import SUFFIX, Sidecar, write_sidecars
from .storage import Storage, Stored
from .terms import Terms

ANSWERS_AT_ONCE = 1
"""Answers with images that are read at once, of however many requests are in the air: each takes the memory of
its largest picture about three times over."""

LINK_PATIENCE = 120.0
"""Seconds for an image that an answer names by a link."""

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before something that is paid for is stored again."""


async def store_video(
    connection: Connection, job: VideoJob, state: JobState, storage: Storage, record: Record
) -> Asset:
    """Store the content of a finished job: streamed, hashed, and checked to be a whole video.

    What breaks on the way is tried again here: it is paid for, and getting it costs nothing.
    """
    link = state.content_url
    for pause in (*PAUSES, None):
        try:
            poured = await _poured(connection, job, link, storage, record)
            break
        except (DownloadCorrupt, StoreError) as error:
            if not error.transient or pause is None:
                if error.job_id is None:
                    error.job_id = error.details["job_id"] = job.id
                raise
            await clock.sleep(pause)
            if isinstance(error, DownloadCorrupt):
                link = await _fresh_link(connection, job) or link
    else:
        raise AssertionError("unreachable")
    stored, content_type = poured.stored, poured.content_type
    facts = media.indexed_facts(stored.head)
    if facts is None:
        with await storage.open(cast(str, storage.key_of(stored.uri))) as file:
            facts = await asyncio.to_thread(media.video_facts, file)
    return Asset(
        uri=stored.uri,
        kind="video",
        content_type=content_type,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        width=facts.width,
        height=facts.height,
        seconds=facts.seconds,
        codec=facts.codec,
        warnings=(*media.mismatches(facts, **_asked(record)), *poured.warnings),
        source=source_of(
            connection,
            record,
            job.model,
            None,
            job_id=job.id,
            integrity=poured.integrity,
            remixed_from=state.remixed_from or record.request.get("video"),
            **_video_costs(connection, record, state, facts),
        ),
    )


async def _fresh_link(connection: Connection, job: VideoJob) -> str | None:
    """Where the job says by now that its video lies: a signed link does not last. Asked where servers have links."""
    if not (await dialect_of(connection)).content_urls:
        return None
    try:
        return (await videos.look(connection, job.id)).content_url
    except MediaError:
        return None


class _Poured(NamedTuple):
    """What was stored, its MIME type, what it was compared with, and what is odd about it."""

    stored: Stored
    content_type: str
    integrity: Literal["hash", "length"] | None
    warnings: tuple[str, ...]


async def _poured(connection: Connection, job: VideoJob, link: str | None, storage: Storage, record: Record) -> _Poured:
    """The content of a job, from the provider into the store; what another process has stored meanwhile stays."""
    kind = ""

    def name(head: bytes) -> tuple[str, str]:
        nonlocal kind
        kind = media.expect("video", head)
        return media_key(record, media.SUFFIXES[kind], storage=storage), kind

    source = await content_of(connection, job.id, link)
    whole = media.Whole()
    # On record as done and yet needed: what is there is broken.
    stored = await storage.pour_named(name, source, inspect=whole.feed, replace=record.state == "done")
    compared = "hash" if stored.hash_checked else "length" if stored.size_bytes == source.size else None
    return _Poured(stored, kind, compared, whole.warnings)


def _asked(record: Record) -> dict[str, Any]:
    """Size and duration that a purchase named; remixes name neither, and extensions only what is to be added."""
    asked = record.request if record.operation == "generate" else {}
    return {"size": asked.get("size"), "seconds": asked.get("seconds")}


def _video_costs(connection: Connection, record: Record, state: JobState, facts: media.Facts) -> dict[str, Any]:
    """What was asked for, by what the server says it made, or else by what the file is."""
    model, host = record.request.get("model") or state.model or "", connection.catalog_host
    family = connection.model_family
    asked = record.request.get("seconds"), record.request.get("size")
    made = _seconds(state.seconds) or facts.seconds, state.size or f"{facts.width}x{facts.height}"
    return {
        "cost_usd": costs.of_video(model, host, *made, family=family) if state.cost_usd is None else state.cost_usd,
        "estimated_usd": costs.of_video(model, host, *asked, family=family),
    }


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


async def store_images(
    connection: Connection,
    request: ImageRequest | ImageEditRequest,
    reply: Reply | Line,
    storage: Storage,
    record: Record,
    terms: Terms,
) -> list[Asset]:
    """Store the pictures of one answer as they arrive, and note on each what it was made with and what it cost.

    Raises:
        errors.SubmissionInDoubt: The answer broke off.
    """
    assets: list[Asset] = []
    bare = source_of(connection, record, request.model, reply.request_id, batch_id=record.batch and record.batch.id)
    # A stream takes as long as the model does; a whole answer is only fetched when there is room for it.
    async with nullcontext() if reply.streams else _in_memory():
        async for picture in reply.pictures(_previews(terms)):
            index = len(assets) + 1
            picture = await _fetched(connection, request, picture)
            assets.append(await store_image(storage, record, index, max(index, request.n), picture, bare))
            for warning in assets[-1].warnings:
                terms.logger.warning("%s: %s", assets[-1].uri, warning)
    host, family = connection.catalog_host, request.model_family or connection.model_family
    usd = costs.of_images(request.model, host, reply.usage, family)
    estimated = costs.estimate(request, host, family)
    if record.batch:
        usd, estimated = (costs.batched(each, request.model, host, family) for each in (usd, estimated))
    more = {
        "usage": reply.usage,
        "cost_usd": costs.shared(usd, len(assets)),
        "estimated_usd": costs.shared(estimated, request.n),
    }
    return [
        asset.model_copy(
            update={"source": bare.model_copy(update={**more, "revised_prompt": row.get("revised_prompt")})}
        )
        for asset, row in zip(assets, reply.rows, strict=True)
    ]


def _previews(terms: Terms) -> OnPreview | None:
    if terms.on_partial is None:
        return None
    show = terms.on_partial

    async def preview(picture: bytes, number: int) -> None:
        try:
            told = show(picture, number)
            if isawaitable(told):
                await told
        except Exception as error:
            terms.logger.warning("A preview could not be shown: %s", error)

    return preview


async def store_image(
    storage: Storage, record: Record, index: int, count: int, picture: Picture, source: AssetSource
) -> Asset:
    assert picture.data is not None
    data = picture.data
    content_type = media.expect("image", data[:64])
    key = media_key(record, media.SUFFIXES[content_type], index if count > 1 else None)
    stored = await _put(storage, key, data, content_type)
    return await _image(stored, data, source.model_copy(update={"revised_prompt": picture.revised_prompt}))


async def _image(stored: Stored, data: bytes, source: AssetSource) -> Asset:
    facts = await asyncio.to_thread(media.image_facts, data)
    return Asset(
        uri=stored.uri,
        kind="image",
        content_type=media.expect("image", data[:64]),
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        width=facts.width,
        height=facts.height,
        warnings=facts.warnings,
        source=source,
    )


async def images_stored_before(
    connection: Connection, request: ImageRequest | ImageEditRequest, storage: Storage, record: Record, terms: Terms
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
            estimated_usd=costs.shared(
                costs.estimate(request, connection.catalog_host, request.model_family or connection.model_family),
                request.n,
            ),
        )
        stems = [media_key(earlier, "", index if request.n > 1 else None) for index in range(1, request.n + 1)]
        found = [asset for stem in stems if (asset := await _stored_image(storage, stem, bare))]
        if len(found) == request.n:
            await write_sidecars(storage, earlier, found, terms.logger)
            return found
    return None


async def _stored_image(storage: Storage, stem: str, source: AssetSource) -> Asset | None:
    """The image whose key begins so."""
    keys = [key async for key, _ in storage.list(stem)]
    for key in keys:
        if key.endswith(SUFFIX):
            return Sidecar.model_validate_json(await storage.read(key)).asset
    for key in keys:
        data = await storage.read(key)
        stored = Stored(storage.uri(key), len(data), hashlib.sha256(data).hexdigest())
        return await _image(stored, data, source)
    return None


async def _put(storage: Storage, key: str, data: bytes, content_type: str) -> Stored:
    """Store a paid image. It is tried again here: nobody else has it. So even a refusal is believed the second time."""
    refused = False
    for pause in (1.0, 2.0, 4.0, 8.0):
        try:
            return await storage.put(key, data, content_type=content_type)
        except StoreError as error:
            if not error.transient and refused:
                raise
            refused = not error.transient
            await clock.sleep(pause)
    return await storage.put(key, data, content_type=content_type)


async def _fetched(connection: Connection, request: ImageRequest | ImageEditRequest, picture: Picture) -> Picture:
    """A picture with its bytes, wherever they lie. Fetching is tried again here: it is paid for and has no id."""
    if picture.data is not None:
        return picture
    url, limit, private = cast(str, picture.url), image_bytes(request), settings().allow_private_urls
    home = Home(httpx.URL(connection.base_url), await headers_of(connection))
    for pause in (1.0, 2.0, 4.0, None):
        try:
            data = await web.download(url, limit=limit, private=private, home=home, patience=LINK_PATIENCE)
            return replace(picture, data=data, url=None)
        except web.Missing as missing:
            if pause is None:
                raise DownloadCorrupt(f"a paid image can't be fetched from {shown(url)}: {missing}") from None
            await clock.sleep(pause)
        except Refused as refused:
            raise DownloadCorrupt(
                f"a paid image at {shown(url)} is not fetched: {refused}; fetch it by hand, if you trust that server",
                transient=False,
            ) from None
    raise AssertionError("unreachable")


def source_of(connection: Connection, record: Record, model: str, request_id: str | None, **more: Any) -> AssetSource:
    return AssetSource(
        provider=connection.provider,
        host=connection.host,
        model=model,
        operation=record.operation,
        request_id=request_id,
        fingerprint=record.fingerprint,
        purchase=record.key,
        created_at=clock.now(),
        reference_uri=record.reference_uri,
        **more,
    )


def _in_memory() -> asyncio.Semaphore:
    """Bounds the answers with images that this process reads at once; the others wait on their lines."""
    return shared("in memory", lambda: asyncio.Semaphore(ANSWERS_AT_ONCE))
