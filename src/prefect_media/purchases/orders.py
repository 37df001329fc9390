"""The way of one purchase: checked, claimed, submitted once, watched, stored, on record.

Everything that a retry, a re-run or another machine could do twice goes through the ledger first, and the ledger
sends it to the right place. Nothing in this file knows of Prefect.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from ..assets import Asset
from ..catalog.check import check, resolved
from ..catalog.data import most_at_once
from ..catalog.prices import quote, total
from ..errors import ContentRejected, InvalidRequest, JobFailed, MediaError, ModelRetired, StoreError, SubmissionInDoubt
from ..jobs import VideoJob
from ..ledger.accounts import reserve
from ..ledger.ledger import Claim, Ledger, Overtaken
from ..ledger.record import Failure, Record, failure_of, remembered
from ..media.edit_files import EditFiles, prepared
from ..media.upload import Upload
from ..providers import images, videos
from ..providers.address import base_url_at
from ..providers.connection import Connection
from ..providers.dialects import taken_by
from ..providers.images import Reply
from ..providers.server_time import server_time
from ..purchase_options import Terms
from ..requests import ImageEditRequest, ImageOptions, ImageRequest, VideoRequest, VideoVariation
from ..runtime import clock
from ..storage.store import Storage
from ..waiting.durations import recall, remember
from ..waiting.poller import poller_of
from ..waiting.wait import watch
from .lost_jobs import reconcile
from .own_job import refuse_another_purchases_job
from .sidecar import write_sidecars
from .split import Part, joined, split
from .store_images import images_stored_before, store_images
from .store_video import store_video
from .submit_once import Ready, guessing, let_in, patiently, submitted, submitting
from .video_inputs import material_of

T = TypeVar("T")

NO_REASON = Failure(
    error="JobFailed",
    message="the purchase failed, and its record does not say why; pass retry_failed=True to buy it again",
)


async def buy_images(
    connection: Connection, request: ImageRequest | ImageEditRequest, storage: Storage, terms: Terms
) -> list[Asset]:
    """Images, made or edited, bought once and stored; more than the model makes at once are several purchases."""
    host, family, retired = connection.catalog_host, connection.model_family, None
    try:
        request = check(request, host, family=family, partial_images=terms.partial_images, logger=terms.logger)
    except ModelRetired as refusal:
        request, retired = resolved(request, host, family=family), refusal
    files = await prepared(request) if isinstance(request, ImageEditRequest) else EditFiles()
    parts = split(request, most_at_once(request, host, family))
    return await joined([_buy_part(connection, part, files, storage, terms, retired) for part in parts])


async def _buy_part(
    connection: Connection, part: Part, files: EditFiles, storage: Storage, terms: Terms, retired: ModelRetired | None
) -> list[Asset]:
    """One purchase of images: one paid request."""
    request, family = part.request, connection.model_family
    normal = request.model_dump(mode="json", exclude={"images", "mask", "markup"}) | files.hashes | part.identity
    ledger, order = Ledger(storage), order_of(connection, request, normal, terms)
    await refuse_unless_bought(retired, ledger, order)
    claim = await ledger.claim(order, retry_failed=terms.retry_failed)
    claim = await _settled(ledger, claim, terms)
    if claim.record.state == "done":
        return await still_there(claim.record, storage, terms)
    if claim.record.batch and not claim.ours:
        raise claim.record.batch.under_way("this request")

    if claim.record.doubtful:
        if found := await images_stored_before(connection, request, storage, claim.record, terms):
            return list((await ledger.move(claim, state="done", assets=tuple(found), cost_usd=total(found))).assets)
        if terms.on_doubt == "raise":
            await ledger.move(claim, state="in_doubt")
            raise _images_in_doubt(claim.record, "an earlier attempt died while the provider was making the images")
    try:
        async with submitting(ledger, claim) as submission, AsyncExitStack() as stack:

            def send(ready: Ready) -> Awaitable[Reply]:
                number = terms.partial_images
                post = images.post(connection, request, files.uploads, partial_images=number, ready=ready)
                return stack.enter_async_context(post)

            async def stored(reply: Reply) -> list[Asset]:
                assets = await store_images(connection, request, reply, storage, claim.record, terms)
                await write_sidecars(storage, claim.record, assets, terms.logger)
                return assets

            if claim.record.doubtful:
                claim.pass_over(sent_now=False)
            await ledger.confirm(claim)
            await reserve(storage, claim, lambda: quote(request, connection.catalog_host, family), terms)
            try:
                reply = await patiently(send, ledger, claim, terms)
                claim.doubt(True)  # paid, and until they are stored the images are nowhere but here
                assets = await let_in(stored(reply), claim)
            except SubmissionInDoubt as error:
                raise _images_in_doubt(claim.record, error.message, error) from error
            record = await submission.bought(state="done", assets=tuple(assets), cost_usd=total(assets))
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
    host, family = connection.catalog_host, connection.model_family
    retired: ModelRetired | None = None
    if isinstance(request, VideoRequest):
        try:
            taken = await taken_by(connection, request.extra)
            request = check(request, host, family=family, taken=taken, logger=terms.logger)
        except ModelRetired as refusal:
            request, retired = resolved(request, host, family=family), refusal
    material = await material_of(connection, request, ledger.storage, terms.scope)
    if material.gone:
        terms.logger.warning("%s. Going on with what the store knows of it", material.gone.message.partition(". N")[0])
    given = "image" if isinstance(request, VideoRequest) else "video"
    normal = request.model_dump(mode="json", exclude={given}) | material.identity
    order = order_of(connection, request, normal, terms).model_copy(update={"reference_uri": material.uri})
    # Only what is sent: the purchase stays the one that was asked for.
    sent = request.model_copy(update={"size": material.size}) if material.size else request
    upload: Upload | None = None

    async def submit(ready: Ready) -> VideoJob:
        await ledger.confirm(claim)
        await reserve(ledger.storage, claim, lambda: quote(sent, host, family), terms)
        image, footage = (upload, None) if given == "image" else (None, upload)
        try:
            return await videos.submit(
                connection, sent, image=image, footage=footage, fingerprint=order.fingerprint, ready=ready
            )
        except InvalidRequest as refusal:
            raise material.explain(refusal, sent) from refusal

    async def find(error: SubmissionInDoubt | None) -> VideoJob | None:
        job = await reconcile(connection, claim, ledger, terms, error)
        if job is not None:
            with suppress(StoreError):  # it may be one that was ordered for another purchase of the same
                await reserve(ledger.storage, claim, lambda: quote(sent, host, family), terms, found=True)
        return job

    async def one_job() -> VideoJob:
        job = await submitted(submit, guessing(find, claim, terms), ledger, claim, terms)
        await refuse_another_purchases_job(ledger, claim.record, job)
        return job

    await refuse_unless_bought(retired, ledger, order)
    while True:
        claim = await ledger.claim(order, retry_failed=terms.retry_failed)
        claim = await _settled(ledger, claim, terms)
        if not claim.ours:
            return claim, claim.record.job
        with suppress(Overtaken):
            async with submitting(ledger, claim) as submission:
                upload = await material.ready(ledger.storage)
                job = await let_in(one_job(), claim)
                job = job.model_copy(update={"purchase": claim.record.key})
                claim.doubt(True)  # until it is on record
                record = await submission.bought(state="submitted", job=job)
            break
    if record.job and record.job.id != job.id:
        terms.logger.error(
            "The jobs %s and %s were bought for one purchase; going on with the second", job.id, record.job.id
        )
    return claim, record.job or job


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
            try:
                await asyncio.shield(cancel(at, job, ledger, claim))
            except MediaError as error:
                terms.logger.warning(
                    "Job %s could not be ended; it stays on record, to be fetched later: %s", job.id, error
                )
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
    """End a job at the provider, and remember that it was cancelled.

    Raises:
        errors.InvalidRequest: It can't be ended there, or it is finished: then it is paid for, and stays to be fetched.
    """
    await end_job(connection, job)
    gone = JobFailed(
        f"job {job.id} was cancelled; pass retry_failed=True to buy it again", job_id=job.id, code="cancelled"
    )
    await ledger.move(claim, state="failed", failure=failure_of(gone))


async def end_job(connection: Connection, job: VideoJob) -> None:
    """End a job at the provider, unless it is finished: most servers delete finished ones only, and those are paid.

    Raises:
        errors.InvalidRequest: It can't be ended there, or it is finished.
        errors.JobExpired: It is not there.
    """
    if (await videos.look(connection, job.id)).phase == "done":
        raise InvalidRequest(f"job {job.id} is finished and paid for; it stays, to be fetched", job_id=job.id)
    await videos.delete(connection, job.id)


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
    now = clock.now()
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
        budget=terms.budget and terms.budget.path(terms.flow_run_id),
        server_time=server_time(connection.base_url),
    )


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


async def _settled(ledger: Ledger, claim: Claim, terms: Terms) -> Claim:
    """A claim that is ours to submit, submitted or done; a failure is raised, a doubt taken over."""
    while claim.record.state == "in_doubt":
        claim = await ledger.take_doubt(claim) or await ledger.claim(claim.record)
    record = claim.record
    if record.state == "failed":
        raise remembered(record.failure or NO_REASON)
    if not claim.ours:
        terms.logger.info(
            "Bought before in this scope (%s %s, %s); variant=%s makes another",
            record.operation,
            record.kind,
            record.state,
            record.request.get("variant", 0) + 1,
        )
    return claim


async def still_there(record: Record, storage: Storage, terms: Terms) -> list[Asset]:
    if not record.assets:
        raise StoreError(
            f"the purchase {record.key[:12]} is on record as done and names no {record.kind}; its record is damaged. "
            f"To have it bought again: prefect-media jobs forget {record.key[:12]} --store {storage.url}",
            transient=False,
            missing=True,
            key=record.key,
        )
    for asset in record.assets:
        key = storage.key_of(asset.uri)
        if key is None or await storage.size(key) != asset.size_bytes:
            raise StoreError(
                f"{asset.uri} was bought before but is no longer in the store; pass another variant to buy another, "
                f"or make it forgotten with: prefect-media jobs forget {record.key[:12]} --store {storage.url}",
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
