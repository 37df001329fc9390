"""A video from the request to the store: claimed, ordered once, watched to its end, downloaded and on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from ..assets import Asset
from ..catalog.check import check, resolved
from ..catalog.prices import quote, total
from ..errors import (
    ContentRejected,
    InvalidRequest,
    JobFailed,
    MediaError,
    ModelRetired,
    NotFound,
    StoreError,
    SubmissionInDoubt,
)
from ..jobs import VideoJob, expiry_error
from ..ledger.accounts import reserve
from ..ledger.ledger import Claim, Ledger, Overtaken
from ..ledger.record import failure_of
from ..media.upload import Upload
from ..providers import videos
from ..providers.connection import Connection
from ..providers.dialects import taken_by
from ..purchase_options import Terms
from ..requests import VideoRequest, VideoVariation
from ..storage.store import Storage
from ..waiting.durations import recall, remember
from ..waiting.poller import poller_of
from ..waiting.wait import watch
from .lost_jobs import reconcile
from .orders import connection_of, order_of, refuse_unless_bought, settle_claim, still_there
from .own_job import refuse_another_purchases_job
from .sidecar import write_sidecars
from .store_video import store_video
from .submit_once import Ready, guessing, let_in, submitted, submitting
from .video_inputs import material_of


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
        claim = await settle_claim(ledger, claim, terms)
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
    try:
        if (await videos.look(connection, job.id)).phase == "done":
            raise InvalidRequest(f"job {job.id} is finished and paid for; it stays, to be fetched", job_id=job.id)
        await videos.delete(connection, job.id)
    except NotFound as error:
        raise expiry_error(job.id, error) from error
