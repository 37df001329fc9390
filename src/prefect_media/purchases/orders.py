"""The way of one purchase: checked, claimed, submitted once, watched, stored, on record.

Everything that a retry, a re-run or another machine could do twice goes through the ledger first, and the ledger
sends it to the right place. Nothing in this file knows of Prefect.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, TypeVar

from ..assets import Asset
from ..errors import ModelRetired, StoreError
from ..jobs import VideoJob
from ..ledger.ledger import Claim, Ledger
from ..ledger.record import Failure, Record, error_of
from ..providers.address import base_url_at
from ..providers.connection import Connection
from ..providers.server_time import server_time
from ..purchase_options import PurchaseOptions
from ..requests import ImageEditRequest, ImageOptions, ImageRequest, VideoRequest, VideoVariation
from ..runtime import clock
from ..runtime.hashing import sha256_of
from ..steps import StepReporter
from ..storage.store import Storage
from .report_steps import report_reused

T = TypeVar("T")


NO_REASON = Failure(
    error="JobFailed",
    message="the purchase failed, and its record does not say why; pass retry_failed=True to buy it again",
)


def connection_of(job: VideoJob, connection: Connection) -> Connection:
    """The connection a job was made with: today's key, and the job's own words at the server that the key is for.

    Raises:
        errors.InvalidRequest: The job was made at another origin than the credentials are for.
    """
    base_url = base_url_at(connection.base_url, f"job {job.id}", job.base_url, job_id=job.id)
    return replace(
        connection, provider=job.provider, base_url=base_url, api_version=job.api_version, dialect=job.dialect
    )


async def refuse_unless_bought(retired: ModelRetired | None, ledger: Ledger, order: Record) -> None:
    """A model that is gone can't be bought from any more; what was bought from it before is still ours."""
    if retired is None:
        return
    entry = await ledger.get(order.key)
    if entry is None or entry[0].state not in ("submitted", "done"):
        raise retired


def order_of(
    connection: Connection,
    request: ImageRequest | ImageEditRequest | VideoRequest | VideoVariation,
    normal: dict[str, Any],
    options: PurchaseOptions,
) -> Record:
    normal = {
        name: value
        for name, value in sorted(normal.items())
        if value not in (None, {}, []) and name != "model_family"  # whose rules hold changes nothing that is bought
    }
    fingerprint = digest({"operation": request.operation, "request": normal})
    now = clock.now()
    return Record(
        key=digest({"scope": options.scope, "account": connection.account, "fingerprint": fingerprint}),
        scope=options.scope,
        kind="image" if isinstance(request, ImageOptions) else "video",
        operation=request.operation,
        account=connection.account,
        fingerprint=fingerprint,
        request=normal,
        created_at=now,
        updated_at=now,
        flow_run_id=options.flow_run_id,
        flow_name=options.flow_name,
        budget=options.budget and options.budget.path(options.flow_run_id),
        server_time=server_time(connection.base_url),
    )


def digest(value: object) -> str:
    return sha256_of(json.dumps(value, sort_keys=True, separators=(",", ":")))


async def settle_claim(ledger: Ledger, claim: Claim, options: PurchaseOptions, steps: StepReporter) -> Claim:
    """A claim that is ours to submit, submitted or done; a failure is raised, a doubt taken over."""
    while claim.record.state == "in_doubt":
        claim = await ledger.take_doubt(claim) or await ledger.claim(claim.record)
    record = claim.record
    if record.state == "failed":
        raise error_of(record.failure or NO_REASON)
    if not claim.ours:
        options.logger.info(
            "Bought before in this scope (%s %s, %s); variant=%s makes another",
            record.operation,
            record.kind,
            record.state,
            record.request.get("variant", 0) + 1,
        )
        report_reused(record, steps)
    return claim


async def still_there(record: Record, storage: Storage, options: PurchaseOptions) -> list[Asset]:
    if not record.assets:
        raise StoreError(
            f"the purchase {record.key[:12]} is on record as done and names no {record.kind}; its record is damaged; "
            f"to buy it again: prefect-media jobs forget {record.key[:12]} --store {storage.url}",
            transient=False,
            missing=True,
            key=record.key,
        )
    for asset in record.assets:
        key = storage.key_of(asset.uri)
        if key is None or await storage.size(key) != asset.size_bytes:
            raise StoreError(
                f"{asset.uri} was bought before but is no longer in the store; pass another variant to buy another, "
                f"or forget it with: prefect-media jobs forget {record.key[:12]} --store {storage.url}",
                transient=False,
                missing=True,
                key=record.key,
            )
    return list(record.assets)
