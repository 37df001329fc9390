"""What is known of a stored image or video, in a small JSON file beside it: `fox.mp4` and `fox.mp4.json`.

Nothing is written into the media themselves: that would break their C2PA signatures, and their hashes. A sidecar is
written when its content is whole, right before the purchase is put on record as done. When it can't be written, it is
tried again; after that the purchase goes on without it, because all of it is on the ledger too, and what was paid for
must not depend on a note about it.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..assets import Asset
from ..errors import StoreError
from ..ledger.record import Record
from ..runtime.retry import is_transient, retrying
from ..storage.store import Storage

SUFFIX = ".json"

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds between two attempts to write one."""

PACKAGES = ("prefect-media", "openai", "prefect")


class Purchase(BaseModel):
    """What the asset was bought as."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str = Field(description="Key of the purchase on the ledger.")
    scope: str = Field(description="What the purchase is unique within.")
    attempt: int = Field(description="How often it was tried to buy this; 1 is the first time.")
    flow_run_id: str | None = Field(default=None, description="The outermost flow run that bought it.")
    flow_name: str | None = Field(default=None, description="Name of the flow that bought it.")


class Lineage(BaseModel):
    """What the asset was made from."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    remixed_from: str | None = Field(default=None, description="Job id of the video it was made from.")
    references: tuple[str, ...] = Field(default=(), description="SHA-256 of each reference image, in order.")
    mask: str | None = Field(default=None, description="SHA-256 of the mask of an edit.")
    markup: str | None = Field(default=None, description="SHA-256 of the markup of an edit.")


class Sidecar(BaseModel):
    """All that is known of one stored image or video; `Sidecar.model_json_schema()` describes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = Field(default=1, description="Version of this form.")
    asset: Asset = Field(description="The content: where, what, how large, its hash, its source, what it cost.")
    request: Mapping[str, Any] = Field(description="The request as it was bought; reference images by their hash.")
    purchase: Purchase = Field(description="What it was bought as.")
    lineage: Lineage = Field(description="What it was made from.")
    versions: Mapping[str, str] = Field(description="Versions of the software that made the request.")


def sidecar_of(record: Record, asset: Asset) -> Sidecar:
    """The sidecar of one of a purchase's assets."""
    request = record.request
    image = request.get("image")
    return Sidecar(
        asset=asset,
        request=request,
        purchase=Purchase.model_validate(record.model_dump(include=set(Purchase.model_fields))),
        lineage=Lineage(
            remixed_from=asset.source.remixed_from if asset.source else None,
            references=tuple(request.get("images") or ([image] if image else [])),
            mask=request.get("mask"),
            markup=request.get("markup"),
        ),
        versions=versions(),
    )


async def write_sidecars(
    storage: Storage, record: Record, assets: Sequence[Asset], logger: logging.Logger | logging.LoggerAdapter[Any]
) -> None:
    """Write the sidecar of each asset, or say in the log why it is missing. Raises nothing."""
    await asyncio.gather(*(_write(storage, record, asset, logger) for asset in assets))


async def _write(
    storage: Storage, record: Record, asset: Asset, logger: logging.Logger | logging.LoggerAdapter[Any]
) -> None:
    key = storage.key_of(asset.uri)
    assert key is not None
    data = sidecar_of(record, asset).model_dump_json(indent=2).encode()
    put = partial(storage.put, key + SUFFIX, data, content_type="application/json")
    try:
        await retrying(put, PAUSES, is_transient)
    except StoreError as error:
        logger.warning(
            "%s%s could not be written; the ledger has the same under %s: %s",
            asset.uri,
            SUFFIX,
            record.key[:12],
            error.message,
        )


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of this package, of what it is built on, and of Python."""
    versions_by_name = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions_by_name[package] = version(package)
        except PackageNotFoundError:  # run from a checkout that is not installed
            continue
    return versions_by_name
