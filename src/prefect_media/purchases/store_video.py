"""From the provider into the store: whole, hashed, and checked to be what was asked for."""

from __future__ import annotations

import asyncio
from typing import Any, Literal, NamedTuple, cast

from ..assets import Asset
from ..catalog.lookup import ModelEntry
from ..errors import DownloadCorrupt, MediaError, StoreError
from ..jobs import JobState, VideoJob
from ..ledger.record import Record
from ..media.facts import SUFFIXES, Facts, Whole, expect, indexed_facts, mismatches, video_facts
from ..providers import videos
from ..providers.connection import Connection
from ..providers.detection import dialect_of
from ..providers.download import content_of
from ..runtime.retry import retrying
from ..runtime.tracing import span
from ..storage.base import Stored
from ..storage.store import Storage
from .asset_source import source_of
from .media_keys import media_key

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
    link, broken = state.content_url, False

    async def attempt() -> _Stored:
        nonlocal link, broken
        if broken:
            link = await _fresh_link(connection, job) or link
        try:
            with span("download", media="video", model=job.model, host=connection.host, job=job.id) as download:
                poured = await _store(connection, job, link, storage, record)
                download.set(bytes=poured.stored.size_bytes)
                return poured
        except DownloadCorrupt:
            broken = True
            raise

    try:
        poured = await retrying(attempt, PAUSES, _is_transient)
    except (DownloadCorrupt, StoreError) as error:
        if error.job_id is None:
            error.job_id = error.details["job_id"] = job.id
        raise
    stored, content_type = poured.stored, poured.content_type
    facts = indexed_facts(stored.head)
    if facts is None:
        with await storage.open(cast(str, storage.key_of(stored.uri))) as file:
            facts = await asyncio.to_thread(video_facts, file)
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
        warnings=(*mismatches(facts, **_ordered_facts(record)), *poured.warnings),
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


def _is_transient(error: Exception) -> bool:
    """Whether a download or a write failed in a way that may pass; other errors have retries of their own."""
    return isinstance(error, DownloadCorrupt | StoreError) and error.transient


async def _fresh_link(connection: Connection, job: VideoJob) -> str | None:
    """Where the job says by now that its video lies: a signed link does not last. Asked where servers have links."""
    if not (await dialect_of(connection)).content_urls:
        return None
    try:
        return (await videos.look(connection, job.id)).content_url
    except MediaError:
        return None


class _Stored(NamedTuple):
    """What was stored, its MIME type, what it was compared with, and what is odd about it."""

    stored: Stored
    content_type: str
    integrity: Literal["hash", "length"] | None
    warnings: tuple[str, ...]


async def _store(connection: Connection, job: VideoJob, link: str | None, storage: Storage, record: Record) -> _Stored:
    """The content of a job, from the provider into the store; what another process has stored meanwhile stays."""
    kind = ""

    def name(head: bytes) -> tuple[str, str]:
        nonlocal kind
        kind = expect("video", head)
        return media_key(record, SUFFIXES[kind], storage=storage), kind

    source = await content_of(connection, job.id, link)
    whole = Whole()
    # On record as done and yet needed: what is there is broken.
    stored = await storage.upload(name, source, inspect=whole.feed, replace=record.state == "done")
    compared = "hash" if stored.hash_checked else "length" if stored.size_bytes == source.size else None
    return _Stored(stored, kind, compared, whole.warnings)


def _ordered_facts(record: Record) -> dict[str, Any]:
    """Size and duration that a purchase named; remixes name neither, and extensions only what is to be added."""
    request = record.request if record.operation == "generate" else {}
    return {"size": request.get("size"), "seconds": request.get("seconds")}


def _video_costs(connection: Connection, record: Record, state: JobState, facts: Facts) -> dict[str, Any]:
    """What was asked for, by what the server says it made, or else by what the file is."""
    name = record.request.get("model") or state.model or ""
    model = ModelEntry(name, connection.catalog_host, connection.model_family)
    ordered = record.request.get("seconds"), record.request.get("size")
    stored = _seconds(state.seconds) or facts.seconds, state.size or f"{facts.width}x{facts.height}"
    return {
        "cost_usd": model.cost_of_video(*stored) if state.cost_usd is None else state.cost_usd,
        "estimated_usd": model.cost_of_video(*ordered),
    }


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
