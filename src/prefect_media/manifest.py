"""What was published together, in one readable JSON file beside the media, and whether it is still as it was."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import display
from .assets import Asset
from .errors import StoreError
from .runtime import clock
from .runtime.sync import run_sync
from .settings import settings
from .storage.store import Storage, storage_of

if TYPE_CHECKING:
    from rich.table import Table

NAME = "manifest.json"

Problem = Literal["missing", "size", "hash", "unreadable"]


class Finding(BaseModel):
    """The result of verifying one asset of a manifest."""

    model_config = ConfigDict(frozen=True)

    uri: str = Field(description="The asset.")
    problem: Problem | None = Field(
        default=None, description="What is wrong with it; None where every byte is as it was published."
    )
    detail: str = Field(default="", description="The same for people.")


class Verification(BaseModel):
    """What was found when everything in a manifest was read and hashed again."""

    model_config = ConfigDict(frozen=True)

    uri: str = Field(description="The manifest.")
    findings: tuple[Finding, ...] = Field(description="One for each asset, in the manifest's order.")

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """The assets with a problem."""
        return tuple(finding for finding in self.findings if finding.problem)

    @property
    def ok(self) -> bool:
        """Whether all assets are as they were published."""
        return not self.wrong


class Manifest(BaseModel):
    """What was published together: one readable JSON file beside the media.

    `Manifest.model_json_schema()` describes the file. Links that expire are never in it; ask for them when you
    need them.

    Example:
        ```python
        manifest = Manifest.load("s3://my-bucket/campaigns/autumn")
        manifest.verify()
        manifest.links(timedelta(days=1))
        ```
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = Field(default=1, description="Version of this form.")
    uri: str = Field(description="Where the manifest itself lies.")
    created_at: datetime = Field(default_factory=clock.now, description="When it was written (UTC).")
    assets: tuple[Asset, ...] = Field(description="The published assets, in order.")
    total_cost_usd: float | None = Field(
        default=None, description="Sum in USD; None when the price of any asset is unknown."
    )

    @classmethod
    async def aload(cls, url: str) -> Manifest:
        """Read a manifest.

        Where the whole folder was copied to another place, the assets are those beside the manifest.

        Args:
            url: Its address, or that of the folder it is in, such as "s3://bucket/autumn" or "./autumn".

        Raises:
            errors.StoreError: There is none, or it can't be read.
        """
        place = url if url.endswith(".json") else f"{url.rstrip('/')}/{NAME}"
        storage, key = storage_of(place)
        try:
            text = await storage.read(key)
        except StoreError as error:
            if not error.details.get("missing"):
                raise
            raise StoreError(
                f"there is no manifest at {storage.uri(key)}; give the address of one, or of the folder it is in",
                transient=False,
                missing=True,
            ) from None
        try:
            manifest = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            what = ".".join(map(str, first["loc"]))
            raise StoreError(
                f"{storage.uri(key)} is not a manifest that this version can read "
                f"({what or 'JSON'}: {first['msg']}); give another, or upgrade prefect-media",
                transient=False,
            ) from None
        return manifest._move_to(storage.uri(key))

    @classmethod
    def load(cls, url: str) -> Manifest:
        """The sync twin of `aload`."""
        return run_sync(cls.aload(url))

    async def averify(self, *, strict: bool = True) -> Verification:
        """Read and hash everything again, whoever stored it and however it came there.

        Args:
            strict: Whether to raise when something is wrong; otherwise the answer says it.

        Returns:
            What was found, asset by asset.

        Raises:
            errors.StoreError: An asset is missing, has another size or hash, or can't be read (`findings` says which).
        """
        turns = asyncio.Semaphore(settings().max_transfers)

        async def look(asset: Asset) -> Finding:
            async with turns:
                return await _finding(asset)

        verification = Verification(uri=self.uri, findings=tuple(await asyncio.gather(*map(look, self.assets))))
        if strict and not verification.ok:
            first = verification.wrong[0]
            raise StoreError(
                f"{len(verification.wrong)} of {len(self.assets)} assets are not as they were published, the first: "
                f"{first.uri}: {first.detail}; publish them again from where they were made",
                transient=False,
                findings=[finding.model_dump() for finding in verification.wrong],
            )
        return verification

    def verify(self, *, strict: bool = True) -> Verification:
        """The sync twin of `averify`."""
        return run_sync(self.averify(strict=strict))

    async def alinks(self, expires_in: timedelta = timedelta(hours=1)) -> dict[str, str | None]:
        """Links that anybody can open until they expire, by the assets' addresses; None for what lies in a folder."""
        urls = await asyncio.gather(*(asset.aurl(expires_in) for asset in self.assets))
        return dict(zip((asset.uri for asset in self.assets), urls, strict=True))

    def links(self, expires_in: timedelta = timedelta(hours=1)) -> dict[str, str | None]:
        """The sync twin of `alinks`."""
        return run_sync(self.alinks(expires_in))

    def _repr_html_(self) -> str:
        more = len(self.assets) - display.MOST_SHOWN
        try:
            cards = run_sync(self._acards())
        except RuntimeError:  # on the loop that would read the pictures
            cards, more = [], len(self.assets)
        return display.cards(cards, title=self._title(), more=more)

    def __rich__(self) -> Table:
        lines = [
            (asset.uri.rpartition("/")[2], asset.kind, asset.size_bytes, asset.source and asset.source.model)
            for asset in self.assets
        ]
        return display.rows(self._title(), ("asset", "kind", "bytes", "model"), lines)

    def _title(self) -> str:
        cost = "" if self.total_cost_usd is None else f", {self.total_cost_usd:.4f} USD"
        return f"{len(self.assets)} assets{cost}: {self.uri}"

    async def _acards(self) -> list[str]:
        return await asyncio.gather(*(asset.acard(plays=False) for asset in self.assets[: display.MOST_SHOWN]))

    def _move_to(self, uri: str) -> Manifest:
        """The manifest as it is true where it was found."""
        old, new = self.uri.rpartition("/")[0] + "/", uri.rpartition("/")[0] + "/"
        if old == new:
            return self
        assets = [
            asset.model_copy(update={"uri": new + asset.uri.removeprefix(old)}) if asset.uri.startswith(old) else asset
            for asset in self.assets
        ]
        return self.model_copy(update={"uri": uri, "assets": tuple(assets)})


async def _finding(asset: Asset) -> Finding:
    try:
        storage, key = storage_of(asset.uri)
        size = await storage.size(key)
        if size is None:
            return Finding(uri=asset.uri, problem="missing", detail="it is not there")
        if size != asset.size_bytes:
            return Finding(uri=asset.uri, problem="size", detail=f"{size} bytes instead of {asset.size_bytes}")
        sha256 = await hash_of(storage, key)
    except StoreError as error:
        missing = bool(error.details.get("missing"))  # deleted between two looks
        return Finding(uri=asset.uri, problem="missing" if missing else "unreadable", detail=error.message)
    if sha256 != asset.sha256:
        return Finding(uri=asset.uri, problem="hash", detail=f"SHA-256 {sha256} instead of {asset.sha256}")
    return Finding(uri=asset.uri)


async def hash_of(storage: Storage, key: str) -> str:
    """The SHA-256 of what is stored, read piece by piece."""
    digest = hashlib.sha256()
    async for block in storage.stream(key):
        await asyncio.to_thread(digest.update, block)
    return digest.hexdigest()
