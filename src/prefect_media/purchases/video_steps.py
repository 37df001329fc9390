"""A video in three steps, for pipelines that must not hold a worker while it is made: submit, wait, fetch.

The job that goes from step to step is a small JSON value, so each may run in another process, on another machine or
another day; what they share is the store, with the ledger in it.
"""

from __future__ import annotations

from contextlib import nullcontext

from ..assets import Asset
from ..errors import NotFound
from ..jobs import VideoJob, expiry_error
from ..ledger.ledger import Claim, Ledger
from ..ledger.record import Record, error_of
from ..providers import videos
from ..providers.address import segment
from ..providers.connection import Connection
from ..purchase_options import PurchaseOptions
from ..requests import VideoRequest, VideoVariation
from ..runtime import clock
from ..runtime.hashing import sha256_of
from ..storage.store import Storage
from ..waiting.durations import recall, remember
from ..waiting.poller import poller_of
from ..waiting.wait import reporter_of_job, watch
from .orders import connection_of
from .report_steps import reporter_of
from .videos import cancel_purchase, collect_video, end_job, order_video, record_failure


async def submit(
    connection: Connection, request: VideoRequest | VideoVariation, storage: Storage, options: PurchaseOptions
) -> VideoJob:
    """The one job of a request in its scope, bought now or before; also one that failed, as its waiter will hear."""
    _, job = await order_video(connection, request, Ledger(storage), options, failed_too=True)
    assert job is not None
    return job


async def wait(connection: Connection, job: VideoJob, storage: Storage, options: PurchaseOptions) -> VideoJob:
    """The same job, once it is finished.

    Raises:
        errors.InvalidRequest: The job was made at another server than the credentials are for.
        errors.MediaError: What `watch` raises; a failure is put on record.
    """
    at, ledger = connection_of(job, connection), Ledger(storage)
    claim = await _purchase_of(job, ledger)
    if claim and claim.record.state == "done":
        return job
    if claim:
        _raise_failure(claim)
    await recall(storage, at.base_url)
    steps = reporter_of(claim.record, options) if claim else reporter_of_job(job, options)
    with steps.report_errors(), steps.report_interruption(job.id):
        async with record_failure(ledger, claim, job) if claim else nullcontext():
            await watch(at, job, options, steps)
    await remember(storage, at.base_url, idle=poller_of(at).idle)
    return job


async def is_finished(connection: Connection, job: VideoJob, storage: Storage) -> bool:
    """One look at a job, without waiting.

    Raises:
        errors.MediaError: The look failed. A job that failed counts as finished: `wait` and `fetch` say why.
    """
    at = connection_of(job, connection)
    claim = await _purchase_of(job, Ledger(storage))
    if claim and claim.record.state in ("done", "failed"):
        return True
    try:
        return (await videos.look(at, job.id)).phase in ("done", "failed")
    except NotFound as error:
        raise expiry_error(job.id, error) from error


async def fetch(connection: Connection, job: VideoJob, storage: Storage, options: PurchaseOptions) -> Asset:
    """The video of a finished job, stored and on record; fetched before, it is the same one.

    A job that is not on the ledger of this store (made elsewhere, or attached by its id) gets a record of its own.

    Raises:
        errors.InvalidRequest: The job was made at another server than the credentials are for.
        errors.MediaError: What watching and storing raise.
    """
    connection_of(job, connection)  # refuses a job of another server
    ledger = Ledger(storage)
    claim = await _purchase_of(job, ledger) or await _adopt(job, connection, ledger, options)
    _raise_failure(claim)
    return await collect_video(connection, job, ledger, claim, options)


async def cancel(connection: Connection, job: VideoJob, storage: Storage) -> None:
    """End a job at the provider, and put that on record.

    Raises:
        errors.InvalidRequest: The provider can't end jobs, or not this one; it goes on. Or it is finished: it stays.
    """
    at, ledger = connection_of(job, connection), Ledger(storage)
    claim = await _purchase_of(job, ledger)
    if claim is None:
        await end_job(at, job)
    else:
        await cancel_purchase(at, job, ledger, claim)


def job_at(connection: Connection, job_id: str, *, model: str = "") -> VideoJob:
    """A handle of a job that only its id is known of.

    Raises:
        errors.InvalidRequest: No job can have that id.
    """
    segment("job id", job_id)
    return VideoJob(
        provider=connection.provider,
        base_url=connection.base_url,
        api_version=connection.api_version,
        dialect=connection.dialect,
        model=model,
        id=job_id,
        fingerprint=_digest(connection.base_url, job_id),
        submitted_at=clock.now(),
    )


async def _purchase_of(job: VideoJob, ledger: Ledger) -> Claim | None:
    entry = await ledger.get(job.purchase) if job.purchase else None
    if entry is None or job.id not in entry[0].job_ids:
        return None
    await ledger.settle(entry[0])
    return Claim(*entry)


async def _adopt(job: VideoJob, connection: Connection, ledger: Ledger, options: PurchaseOptions) -> Claim:
    now = clock.now()
    order = Record(
        key=_digest("adopted", job.base_url, job.id),
        scope=options.scope,
        kind="video",
        operation="adopt",
        account=connection.account,
        fingerprint=_digest(job.base_url, job.id),
        request={"model": job.model} if job.model else {},
        created_at=now,
        updated_at=now,
        flow_run_id=options.flow_run_id,
        flow_name=options.flow_name,
    )
    claim = await ledger.claim(order)
    if claim.ours:
        await ledger.move(claim, state="submitted", job=job)
    return claim


def _raise_failure(claim: Claim) -> None:
    if claim.record.state == "failed" and claim.record.failure:
        raise error_of(claim.record.failure)


def _digest(*parts: str) -> str:
    return sha256_of("\n".join(parts))
