"""The way of one purchase: checked, claimed, submitted once, watched, stored, on record.

Everything that a retry, a re-run or another machine could do twice goes through the ledger first, and the ledger
sends it to the right place. Nothing in this file knows of Prefect.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from . import catalog
from .assets import Asset
from .costs import total
from .delivery import store_images, store_video
from .edits import EditFiles, prepared
from .errors import (
    ContentRejected,
    JobFailed,
    MediaError,
    ModelRetired,
    ProviderUnavailable,
    RateLimited,
    StoreError,
    SubmissionInDoubt,
)
from .experience import recall, remember
from .jobs import VideoJob
from .ledger import Claim, Ledger, Overtaken, Record, failure_of, remembered
from .material import material_of
from .parts import Part, joined, split
from .poller import poller_of
from .providers import images, videos
from .providers.client import Connection
from .providers.images import Reply
from .providers.wire import Upload
from .reconcile import reconcile
from .requests import ImageEditRequest, ImageOptions, ImageRequest, VideoRequest, VideoVariation
from .sidecar import write_sidecars
from .storage import Storage
from .terms import Terms
from .watch import watch

T = TypeVar("T")


async def buy_images(
    connection: Connection, request: ImageRequest | ImageEditRequest, storage: Storage, terms: Terms
) -> list[Asset]:
    """Images, made or edited, bought once and stored; more than the model makes at once are several purchases."""
    host, family, retired = connection.catalog_host, connection.model_family, None
    try:
        request = catalog.check(request, host, family=family, partial_images=terms.partial_images, logger=terms.logger)
    except ModelRetired as refusal:
        request, retired = catalog.resolved(request, host, family=family), refusal
    files = await prepared(request) if isinstance(request, ImageEditRequest) else EditFiles()
    parts = split(request, catalog.most_at_once(request, host, family))
    return await joined([_buy_part(connection, part, files, storage, terms, retired) for part in parts])


async def _buy_part(
    connection: Connection, part: Part, files: EditFiles, storage: Storage, terms: Terms, retired: ModelRetired | None
) -> list[Asset]:
    """One purchase of images: one paid request."""
    request = part.request
    normal = request.model_dump(mode="json", exclude={"images", "mask", "markup"}) | files.hashes | part.identity
    ledger, order = Ledger(storage), order_of(connection, request, normal, terms)
    await refuse_unless_bought(retired, ledger, order)
    claim = await ledger.claim(order, retry_failed=terms.retry_failed)
    claim = await _settled(ledger, claim, terms)
    if claim.record.state == "done":
        return await still_there(claim.record, storage, terms)
    if claim.record.batch and not claim.ours:
        raise claim.record.batch.under_way("this request")

    if claim.record.doubtful and terms.on_doubt == "raise":
        await ledger.move(claim, state="in_doubt")
        raise _images_in_doubt(claim.record, "an earlier attempt died while the provider was making the images")
    claim.doubt(False)
    try:
        async with submitting(ledger, claim), AsyncExitStack() as stack:

            def send() -> AbstractAsyncContextManager[Reply]:
                return images.post(connection, request, files.uploads, partial_images=terms.partial_images)

            try:
                reply = await patiently(lambda: stack.enter_async_context(send()), ledger, claim, terms)
                claim.doubt(True)  # paid, and until they are stored the images are nowhere but here
                assets = await store_images(connection, request, reply, storage, claim.record, terms)
                await write_sidecars(storage, claim.record, assets, terms.logger)
            except SubmissionInDoubt as error:
                raise _images_in_doubt(claim.record, error.message, error) from error
            record = await ledger.move(claim, state="done", assets=tuple(assets), cost_usd=total(assets))
    except Overtaken:
        return await _buy_part(connection, part, files, storage, terms, retired)
    return list(record.assets)


async def buy_video(
    connection: Connection, request: VideoRequest | VideoVariation, storage: Storage, terms: Terms
) -> Asset:
    """A video, bought once, watched to its end and stored."""
    ledger = Ledger(storage)
    claim, job = await order_video(connection, request, ledger, terms)
    return await collect_video(connection, job, ledger, claim, terms)


async def collect_video(
    connection: Connection, job: VideoJob | None, ledger: Ledger, claim: Claim, terms: Terms
) -> Asset:
    """The video of a purchase that was submitted or is done: from the store, else from the provider."""
    if claim.record.state == "done":
        try:
            return (await still_there(claim.record, ledger.storage, terms))[0]
        except StoreError as gone:
            if job is None or not gone.details.get("missing"):
                raise
            terms.logger.warning("The stored video of job %s is gone; downloading it again", job.id)
            try:
                return await finish_video(connection, job, ledger, claim, terms)
            except JobFailed:
                raise gone from None  # the provider has deleted it too
    assert job is not None
    return await finish_video(connection, job, ledger, claim, terms)


async def order_video(
    connection: Connection, request: VideoRequest | VideoVariation, ledger: Ledger, terms: Terms
) -> tuple[Claim, VideoJob | None]:
    """Make sure that exactly one job for this request exists, and say which."""
    retired: ModelRetired | None = None
    if isinstance(request, VideoRequest):
        host, family = connection.catalog_host, connection.model_family
        try:
            request = catalog.check(request, host, family=family, logger=terms.logger)
        except ModelRetired as refusal:
            request, retired = catalog.resolved(request, host, family=family), refusal
    material = await material_of(connection, request, ledger.storage, terms.scope)
    if material.gone:
        terms.logger.warning("%s. Going on with what the store knows of it", material.gone.message.partition(". N")[0])
    given = "image" if isinstance(request, VideoRequest) else "video"
    normal = request.model_dump(mode="json", exclude={given}) | material.identity
    order = order_of(connection, request, normal, terms).model_copy(update={"reference_uri": material.uri})
    upload: Upload | None = None

    def submit() -> Awaitable[VideoJob]:
        image, footage = (upload, None) if given == "image" else (None, upload)
        return videos.submit(connection, request, image=image, footage=footage, fingerprint=order.fingerprint)

    def find(error: SubmissionInDoubt | None) -> Awaitable[VideoJob | None]:
        return reconcile(connection, claim.record, ledger, terms, error)

    await refuse_unless_bought(retired, ledger, order)
    while True:
        claim = await ledger.claim(order, retry_failed=terms.retry_failed)
        claim = await _settled(ledger, claim, terms)
        if not claim.ours:
            return claim, claim.record.job
        with suppress(Overtaken):
            async with submitting(ledger, claim):
                upload = await material.ready(ledger.storage)
                job = await submitted(submit, find, ledger, claim, terms)
                job = job.model_copy(update={"purchase": claim.record.key})
                claim.doubt(True)  # until it is on record
                record = await ledger.move(claim, state="submitted", job=job)
            break
    if record.job and record.job.id != job.id:
        terms.logger.error(
            "The jobs %s and %s were bought for one purchase; going on with the second", job.id, record.job.id
        )
    return claim, record.job or job


async def submitted(
    submit: Callable[[], Awaitable[T]],
    find: Callable[[SubmissionInDoubt | None], Awaitable[T | None]],
    ledger: Ledger,
    claim: Claim,
    terms: Terms,
) -> T:
    """The one job of a purchase that is ours to make: found at the provider after a doubt, else bought."""
    job = await find(None) if claim.record.doubtful else None
    for tries_left in (1, 0):
        if job is not None:
            break
        claim.doubt(False)
        try:
            job = await patiently(submit, ledger, claim, terms)
        except SubmissionInDoubt as error:
            claim.doubt(True)  # and so it stays if the provider can't be asked now
            terms.logger.warning("%s; asking the provider which jobs it has", error.message)
            job = await find(error)
            if job is None and not tries_left:
                claim.doubt(False)
                raise ProviderUnavailable(f"{error.message}, twice; no job was bought", **error.details) from error
    assert job is not None
    return job


async def finish_video(connection: Connection, job: VideoJob, ledger: Ledger, claim: Claim, terms: Terms) -> Asset:
    """Watch a job to its end, store the video and put it on record."""
    at = connection_of(job, connection)
    try:
        async with remembering(ledger, claim):
            await recall(ledger.storage, at.base_url)
            state = await watch(at, job, terms)
            asset, _ = await asyncio.gather(
                store_video(at, job, state, ledger.storage, claim.record),
                remember(ledger.storage, at.base_url, idle=poller_of(at).idle),
            )
            await write_sidecars(ledger.storage, claim.record, [asset], terms.logger)
    except asyncio.CancelledError:
        if terms.cancel_remote:
            await asyncio.shield(cancel(at, job, ledger, claim))
        raise
    record = await ledger.move(claim, state="done", assets=(asset,), cost_usd=total([asset]))
    return record.assets[0]


@asynccontextmanager
async def remembering(ledger: Ledger, claim: Claim) -> AsyncGenerator[None]:
    """Put on record that the provider gave up on a job; what was stored once stays on record."""
    try:
        yield
    except (JobFailed, ContentRejected) as error:
        if claim.record.state != "done":
            await ledger.move(claim, state="failed", failure=failure_of(error))
        raise


async def cancel(connection: Connection, job: VideoJob, ledger: Ledger, claim: Claim) -> None:
    """Delete a job at the provider and remember that it was cancelled."""
    await videos.delete(connection, job.id)
    gone = JobFailed(
        f"job {job.id} was cancelled; pass retry_failed=True to buy it again", job_id=job.id, code="cancelled"
    )
    await ledger.move(claim, state="failed", failure=failure_of(gone))


def connection_of(job: VideoJob, connection: Connection) -> Connection:
    """The connection a job was made with: today's key, but the job's own server."""
    return replace(
        connection, provider=job.provider, base_url=job.base_url, api_version=job.api_version, dialect=job.dialect
    )


async def refuse_unless_bought(retired: ModelRetired | None, ledger: Ledger, order: Record) -> None:
    """A model that is gone can't be bought from any more; what was bought from it before is still ours."""
    if retired is None:
        return
    found = await ledger.get(order.key)
    if found is None or found[0].state not in ("submitted", "done"):
        raise retired


