"""Fetch a batch: wait for it, store its pictures as they arrive, and record each purchase when its pictures are stored.

After an interruption the next fetch continues and skips what is recorded as done. What was not made is released.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta

from ..assets import Asset
from ..catalog.lookup import ModelEntry
from ..catalog.prices import total
from ..errors import InvalidRequest, JobExpired, JobFailed, MediaError, NotFound, StoreError
from ..image_batch import BatchState, ImageBatch
from ..jobs import expiry_error
from ..ledger.ledger import Claim, Ledger
from ..ledger.record import Record, error_of, failure_of
from ..providers import batches
from ..providers.address import base_url_at
from ..providers.batches import Line
from ..providers.connection import Connection
from ..purchase_options import PurchaseOptions
from ..requests import ImageRequest
from ..runtime import clock
from ..settings import settings
from ..steps import StepKind
from ..storage.store import Storage
from ..waiting.deadlines import Done, LookAgain, Patience, Watch
from ..waiting.wait import LAST_LOOK, step_of_look
from .batch_order import Ordered, read_list
from .batch_submit import each
from .orders import still_there
from .report_steps import reporter_of
from .sidecar import write_sidecars
from .split import join
from .store_images import store_images

KEPT = timedelta(days=30)
"""How long OpenAI keeps the answers of a batch, as its Batch guide says."""

LONGEST_PAUSE = 60.0
"""Longest pause between two looks at a batch, in seconds; it grows to this by a half each time."""


@dataclass(frozen=True, slots=True)
class Made:
    """The outcome of one request."""

    request: ImageRequest
    assets: tuple[Asset, ...] = ()
    error: MediaError | None = None


async def is_finished(connection: Connection, batch: ImageBatch, storage: Storage) -> bool:
    """One look at a batch, without waiting; a batch that failed is finished too.

    Raises:
        errors.InvalidRequest: It was made at another server than the credentials are for, or is not on this ledger.
        errors.MediaError: The look failed.
    """
    at, record = await _locate(connection, batch, Ledger(storage))
    if record.state != "submitted":
        return record.state == "done"
    assert record.batch and record.batch.id
    try:
        return (await batches.look(at, record.batch.id)).ended
    except NotFound as error:
        raise expiry_error(record.batch.id, error) from error


async def fetch(connection: Connection, batch: ImageBatch, storage: Storage, options: PurchaseOptions) -> list[Made]:
    """The outcome of each request, in order; waits until the batch is finished.

    Raises:
        errors.InvalidRequest: It was made at another server than the credentials are for, or is not on this ledger.
        errors.JobTimedOut: It was not finished in time.
        errors.MediaError: The batch or its files could not be had, or the store not be written; what was stored is
            on record.
    """
    ledger = Ledger(storage)
    at, record = await _locate(connection, batch, ledger)
    requests = await read_list(storage, batch.key)
    troubles: dict[str, MediaError] = {}
    if record.state == "submitted":
        steps = reporter_of(record, options)
        with steps.report_errors(), steps.report_interruption(record.batch and record.batch.id):
            troubles = await _Collection(at, record, requests, ledger, options).run()

    async def assets_of(key: str) -> list[Asset]:
        entry = await ledger.get(key)
        purchase = entry[0] if entry else None
        if purchase:
            await ledger.settle(purchase)
        with reporter_of(purchase or record, options).report_errors():
            if purchase and purchase.state == "done":
                return await still_there(purchase, storage, options)
            if purchase and purchase.failure:
                raise error_of(purchase.failure)
            raise troubles.get(key) or JobFailed(
                "this was not ordered, or is forgotten; submit the batch again",
                job_id=record.batch and record.batch.id,
            )

    async def made(ordered: Ordered) -> Made:
        try:
            return Made(ordered.request, tuple(await join([assets_of(key) for key in ordered.keys])))
        except MediaError as error:
            if isinstance(error, StoreError) and error.transient:
                raise  # not of this request alone: it is tried again as a whole
            return Made(ordered.request, error=error)

    return await each(requests, made)


async def _locate(connection: Connection, batch: ImageBatch, ledger: Ledger) -> tuple[Connection, Record]:
    """Where a batch is, and what the ledger says of it."""
    name = f"batch {batch.id or batch.key[:12]}"
    base_url = base_url_at(connection.base_url, name, batch.base_url)
    entry = await ledger.get(batch.key)
    if entry is None:
        raise InvalidRequest(
            f"{name} is not on the ledger of {ledger.storage.url}; pass the store it was submitted with"
        )
    if entry[0].account != connection.account:
        raise InvalidRequest(
            f"{name} belongs to another organization or project; pass the credentials it was made with"
        )
    return replace(connection, base_url=base_url), entry[0]


@dataclass(slots=True)
class _Collection:
    """One way through the answers of a batch.

    Attributes:
        failures: What the provider says it did not make and why, and whether that is final.
        troubles: What was made and could not be stored.
    """

    at: Connection
    record: Record
    requests: list[Ordered]
    ledger: Ledger
    options: PurchaseOptions
    failures: dict[str, tuple[MediaError, bool]] = field(default_factory=dict[str, tuple[MediaError, bool]])
    troubles: dict[str, MediaError] = field(default_factory=dict[str, MediaError])

    @property
    def batch(self) -> ImageBatch:
        assert self.record.batch is not None
        return self.record.batch

    @property
    def id(self) -> str:
        assert self.batch.id is not None
        return self.batch.id

    async def run(self) -> dict[str, MediaError]:
        """Wait, store what was made, and free what was not; what could not be stored is returned."""
        state = await self._wait()
        silence = state.silence()
        try:
            for file_id in (state.output_file, state.error_file):
                if file_id:
                    await self._read(file_id)
        except JobExpired as gone:
            if clock.now() - self.batch.submitted_at < KEPT:
                raise self._unknown(gone) from gone
            silence = gone, True
        await self._settle(silence)
        return self.troubles

    async def _wait(self) -> BatchState:
        pause = settings().poll_seconds
        wait = Watch(self.id, Patience(self.options.timeout, stall=math.inf), now=clock.monotonic())
        logged = ""
        steps, earlier = reporter_of(self.record, self.options), set[StepKind]()
        while True:
            try:
                async with asyncio.timeout_at(wait.deadline + LAST_LOOK):
                    state = await batches.look(self.at, self.id)
            except TimeoutError:
                raise wait.overdue() from None
            except MediaError as error:
                verdict = wait.judge_error(error, clock.monotonic())
            else:
                verdict = wait.judge(state.as_job, clock.monotonic())
                news = f"{state.status}, {state.completed} of {state.total} made"
                if news != logged:
                    self.options.logger.info("Batch %s is %s", self.id, logged := news)
                if kind := step_of_look(state.as_job, earlier):
                    steps.report(kind, job_id=self.id, status=state.status, progress=state.as_job.progress)
                if isinstance(verdict, Done):
                    return state
            if isinstance(verdict, MediaError):
                raise self._unknown(verdict) if isinstance(verdict, JobExpired) else verdict
            assert isinstance(verdict, LookAgain)
            await clock.sleep(
                min(verdict.not_after, max(verdict.not_before, clock.monotonic() + pause)) - clock.monotonic()
            )
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _unknown(self, error: JobExpired) -> JobExpired:
        """The error of what should be there. It is paid for, so nothing is bought again before somebody says so."""
        return JobExpired(
            f"{error.message.partition(';')[0]}; if the key is of the account that ordered it, fetch it again later; "
            f"to order it again: prefect-media jobs forget {self.batch.key[:12]}",
            **error.details,
        )

    async def _read(self, file_id: str) -> None:
        """Store the pictures of a file and note its failures, a few lines in memory at once."""
        requests = {key: ordered.request for ordered in self.requests for key in ordered.keys}
        slots = asyncio.Semaphore(settings().max_transfers)
        storing: list[asyncio.Task[None]] = []
        try:
            async with aclosing(batches.answers(self.at, file_id, self.id, requests.values())) as lines:
                async for line in lines:
                    if line.key not in requests:
                        self.options.logger.warning("Batch %s answers %r, which was not requested", self.id, line.key)
                    elif line.error:
                        self.failures[line.key] = line.error, line.final
                    else:
                        await slots.acquire()
                        task = asyncio.create_task(self._store(line, requests[line.key]))
                        storing.append(task)
                        task.add_done_callback(lambda _: slots.release())
        finally:
            await asyncio.gather(*storing)  # paid for, and here already

    async def _store(self, line: Line, request: ImageRequest) -> None:
        try:
            if (claim := await self._waiting(line.key)) is None:
                return
            record = claim.record.model_copy(update={"batch": self.batch})
            bought = {name: value for name, value in record.request.items() if name in ImageRequest.model_fields}
            part = request.model_copy(update=bought)
            model = ModelEntry(part.model, self.at.catalog_host, part.model_family or self.at.model_family)
            assets = await store_images(self.at, part, line, self.ledger.storage, record, self.options, model)
            await write_sidecars(self.ledger.storage, record, assets, self.options.logger)
            record = await self.ledger.move(
                claim, state="done", assets=tuple(assets), cost_usd=total(assets), batch=self.batch
            )
            reporter_of(record, self.options).report_stored(record.assets, record.cost_usd, job_id=self.id)
        except MediaError as error:
            self.troubles[line.key] = error

    async def _settle(self, silence: tuple[MediaError, bool]) -> None:
        """Free what was not made, remember what is final, and close the batch unless something is left to be stored.

        What is waiting is read before it is made sure that the batch is still the same, and changed only as it was
        read: so nothing is freed that meanwhile went into the next batch of this order.
        """
        keys = {key for ordered in self.requests for key in ordered.keys} - self.troubles.keys()
        waiting = [claim for claim in await each(keys, self._waiting) if claim]
        entry = await self.ledger.get(self.record.key)
        if entry is None or entry[0].state != "submitted" or entry[0].batch != self.batch:
            return

        async def settle(claim: Claim) -> bool:
            error, final = self.failures.get(claim.record.key, silence)
            # What was in doubt before the batch still is: that was ordered in spite of it, and says nothing of it.
            state, batch = ("failed", self.batch) if final and not claim.record.doubtful else ("intent", None)
            changes = {"state": state, "batch": batch, "failure": failure_of(error), "doubtful": claim.record.doubtful}
            return await self.ledger.swap(claim, **changes) is not None

        # One that was not written stays to be settled by the next fetch: a closed batch would free it unremembered.
        if all(await each(waiting, settle)) and not self.troubles:
            await self.ledger.swap(Claim(*entry), state="done")

    async def _waiting(self, key: str) -> Claim | None:
        """A purchase that is to be made by this batch; None when its outcome is on record."""
        entry = await self.ledger.get(key)
        if entry is None or entry[0].state != "submitted":
            return None
        return Claim(*entry) if entry[0].batch and entry[0].batch.key == self.record.key else None
