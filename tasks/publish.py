"""Finished media copied to where they are used, with a manifest beside them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from prefect import task
from prefect.runtime import flow_run

from prefect_media.assets import Asset, Manifest
from prefect_media.errors import InvalidRequest
from prefect_media.storage import Storage, storage_of

from .context import Store, root_flow_run_id, run_logger, storage_for
from .retried import RETRIED, sync_twin


@task(name="publish", **RETRIED)
async def apublish(
    assets: Asset | Sequence[Asset], destination: Store | None = None, *, prefix: str | None = None
) -> Manifest:
    """Copy assets to a bucket or folder, check that they arrived whole, and write a manifest beside them.

    Doing it again writes the same objects to the same keys.

    Example:
        ```python
        manifest = await apublish([fox, clip], "s3://my-bucket/campaigns", prefix="autumn")
        manifest.uri  # s3://my-bucket/campaigns/autumn/manifest.json
        ```

    Args:
        assets: What to publish, in the manifest's order.
        destination: A `MediaStore`, the name of a saved one, a URL or a folder. Default: the default store.
        prefix: Folder inside the destination. Default: named after the flow run.

    Returns:
        The manifest, with the assets where they now lie.

    Raises:
        errors.StoreError: Something can't be read or written; what was copied stays.
    """
    assets = [assets] if isinstance(assets, Asset) else list(assets)
    if not assets:
        raise InvalidRequest("there is nothing to publish: assets is empty")
    target = await storage_for(destination)
    folder = (prefix if prefix is not None else await _default_prefix(assets)).strip("/")
    lead = f"{folder}/" if folder else ""
    published = [await _copied(asset, target, lead) for asset in assets]
    costs = [asset.source.cost_usd if asset.source else None for asset in assets]
    manifest = Manifest(
        uri=target.uri(f"{lead}manifest.json"),
        assets=tuple(published),
        total_cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
    )
    await target.put(
        f"{lead}manifest.json", manifest.model_dump_json(indent=2).encode(), content_type="application/json"
    )
    run_logger().info("Published %d assets: %s", len(published), manifest.uri)
    return manifest


async def _copied(asset: Asset, target: Storage, lead: str) -> Asset:
    storage, key = storage_of(asset.uri)
    stored = await storage.copy(
        key, target, lead + key.rpartition("/")[2], content_type=asset.content_type, sha256=asset.sha256
    )
    return asset.model_copy(update={"uri": stored.uri})


async def _default_prefix(assets: list[Asset]) -> str:
    if run_id := await root_flow_run_id():
        return f"{flow_run.flow_name}-{run_id[:8]}"
    together = sha256("".join(asset.sha256 for asset in assets).encode()).hexdigest()
    return f"published-{together[:8]}"


publish = sync_twin(apublish, **RETRIED)