def order_of(
    connection: Connection,
    request: ImageRequest | ImageEditRequest | VideoRequest | VideoVariation,
    normal: dict[str, Any],
    terms: Terms,
) -> Record:
    normal = {
        name: value
        for name, value in sorted(normal.items())
        if value not in (None, {}, []) and name != "model_family"  # whose rules hold changes nothing that is bought
    }
    fingerprint = digest({"operation": request.operation, "request": normal})
    now = datetime.now(UTC)
    return Record(
        key=digest({"scope": terms.scope, "account": connection.account, "fingerprint": fingerprint}),
        scope=terms.scope,
        kind="image" if isinstance(request, ImageOptions) else "video",
        operation=request.operation,
        account=connection.account,
        fingerprint=fingerprint,
        request=normal,
        created_at=now,
        updated_at=now,
        flow_run_id=terms.flow_run_id,
        flow_name=terms.flow_name,
    )


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


async def _settled(ledger: Ledger, claim: Claim, terms: Terms) -> Claim:
    """A claim that is ours to submit, submitted or done; a failure is raised, a doubt taken over."""
    while claim.record.state == "in_doubt":
        claim = await ledger.take_doubt(claim) or await ledger.claim(claim.record)
    record = claim.record
    if record.state == "failed" and record.failure:
        raise remembered(record.failure)
    if not claim.ours:
        terms.logger.info(
            "Bought before in this scope (%s %s, %s); variant=%s makes another",
            record.operation,
            record.kind,
            record.state,
            record.request.get("variant", 0) + 1,
        )
    return claim


