"""What people see in the Prefect UI. Nothing here can fail a step that was paid for."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import timedelta
from html import escape
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.events import emit_event

from prefect_media.assets import Asset
from prefect_media.errors import DownloadCorrupt
from prefect_media.media import facts as media
from prefect_media.runtime import clock
from prefect_media.steps import OnStep, Step
from prefect_media.storage.store import storage_of

from .context import in_run, run_logger

QUIET_SECONDS = 30.0
"""How long the log says nothing of a job that only goes on: a line costs as much as half a task run."""

FIRST_SECONDS = 2.0
"""How old a job is before the log tells of it: among hundreds, telling of each right away would hold up the orders."""

STALLED = "prefect-media.video-job.stalled"


LOOKS = ("queued", "started", "progress")
"""The steps that a look at a job brings."""

_sending: set[asyncio.Task[None]] = set()
"""Events on their way; the event loop keeps no reference of its own to a task."""


def show_steps() -> OnStep:
    """Shows the steps of a purchase in the log of the run, and a stall as a Prefect event too."""
    log, send = progress_log(), stall_event()

    def show(step: Step) -> None:
        log(step)
        send(step)

    return show


def progress_log() -> OnStep:
    """Logs that a job has begun, and now and then its progress; Prefect logs the end of the task."""
    logged: tuple[str | None, float | None, float] | None = None
    logger = run_logger()

    def log(step: Step) -> None:
        nonlocal logged
        now = clock.monotonic()
        if step.kind not in LOOKS or (logged is None and _age(step) < FIRST_SECONDS):
            return
        if logged and logged[0] == step.status and (logged[1] == step.progress or now - logged[2] < QUIET_SECONDS):
            return
        logged = (step.status, step.progress, now)
        progress = f" {step.progress:.0f}%" if step.progress is not None else ""
        logger.info("Job %s at %s: %s%s", step.job_id, step.model or "the provider", step.status, progress)

    return log


def _age(step: Step) -> float:
    return (step.at - step.submitted_at).total_seconds() if step.submitted_at else 0.0


def stall_event() -> OnStep:
    """Sends a Prefect event, `prefect-media.video-job.stalled`, when a job has stalled; automations can act on it."""
    logger = run_logger()

    def send(step: Step) -> None:
        if step.kind != "stalled":
            return
        if not in_run():
            logger.debug("Not in a run, so no event is sent for the stalled job %s", step.job_id)
            return
        task = asyncio.create_task(_send_stall(step, logger))
        _sending.add(task)
        task.add_done_callback(_sending.discard)

    return send


async def _send_stall(step: Step, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
    payload = {
        "job_id": step.job_id,
        "model": step.model,
        "server": step.host,
        "status": step.status,
        "progress": step.progress,
        "seconds_without_change": round(step.waited_seconds or 0.0),
        "purchase": step.purchase,
    }
    resource = {
        "prefect.resource.id": f"prefect-media.video-job.{step.job_id}",
        "prefect.resource.name": f"{step.model} {step.job_id}",
    }
    try:
        # In a thread: the first event of a process may have to start Prefect's sender. The runs are added by Prefect.
        await asyncio.to_thread(emit_event, STALLED, resource=resource, payload=payload)
    except Exception as error:  # the job is paid for, and goes on whether anybody hears of it or not
        logger.warning("What a job is doing could not be told: %s: %s", type(error).__name__, error)


async def show_gallery(
    assets: Sequence[Asset], *, title: str = "Gallery", key: str = "media-gallery", links: timedelta = timedelta(days=7)
) -> None:
    """Leave a markdown artifact with a picture of every asset, and a player where the store can sign links.

    Args:
        assets: What to show, in order.
        title: Heading of the artifact.
        key: The artifact's key: lower-case letters, digits and dashes; equal keys become versions of one artifact.
        links: How long the signed links work.
    """
    logger = run_logger()
    if not in_run():
        logger.debug("Not in a flow run, so there is nowhere to show the gallery")
        return
    try:
        parts = await asyncio.gather(*(_entry(asset, links) for asset in assets))
        await acreate_markdown_artifact(f"# {title}\n\n" + "\n\n---\n\n".join(parts), key=key, description=title)
    except Exception as error:
        logger.warning("The gallery could not be shown: %s", error)


async def show_table(rows: Sequence[Mapping[str, Any]], *, title: str, key: str) -> None:
    """Leave a table as an artifact.

    Args:
        rows: Its rows, by column.
        title: What it shows.
        key: The artifact's key: lower-case letters, digits and dashes; equal keys become versions of one artifact.
    """
    try:
        await acreate_table_artifact([dict(row) for row in rows], key=key, description=title)
    except Exception as error:
        run_logger().warning("The table could not be shown: %s", error)


async def _entry(asset: Asset, links: timedelta) -> str:
    """One asset as markdown. The pages of Prefect 3 differ in what they show, and this they all can.

    Both show pictures from data URIs, which outlive every link. The classic pages play `<video>`, the new ones
    leave it out. A picture inside a markdown link comes out as text in the classic ones, so that is HTML.
    """
    name = escape(asset.uri.rpartition("/")[2])
    url = await asset.aurl(links)
    cells = [f'<img src="{await _poster(asset)}" alt="{name}">']
    if url:
        link = escape(url)
        cells[0] = f'<a href="{link}">{cells[0]}</a>'
        if asset.kind == "video":
            cells.append(f'<video src="{link}" controls preload="metadata" width="{media.POSTER_WIDTH}"></video>')
    facts = [
        f"{asset.width} x {asset.height}" if asset.width else None,
        f"{asset.seconds:g} s" if asset.seconds else None,
        f"{asset.size_bytes / 1e6:.1f} MB",
        asset.source.model if asset.source else None,
        f"{asset.source.cost_usd:.3f} USD" if asset.source and asset.source.cost_usd is not None else None,
    ]
    return "\n\n".join(
        (
            f"## [{name}]({url})" if url else f"## {name}",
            f"<table><tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr></table>",
            " · ".join(fact for fact in facts if fact),
            f"`{asset.uri}`",
            f"`sha256 {asset.sha256}`",
        )
    )


async def _poster(asset: Asset) -> str:
    """A small picture of an asset as a data URI; an empty one of what can't be drawn, such as SVG."""
    storage, key = storage_of(asset.uri)
    with await storage.open(key) as file:
        try:
            poster = await asyncio.to_thread(media.poster, asset.kind, file)
        except DownloadCorrupt:
            return "data:,"
    return f"data:image/jpeg;base64,{b64encode(poster).decode()}"
