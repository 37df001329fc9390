"""Where a server can't remix: a new video that goes on from the last frame of the old one."""

from __future__ import annotations

import asyncio
from typing import Literal

from pydantic import Field

from ..assets import Asset
from ..errors import InvalidRequest
from ..media.facts import last_frame
from ..providers.connection import Connection
from ..purchase_options import PurchaseOptions
from ..requests import RemixRequest, VideoRequest
from ..storage.store import Storage, storage_of
from .videos import buy_video

Fallback = Literal["last_frame"]


class Continuation(VideoRequest):
    """A video from the last frame of another."""

    video: str | None = Field(default=None, description="Job id of the video that it goes on from; never sent.")


async def buy_remix(
    connection: Connection,
    request: RemixRequest,
    storage: Storage,
    options: PurchaseOptions,
    *,
    fallback: Fallback | None = None,
) -> Asset:
    """A remix; with a fallback, what comes closest to one on servers that have none.

    Raises:
        errors.InvalidRequest: The server can't remix, and there is no fallback, or nothing it could start from.
        errors.MediaError: What `buy_video` raises.
    """
    try:
        return await buy_video(connection, request, storage, options)
    except InvalidRequest as error:
        if fallback is None or error.details.get("unsupported") != "remix":
            raise
        options.logger.info("%s can't remix; going on from the last frame", connection.host)
    return await buy_video(connection, await from_last_frame(request), storage, options)


async def from_last_frame(request: RemixRequest) -> Continuation:
    """The request for a video of the same model, size and length that starts from the last frame.

    Raises:
        errors.InvalidRequest: The request names no stored video, or one whose model is not known.
        errors.DownloadCorrupt: The stored video can't be read.
    """
    asset = request.video
    if not isinstance(asset, Asset) or asset.kind != "video":
        raise InvalidRequest(
            'fallback="last_frame" reads the last frame from the stored video, so it needs the Asset; '
            "pass what generate_video returned; nothing was sent"
        )
    if not asset.source or not asset.source.model:
        raise InvalidRequest("the Asset does not say which model made it; nothing was sent")
    storage, key = storage_of(asset.uri)
    with await storage.open(key) as file:
        frame = await asyncio.to_thread(last_frame, file)
    return Continuation(
        prompt=request.prompt,
        model=asset.source.model,
        size=f"{asset.width}x{asset.height}" if asset.width and asset.height else None,
        seconds=max(1, round(asset.seconds)) if asset.seconds else None,
        image=frame,
        video=asset.source.job_id,
        variant=request.variant,
        extra=request.extra,
    )
