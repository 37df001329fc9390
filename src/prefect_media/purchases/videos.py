"""A video from the request to the store: claimed, ordered once, watched to its end, downloaded and on record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ..assets import Asset
from ..catalog.lookup import ModelEntry, look_up
from ..catalog.prices import Quote, total
from ..errors import (
    ContentRejected,
    InvalidRequest,
    JobFailed,
    MediaError,
    NotFound,
    StoreError,
    SubmissionInDoubt,
)
from ..jobs import VideoJob, expiry_error
from ..ledger.ledger import Claim, Ledger
from ..ledger.record import failure_of
from ..media.upload import Upload
from ..providers import videos
from ..providers.connection import Connection
from ..providers.detection import accepted_fields
from ..purchase_options import PurchaseOptions
from ..requests import VideoRequest, VideoVariation
from ..runtime.tracing import span
from ..steps import StepReporter
from ..storage.store import Storage
from ..waiting.deadlines import failure_error
from ..waiting.durations import recall, remember
from ..waiting.poller import poller_of
from ..waiting.wait import watch
from .lost_jobs import reconcile
from .orders import connection_of, order_of, refuse_unless_bought, settle_claim, still_there
from .own_job import refuse_another_purchases_job
from .report_steps import estimate_usd, job_details, reporter_of, reserve_budget
from .sidecar import write_sidecars
from .store_video import store_video
from .submit_once import Ready, Submission, await_answer, find_or_submit, pass_over_one_doubt, repeat_when_overtaken
from .video_inputs import Material, material_of

R = TypeVar("R", bound=VideoRequest | VideoVariation)


async def buy_video(
    connection: Connection, request: VideoRequest | VideoVariation, storage: Storage, options: PurchaseOptions
) -> Asset:
    """A video, bought once, watched to its end and stored."""
    ledger = Ledger(storage)
    model = request.model if isinstance(request, VideoRequest) else None
    with span("purchase", media="video", model=model, host=connection.host) as purchase:
        claim, job = await order_video(connection, request, ledger, options)
        purchase.set(key=claim.record.key, job=job.id if job else None)
        asset = await collect_video(connection, job, ledger, claim, options)
        purchase.set(bytes=asset.size_bytes, cost_usd=asset.source.cost_usd if asset.source else None)
        return asset


async def collect_video(
    connection: Connection, job: VideoJob | None, ledger: Ledger, claim: Claim, options: PurchaseOptions
) -> Asset:
    """The video of a purchase that was submitted or is done: from the store, else from the provider."""
    with reporter_of(claim.record, options).report_errors():
        return await _collect(connection, job, ledger, claim, options)


async def _collect(
    connection: Connection, job: VideoJob | None, ledger: Ledger, claim: Claim, options: PurchaseOptions
) -> Asset:
    if claim.record.state == "done":
        try:
            return (await still_there(claim.record, ledger.storage, options))[0]
        except StoreError as gone:
            if job is None or not gone.details.get("missing"):
                raise
            options.logger.warning("The stored video of job %s is gone; downloading it again", job.id)
            try:
                return await finish_video(connection, job, ledger, claim, options)
            except JobFailed:
                raise gone from None  # the provider has deleted it too
    assert job is not None
    return await finish_video(connection, job, ledger, claim, options)


async def order_video(
    connection: Connection,
    request: VideoRequest | VideoVariation,
    ledger: Ledger,
    options: PurchaseOptions,
    *,
    failed_too: bool = False,
) -> tuple[Claim, VideoJob | None]:
    """Make sure that exactly one job for this request exists, and return it with its purchase.

    Args:
        connection: The server.
        request: What to make.
        ledger: Where purchases are on record.
        options: How to buy.
        failed_too: Whether a job that failed before is returned, too; otherwise its error is raised.
    """
    request, model = await _look_up(connection, request, options)
    material = await material_of(connection, request, ledger.storage, options.scope)
    if material.gone:
        options.logger.warning("%s; going on with what the store knows of it", material.gone.complaint)
    input_field = "image" if isinstance(request, VideoRequest) else "video"
    normal = request.model_dump(mode="json", exclude={input_field}) | material.identity
    order = order_of(connection, request, normal, options).model_copy(update={"reference_uri": material.uri})
    # Only in what is sent: the purchase stays the one that was asked for.
    request = request.model_copy(update={"size": material.size}) if material.size else request
    steps = reporter_of(order, options)

    async def claim_or_buy() -> tuple[Claim, VideoJob | None]:
        claim = await ledger.claim(order, retry_failed=options.retry_failed)
        if failed_too and claim.record.state == "failed" and claim.record.job:
            return claim, claim.record.job
        claim = await settle_claim(ledger, claim, options, steps)
        if not claim.ours:
            return claim, claim.record.job
        return claim, await _Submission(connection, request, material, ledger, claim, options, model, steps).buy()

    with steps.report_errors():
        await refuse_unless_bought(model.retired, ledger, order)
        return await repeat_when_overtaken(claim_or_buy)


async def _look_up(connection: Connection, request: R, options: PurchaseOptions) -> tuple[R, ModelEntry]:
    """A request as it will be sent, with its model; a variation of a video names none."""
    host, family = connection.catalog_host, connection.model_family
    if not isinstance(request, VideoRequest):
        return request, ModelEntry("", host, family)
    accepted = await accepted_fields(connection, request.extra)
    return look_up(request, host, family=family, taken=accepted, logger=options.logger)


@dataclass(frozen=True, slots=True)
class _Submission:
    """The submission of one claimed purchase."""

    connection: Connection
    request: VideoRequest | VideoVariation
    material: Material
    ledger: Ledger
    claim: Claim
    options: PurchaseOptions
    model: ModelEntry
    steps: StepReporter

    async def buy(self) -> VideoJob:
        """The one job of the purchase, on record.

        Raises:
            Overtaken: Somebody else took the purchase over.
            errors.MediaError: It was not bought, or is in doubt.
        """
        try:
            return await self._buy()
        except asyncio.CancelledError:
            record = self.claim.record
            if record.state == "submitted" and record.job:  # the answer arrived after all
                at = connection_of(record.job, self.connection)
                await _leave(at, record.job, self.ledger, self.claim, self.options, self.steps)
            raise

    async def _buy(self) -> VideoJob:
        async with Submission(self.ledger, self.claim) as submission:
            upload = await self.material.ready(self.ledger.storage)
            with span("submit", media="video", model=self.model.name or None, host=self.connection.host) as sending:
                job = await await_answer(self._find_or_submit(upload), self.claim)
                sending.set(job=job.id)
            job = job.model_copy(update={"purchase": self.claim.record.key})
            self.claim.doubt(True)  # until it is on record
            record = await submission.record_purchase(state="submitted", job=job)
        if record.job and record.job.id != job.id:
            self.options.logger.error(
                "The jobs %s and %s were bought for one purchase; going on with the second", job.id, record.job.id
            )
        job = record.job or job
        self.steps.report("submitted", cost_usd=estimate_usd(self._quote), **job_details(job))
        return job

    async def _find_or_submit(self, upload: Upload | None) -> VideoJob:
        submit = partial(self._submit, upload)
        find = pass_over_one_doubt(self._find, self.claim, self.options)
        job = await find_or_submit(submit, find, self.ledger, self.claim, self.options)
        await refuse_another_purchases_job(self.ledger, self.claim.record, job)
        return job

    async def _submit(self, upload: Upload | None, ready: Ready) -> VideoJob:
        """Send the paid request."""
        await self.ledger.confirm(self.claim)
        await reserve_budget(self.ledger, self.claim, self._quote, self.options, self.steps)
        fresh = isinstance(self.request, VideoRequest)
        try:
            return await videos.submit(
                self.connection,
                self.request,
                image=upload if fresh else None,
                footage=None if fresh else upload,
                fingerprint=self.claim.record.fingerprint,
                ready=ready,
            )
        except InvalidRequest as refusal:
            raise self.material.explain(refusal, self.request) from refusal

    async def _find(self, error: SubmissionInDoubt | None) -> VideoJob | None:
        """Look for the job of a lost reply at the provider."""
        job = await reconcile(self.connection, self.claim, self.ledger, self.options, error)
        if job is not None:
            with suppress(StoreError):  # it may be one that was ordered for another purchase of the same
                await reserve_budget(self.ledger, self.claim, self._quote, self.options, self.steps, adopted=True)
        return job

    def _quote(self) -> Quote:
        return self.model.quote(self.request)


async def finish_video(
    connection: Connection, job: VideoJob, ledger: Ledger, claim: Claim, options: PurchaseOptions
) -> Asset:
    """Watch a job to its end, store the video and put it on record."""
    at, steps = connection_of(job, connection), reporter_of(claim.record, options)
    try:
        async with record_failure(ledger, claim, job):
            await recall(ledger.storage, at.base_url)
            state = await watch(at, job, options, steps)
            with span("store", media="video", model=job.model, host=at.host, job=job.id) as storing:
                asset, _ = await asyncio.gather(
                    store_video(at, job, state, ledger.storage, claim.record),
                    remember(ledger.storage, at.base_url, idle=poller_of(at).idle),
                )
                await write_sidecars(ledger.storage, claim.record, [asset], options.logger)
                storing.set(bytes=asset.size_bytes, cost_usd=asset.source.cost_usd if asset.source else None)
    except asyncio.CancelledError:
        await _leave(at, job, ledger, claim, options, steps)
        raise
    record = await ledger.move(claim, state="done", assets=(asset,), cost_usd=total([asset]))
    steps.report_stored(record.assets, record.cost_usd, **job_details(job))
    return record.assets[0]


async def _leave(
    connection: Connection,
    job: VideoJob,
    ledger: Ledger,
    claim: Claim,
    options: PurchaseOptions,
    steps: StepReporter,
) -> None:
    """End the job of a purchase that is cancelled, where `cancel_remote` asks for that; otherwise report that it goes
    on."""
    if options.cancel_remote:
        try:
            await asyncio.shield(cancel_purchase(connection, job, ledger, claim))
            options.logger.info("Ended job %s at the provider, as the wait for it was cancelled", job.id)
            return
        except MediaError as error:
            options.logger.warning(
                "Job %s could not be ended; it stays on record, to be fetched later: %s", job.id, error
            )
    steps.report("interrupted", **job_details(job))


@asynccontextmanager
async def record_failure(ledger: Ledger, claim: Claim, job: VideoJob) -> AsyncGenerator[None]:
    """Put on record that the provider gave up on a job; what was stored once stays on record."""
    try:
        yield
    except (JobFailed, ContentRejected) as error:
        if claim.record.state != "done":
            await _move_to_failed(ledger, claim, job, error)
        raise


async def _move_to_failed(ledger: Ledger, claim: Claim, job: VideoJob, error: MediaError) -> None:
    """Put the failure of a job on record, unless the purchase has another job by now, or is being bought again: what
    an earlier job came to says nothing of that."""
    if claim.record.job and claim.record.job.id == job.id:
        await ledger.move(claim, state="failed", failure=failure_of(error))


async def cancel_purchase(connection: Connection, job: VideoJob, ledger: Ledger, claim: Claim) -> None:
    """End a job at the provider, and remember that it was cancelled; of one that had failed, why it failed.

    Raises:
        errors.InvalidRequest: It can't be ended there, or it is finished: then it is paid for, and stays to be fetched.
    """
    failure = await end_job(connection, job) or JobFailed(
        f"job {job.id} was cancelled; pass retry_failed=True to buy it again", job_id=job.id, code="cancelled"
    )
    await _move_to_failed(ledger, claim, job, failure)


async def end_job(connection: Connection, job: VideoJob) -> JobFailed | ContentRejected | None:
    """End a job at the provider, unless it is finished: most servers delete finished ones only, and those are paid.

    Returns:
        What it had failed with before, which may not have been billed; None where it was ended now.

    Raises:
        errors.InvalidRequest: It can't be ended there, or it is finished.
        errors.JobExpired: It is not there.
    """
    try:
        state = await videos.look(connection, job.id)
        if state.phase == "failed":
            return failure_error(job.id, state)
        if state.phase == "done":
            raise InvalidRequest(f"job {job.id} is finished and paid for; it stays, to be fetched", job_id=job.id)
        await videos.delete(connection, job.id)
    except NotFound as error:
        raise expiry_error(job.id, error) from error
    return None