class submitting:
    """Holds the lease during a submission; when it fails, the ledger is told what is certain."""

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self.ledger, self.claim = ledger, claim
        self.lease = ledger.held(claim)

    async def __aenter__(self) -> None:
        await self.lease.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        await self.lease.__aexit__(None, None, None)
        if error is None or isinstance(error, Overtaken):
            return
        paid = self.claim.record.kind == "image" and self.claim.record.doubtful
        if isinstance(error, ContentRejected):
            await self.ledger.move(self.claim, state="failed", failure=failure_of(error))
        elif isinstance(error, MediaError) and not isinstance(error, SubmissionInDoubt) and not paid:
            # Free for the next attempt: nothing was taken, or the record says that there is a doubt to clear up.
            await self.ledger.move(self.claim, state="intent")
        else:
            await asyncio.shield(self.ledger.move(self.claim, state="in_doubt"))


async def patiently(send: Callable[[], Awaitable[T]], ledger: Ledger, claim: Claim, terms: Terms) -> T:
    """Send a paid request, again only when the server said it took nothing and when to come back."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + terms.timeout
    while True:
        await ledger.confirm(claim)
        try:
            return await send()
        except (RateLimited, ProviderUnavailable) as error:
            if error.retry_after is None or clock() + error.retry_after > deadline:
                raise
            terms.logger.info("The provider asks to come back in %.0f s", error.retry_after)
            await asyncio.sleep(error.retry_after)


async def still_there(record: Record, storage: Storage, terms: Terms) -> list[Asset]:
    for asset in record.assets:
        key = storage.key_of(asset.uri)
        if key is None or await storage.size(key) != asset.size_bytes:
            raise StoreError(
                f"{asset.uri} was bought before but is no longer in the store; pass another variant to buy another, "
                f"or make it forgotten with: prefect-media jobs forget {record.key[:12]}",
                transient=False,
                missing=True,
                key=record.key,
            )
    return list(record.assets)


def _images_in_doubt(record: Record, why: str, error: MediaError | None = None) -> SubmissionInDoubt:
    return SubmissionInDoubt(
        f"{why}; a provider can't be asked for images it made before, so they may be paid for and lost. "
        'Pass on_doubt="resubmit" to go on and perhaps pay twice',
        **{**(error.details if error else {}), "key": record.key},
    )
