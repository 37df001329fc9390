"""Finished media copied to where they are used, with a manifest beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from prefect import task
from prefect.runtime import flow_run

from prefect_media.assets import Asset
from prefect_media.errors import InvalidRequest, StoreError
from prefect_media.manifest import NAME, Manifest, hash_of
from prefect_media.purchases.media_keys import short_id
from prefect_media.runtime.hashing import sha256_of
from prefect_media.storage.attributes import Attributes, check
from prefect_media.storage.store import Storage, storage_of

from .context import Store, a_kind, root_flow_run_id, storage_for
from .current_run import run_logger
from .events import send_published
from .page_writer import publish_on_page
from .retried import RETRIED, sync_twin

COPIES_AT_ONCE = 32
"""Copies inside a server; those that pass through this machine wait for one of its few transfers."""

LISTED_MOST, LISTED_FOR_EACH = 1000, 10
"""A folder is listed, a thousand a request, unless so many more lie in it that asking for each copy costs less."""


@task(name="publish", **RETRIED)
async def apublish(
    assets: Asset | Sequence[Asset],
    destination: Store | None = None,
    *,
    prefix: str | None = None,
    cache_control: str | None = None,
    tags: Mapping[str, str] | None = None,
    storage_class: str | None = None,
    kms_key_id: str | None = None,
    reread: bool = False,
) -> Manifest:
    """Copy assets to a bucket or folder, check that they arrived whole, and write a manifest beside them.

    Between S3 buckets that one login reaches, and inside one bucket of Google or Azure, the server copies and no
    byte passes here; everything else is streamed and hashed on the way. Publishing again skips unchanged files,
    wherever it was interrupted. The manifest is written last.

    | | `s3://` | `gs://` | `az://` | folder |
    | --- | --- | --- | --- | --- |
    | content type | yes | yes | yes | by its ending |
    | `cache_control` | yes | yes, streamed | yes, streamed | error |
    | `storage_class` | yes | yes, streamed | yes, streamed | error |
    | `tags` | yes | error | yes, streamed | error |
    | `kms_key_id` | yes | error | error | error |

    "streamed" means that such a copy passes through this machine even inside one bucket.

    Example:
        ```python
        manifest = await apublish(
            [fox, clip], "s3://my-bucket/campaigns", prefix="autumn", cache_control="public, max-age=86400"
        )
        manifest.uri  # s3://my-bucket/campaigns/autumn/manifest.json
        manifest.links(timedelta(days=1))  # for people without access to the bucket
        ```

    Args:
        assets: What to publish, in the manifest's order.
        destination: A `MediaStore`, the name of a saved one, a URL or a folder. Default: the default store.
        prefix: Folder inside the destination. Default: named after the flow run.
        cache_control: How long browsers and CDNs may keep the media.
        tags: Names and values for the bucket's lifecycle rules and cost reports; the manifest gets them too.
        storage_class: The store's own name of a class, such as "STANDARD_IA" (S3), "NEARLINE" (gs) or "Cool" (az).
            The manifest stays in the bucket's default.
        kms_key_id: Id or ARN of the AWS KMS key that encrypts the media and the manifest. Default: as the bucket does.
        reread: Whether copies that the server made are read back and hashed. Otherwise their size is compared, and
            the server's own checksums where it tells them.

    Returns:
        The manifest, with the assets where they now lie.

    Raises:
        errors.InvalidRequest: The destination can't do what is asked; nothing was copied.
        errors.StoreError: Something can't be read or written; what was copied stays, and is not copied again.
    """
    assets = [assets] if isinstance(assets, Asset) else list(assets)
    if not assets:
        raise InvalidRequest("there is nothing to publish: assets is empty")
    if wrong := [each for each in assets if not isinstance(each, Asset)]:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"assets has {a_kind(wrong[0])} in it; pass what the tasks returned, in one flat list")
    target = await storage_for(destination)
    attributes = Attributes(cache_control, storage_class, dict(tags or {}), kms_key_id)
    check(attributes, target.scheme)
    folder = (prefix if prefix is not None else await run_folder() or _folder_of(assets)).strip("/")
    if folder.partition("/")[0] == "ledger":
        raise InvalidRequest(f"prefix={prefix!r} is where the ledger lies; choose another; nothing was copied")
    lead = f"{folder}/" if folder else ""

    copies = dict(zip(_names(assets), assets, strict=True))
    uris = await _copy_all(copies, target, lead, attributes, reread)
    await _check_sizes(copies, target, lead)
    published = [
        asset.model_copy(update={"uri": uris[name]}) for name, asset in zip(_names(assets), assets, strict=True)
    ]
    costs = [asset.source.cost_usd if asset.source else None for asset in assets]
    manifest = await _write(
        Manifest(
            uri=target.uri(lead + NAME),
            assets=tuple(published),
            total_cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        ),
        target,
        lead + NAME,
        replace(attributes, cache_control=None, storage_class=None),  # it changes, and is needed at once
    )
    publish_on_page(published)
    run_logger().info("Published %d assets: %s", len(published), manifest.uri)
    send_published(manifest)
    return manifest


def _names(assets: Sequence[Asset]) -> list[str]:
    """Names of the copies: those of the originals, with a part of the hash where two would have the same one."""
    names = [asset.uri.rpartition("/")[2] for asset in assets]
    contents: dict[str, set[str]] = {}
    for name, asset in zip(names, assets, strict=True):
        contents.setdefault(name, set()).add(asset.sha256)
    return [
        _with_hash(name, asset) if len(contents[name]) > 1 or name == NAME else name
        for name, asset in zip(names, assets, strict=True)
    ]


def _with_hash(name: str, asset: Asset) -> str:
    stem, dot, ending = name.rpartition(".")
    return f"{stem}-{asset.sha256[:8]}.{ending}" if dot and stem else f"{name}-{asset.sha256[:8]}"


async def _copy_all(
    copies: Mapping[str, Asset], target: Storage, lead: str, attributes: Attributes, reread: bool
) -> dict[str, str]:
    """Copy many at once, and say where each lies; when one fails, none is begun any more."""
    turns = asyncio.Semaphore(COPIES_AT_ONCE)
    there = await _sizes(target, lead, [lead + name for name in copies])

    async def copy(name: str, asset: Asset) -> str:
        key = lead + name
        async with turns:
            size = there[key] if there is not None else await target.size(key)
            await _copy(asset, target, key, size, attributes, reread)
        return target.uri(key)

    tasks = [asyncio.ensure_future(copy(name, asset)) for name, asset in copies.items()]
    try:
        return dict(zip(copies, await asyncio.gather(*tasks), strict=True))
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _sizes(target: Storage, lead: str, keys: Sequence[str]) -> dict[str, int | None] | None:
    """The size of each key in bytes, None of those that are not there; or nothing where each is to be asked for."""
    if target.scheme == "file":  # asking for each costs nothing
        return None
    sizes = dict[str, int | None].fromkeys(keys)
    listed = 0
    async for key, size in target.list(lead):
        if key in sizes:
            sizes[key] = size
        listed += 1
        if listed > LISTED_MOST + LISTED_FOR_EACH * len(keys):
            return None
    return sizes


async def _check_sizes(copies: Mapping[str, Asset], target: Storage, lead: str) -> None:
    """See for all at once that what was published lies there, whatever the server said of each copy.

    Raises:
        errors.StoreError: One does not.
    """
    sizes = await _sizes(target, lead, [lead + name for name in copies])
    for name, asset in copies.items() if sizes else ():
        key = lead + name
        size = sizes[key] if sizes and sizes[key] == asset.size_bytes else await target.size(key)  # lists may be late
        if size != asset.size_bytes:
            has = "is not there" if size is None else f"has {size} bytes instead of {asset.size_bytes}"
            raise StoreError(f"the copy {target.uri(key)} {has}; publish it again")


async def _copy(
    asset: Asset, target: Storage, key: str, size: int | None, attributes: Attributes, reread: bool
) -> None:
    """Copy an asset, unless the same is there already.

    Args:
        asset: What to copy.
        target: Where to.
        key: The key of the copy.
        size: The size in bytes of what is there; None if nothing is.
        attributes: How the copy is to be served and kept.
        reread: Whether what is there, or what the server copied, is read and hashed.
    """
    metadata = {"sha256": asset.sha256}
    if attributes.names:
        metadata["published_with"] = attributes.fingerprint
    same = size == asset.size_bytes and await _is_same(asset, target, key, metadata)
    if same and (not reread or await hash_of(target, key) == asset.sha256):
        return
    storage, source = storage_of(asset.uri)
    await storage.copy(
        source,
        target,
        key,
        content_type=asset.content_type,
        sha256=asset.sha256,
        attributes=replace(attributes, metadata=metadata),
        reread=reread,
    )


async def _is_same(asset: Asset, target: Storage, key: str, metadata: Mapping[str, str]) -> bool:
    """Whether the same was published there before: by a note on the object or, in a folder, by reading the file."""
    if target.scheme == "file":
        return await hash_of(target, key) == asset.sha256
    stored = await target.fetch_metadata(key)
    return stored.get("Content-Type") == asset.content_type and all(
        stored.get(name) == metadata.get(name) for name in ("sha256", "published_with")
    )


async def _write(manifest: Manifest, target: Storage, key: str, attributes: Attributes) -> Manifest:
    """Write the manifest, unless the one that is there says the same."""
    metadata = {"published_with": attributes.fingerprint} if attributes.names else {}
    try:
        there = await Manifest.aload(manifest.uri)
        same = there.model_copy(update={"created_at": manifest.created_at}) == manifest
        if same and (await target.fetch_metadata(key)).get("published_with") == metadata.get("published_with"):
            return there
    except StoreError as error:
        if error.transient:
            raise
    attributes = replace(attributes, metadata=metadata)
    text = manifest.model_dump_json(indent=2).encode()
    await target.put(key, text, content_type="application/json", attributes=attributes)
    return manifest


async def run_folder() -> str | None:
    """The folder that the current flow run publishes to by default."""
    run_id = await root_flow_run_id()
    return f"{flow_run.flow_name}-{short_id(run_id)}" if run_id else None


def _folder_of(assets: Sequence[Asset]) -> str:
    together = sha256_of("".join(asset.sha256 for asset in assets))
    return f"published-{together[:8]}"


publish = sync_twin(apublish, **RETRIED)
