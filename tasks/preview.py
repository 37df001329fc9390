"""An artifact in the Prefect UI that sharpens while an image is made. Nothing here can fail a paid step."""

from __future__ import annotations

import asyncio
import io
from base64 import b64encode
from html import escape
from inspect import isawaitable
from uuid import UUID

from prefect import get_client
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.actions import ArtifactUpdate

from prefect_media.assets import Asset
from prefect_media.media.facts import poster
from prefect_media.purchase_options import OnPartial
from prefect_media.requests import ImageOptions
from prefect_media.runtime.hashing import sha256_of

from .current_run import in_run, run_logger


class Preview:
    """One markdown artifact per image, made with the first preview and updated with each further one.

    Its key is `preview-` and the beginning of the request's hash, so that a re-run makes a new version of it.

    Args:
        request: What is being made.
        also: Called with each preview too.
    """

    def __init__(self, request: ImageOptions, also: OnPartial | None = None) -> None:
        digest = sha256_of(request.model_dump_json(exclude={"images", "mask", "markup"}))
        self.key = f"preview-{digest[:8]}"
        self._request, self._also = request, also
        self._artifact: UUID | None = None

    async def __call__(self, picture: bytes, number: int) -> None:
        """Show a preview."""
        if self._also is not None:
            result = self._also(picture, number)
            if isawaitable(result):
                await result
        await self._show(picture, f"Preview {number + 1}")

    async def finish(self, asset: Asset) -> None:
        """Show the finished image, if there were previews of it."""
        if self._artifact is None:
            return
        try:
            await self._show(await asset.aread_bytes(), f"Done: `{asset.uri}`")
        except Exception as error:  # the image is paid for and stored, shown or not
            run_logger().warning("The finished image could not be shown: %s", error)

    async def _show(self, picture: bytes, title: str) -> None:
        if not in_run():
            return
        small = await asyncio.to_thread(poster, "image", io.BytesIO(picture))
        image = f"![{escape(title)}](data:image/jpeg;base64,{b64encode(small).decode()})"
        text = f"{image}\n\n{title} · {self._request.model}"
        if self._artifact is None:
            self._artifact = await acreate_markdown_artifact(
                text, key=self.key, description="An image, while it is made"
            )
            return
        async with get_client() as client:
            await client.update_artifact(self._artifact, ArtifactUpdate(data=text))
