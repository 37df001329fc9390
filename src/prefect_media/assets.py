"""What was made: small references to media in a store, never the bytes themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from . import display
from .media.facts import poster
from .runtime.sync import run_sync
from .storage.store import storage_of

if TYPE_CHECKING:
    from rich.table import Table

    from .storage.store import Storage

Kind = Literal["image", "video"]

PICTURE_SECONDS = 10.0
"""How long a notebook waits for a picture before it shows the asset without one."""

MOST_EMBEDDED = 4 * 1024**2
"""Bytes of a video that a notebook plays; it is stored in the notebook. Of larger ones, a frame is shown."""


class AssetSource(BaseModel):
    """Where an asset came from: enough to explain it, to bill it and to find it at the provider again."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    provider: str = Field(description='Which API made it: "openai" or "azure".')
    host: str = Field(description="Host name of the server that made it.")
    model: str = Field(description="Model or deployment, as it was asked for.")
    operation: str = Field(description='What was bought: "generate", "edit", "remix" or "extend".')
    job_id: str | None = Field(default=None, description="The provider's id of the job; images have none.")
    batch_id: str | None = Field(default=None, description="The provider's id of the batch it was made in, if it was.")
    request_id: str | None = Field(default=None, description="The provider's id of the HTTP request.")
    fingerprint: str = Field(description="SHA-256 of the normalised request.")
    purchase: str = Field(description="Key of the purchase on the ledger.")
    created_at: datetime = Field(description="When the provider's answer was stored (UTC).")
    revised_prompt: str | None = Field(default=None, description="The prompt as the model rewrote it.")
    remixed_from: str | None = Field(default=None, description="Job id of the video this one was made from.")
    integrity: Literal["hash", "length"] | None = Field(
        default=None,
        description='What the content of a video was compared with when it arrived: "hash", where the provider gave '
        'one; "length", where it announced only that; None where there was nothing to compare with.',
    )
    reference_uri: str | None = Field(
        default=None, description="Address of the reference image as it was sent, or of the footage."
    )
    usage: Mapping[str, Any] | None = Field(default=None, description="Tokens, as the provider counted them.")
    cost_usd: float | None = Field(default=None, description="Cost in USD; None where the price is unknown.")
    estimated_usd: float | None = Field(
        default=None, description="Cost estimated before the purchase, in USD; None where it is unknown."
    )


class Asset(BaseModel):
    """One finished image or video in a store.

    Example:
        ```python
        asset.save_to("fox.png")
        asset.url(expires_in=timedelta(hours=1))  # None for a local folder
        ```
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    uri: str = Field(description='Where it lies, such as "s3://bucket/key" or "file:///folder/key".')
    kind: Kind = Field(description='"image" or "video".')
    content_type: str = Field(description='MIME type, such as "video/mp4".')
    size_bytes: int = Field(description="Size in bytes.")
    sha256: str = Field(description="SHA-256 of the stored bytes, in hexadecimal.")
    width: int | None = Field(default=None, description="Width in pixels, read from the file.")
    height: int | None = Field(default=None, description="Height in pixels, read from the file.")
    seconds: float | None = Field(default=None, description="Duration in seconds, read from the file.")
    codec: str | None = Field(default=None, description="A video's codec in FFmpeg's words, read from the file.")
    source: AssetSource | None = Field(default=None, description="Where it came from.")
    warnings: tuple[str, ...] = Field(default=(), description="Where the file is damaged, or not what was asked for.")

    async def aread_bytes(self) -> bytes:
        """All bytes of the asset. Raises `errors.StoreError` when it can't be read."""
        storage, key = self._place()
        return await storage.read(key)

    def read_bytes(self) -> bytes:
        """All bytes of the asset. Raises `errors.StoreError` when it can't be read."""
        return run_sync(self.aread_bytes())

    async def asave_to(self, path: str | Path) -> Path:
        """Copy the asset to a local file, or under its own name into a folder, streamed, and return the file's path."""
        storage, key = self._place()
        path = Path(path).expanduser()
        if path.is_dir():
            path /= key.rpartition("/")[2]
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as file:
                async for chunk in storage.stream(key):
                    file.write(chunk)
            return part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def save_to(self, path: str | Path) -> Path:
        """Copy the asset to a local file, or under its own name into a folder, streamed, and return the file's path."""
        return run_sync(self.asave_to(path))

    async def aurl(self, expires_in: timedelta | float = timedelta(hours=1)) -> str | None:
        """A link that anybody can open until it expires, in seconds; None where the store can't sign links."""
        storage, key = self._place()
        expires_in = expires_in if isinstance(expires_in, timedelta) else timedelta(seconds=expires_in)
        return await storage.sign(key, expires_in)

    def url(self, expires_in: timedelta | float = timedelta(hours=1)) -> str | None:
        """A link that anybody can open until it expires, in seconds; None where the store can't sign links."""
        return run_sync(self.aurl(expires_in))

    async def acard(self, *, plays: bool = True) -> str:
        """The asset as HTML for a notebook, with a picture or a player in it; without one where none can be read.

        Args:
            plays: Whether a small video is put into it whole; otherwise a frame of it is.
        """
        return display.card(self.uri.rpartition("/")[2], self._facts(), await self._picture(plays))

    def _repr_html_(self) -> str:
        try:
            return run_sync(self.acard())
        except RuntimeError:  # on the loop that would read the picture
            return display.card(self.uri.rpartition("/")[2], self._facts())

    def __rich__(self) -> Table:
        return display.table(self.uri.rpartition("/")[2], self._facts())

    def _facts(self) -> display.Facts:
        source = self.source
        cost = source.cost_usd if source else None
        return (
            ("pixels", f"{self.width} x {self.height}" if self.width else None),
            ("length", None if self.seconds is None else f"{self.seconds:g} s"),
            ("size", f"{self.size_bytes / 1e6:.2f} MB"),
            ("model", source and f"{source.model} at {source.host}"),
            ("job", source and source.job_id),
            ("cost", None if cost is None else f"{cost:.4f} USD"),
            *(("warning", warning) for warning in self.warnings),
            ("where", self.uri),
            ("SHA-256", self.sha256),
        )

    async def _picture(self, plays: bool) -> str:
        try:
            async with asyncio.timeout(PICTURE_SECONDS):
                storage, key = self._place()
                if plays and self.kind == "video" and (await storage.size(key) or MOST_EMBEDDED + 1) <= MOST_EMBEDDED:
                    return display.player(await storage.read(key), self.content_type)
                with await storage.open(key) as file:
                    return display.image(await asyncio.to_thread(poster, self.kind, file), "image/jpeg")
        except Exception:  # a picture is a courtesy: the card says what the asset is without it
            return ""

    def _place(self) -> tuple[Storage, str]:
        return storage_of(self.uri)
