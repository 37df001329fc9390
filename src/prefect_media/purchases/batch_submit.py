"""Many images in one batch of the provider's Batch API: at half the price, within 24 hours, and bought once.

Each request is a purchase of its own, with the key it has when it is made alone. What is not bought yet goes on record
as bought in the batch before the batch is ordered, so nobody buys it alone meanwhile; what was bought before stays out.
The batch has a record too, which goes the way of every purchase. Its key is in the batch's metadata at the provider, so
after a lost reply or a crash the provider's list says for certain whether the batch exists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from ..errors import InvalidRequest, MediaError, SubmissionInDoubt
from ..image_batch import BatchState, ImageBatch
from ..ledger.job_owners import FORGOTTEN, owner_of
from ..ledger.ledger import Claim, Ledger, Overtaken
from ..ledger.record import Record
from ..providers import batches
from ..providers.connection import Connection
from ..providers.server_time import server_time
from ..purchase_options import PurchaseOptions
from ..requests import ImageRequest
from ..runtime import clock
from ..steps import StepReporter
from ..storage.store import Storage
from .batch_order import BatchOrder, keep, order_batch
from .lost_jobs import since
from .report_steps import report_reused, reporter_of, reserve_budget_together
from .submit_once import Ready, Submission, await_answer, find_or_submit, pass_over_one_doubt, repeat_when_overtaken

T = TypeVar("T")
U = TypeVar("U")

LOOKS = (0.0, 1.0, 3.0, 10.0, 30.0)
"""Pauses, in seconds, before each look into the list: a batch has time, and one that is listed late would be dear."""

AT_ONCE = 16
"""Records looked at or written at once."""


async def submit(
    connection: Connection, requests: Sequence[ImageRequest], storage: Storage, options: PurchaseOptions
) -> ImageBatch:
    """The one batch of these requests in their scope, ordered now or before.

    Raises:
        errors.InvalidRequest: Something can't work, or is in another batch at this moment; nothing was sent.
        errors.BudgetExceeded: All that is not bought yet could exceed the budget together; nothing was sent.
        errors.SubmissionInDoubt: The provider's list can't be read after a lost reply, or a request may have been
            bought alone by a process that died.
    """
    ledger = Ledger(storage)
    order = await order_batch(connection, requests, ledger, options)
    steps = reporter_of(order.record, options)
    with steps.report_errors():
        return await repeat_when_overtaken(partial(_claim_or_submit, connection, order, ledger, options, steps))


async def _claim_or_submit(
    connection: Connection, order: BatchOrder, ledger: Ledger, options: PurchaseOptions, steps: StepReporter
) -> ImageBatch:
    """The batch of an order, submitted before or now.

    Raises:
        Overtaken: Somebody else took the batch over; claim it again.
    """
    intended = order.record
    claim = await ledger.claim(intended, retry_failed=True)  # one that was refused was not ordered
    while claim.record.state == "in_doubt":
        claim = await ledger.take_doubt(claim) or await ledger.claim(intended)
    if claim.record.state == "done" and await _something_is_missing(order, claim.record, ledger, options):
        reopened = await ledger.reopen(claim)
        if reopened is None:
            raise Overtaken
        claim = reopened
    if not claim.ours:
        assert claim.record.batch is not None
        options.logger.info("Submitted before in this scope: batch %s", claim.record.batch.id)
        steps.report("reused", job_id=claim.record.batch.id, submitted_at=claim.record.batch.submitted_at)
        return claim.record.batch
    async with Submission(ledger, claim) as submission:
        return await _submit(connection, order, ledger, claim, options, submission, steps)


async def _submit(
    connection: Connection,
    order: BatchOrder,
    ledger: Ledger,
    claim: Claim,
    options: PurchaseOptions,
    submission: Submission,
    steps: StepReporter,
) -> ImageBatch:
    """Find the batch that is ours to order, or order it with all that is not bought yet."""
    key = claim.record.key
    batch = ImageBatch(
        provider=connection.provider,
        base_url=connection.base_url,
        key=key,
        submitted_at=clock.now(),
        count=len(order.requests),
    )

    async def look_for_it(error: SubmissionInDoubt | None) -> BatchState | None:
        return await _find(connection, claim, ledger, options, error)

    async def reserve(parts: list[Claim]) -> None:
        await reserve_budget_together(
            ledger,
            parts,
            lambda part: lambda: order.quotes[part.key],
            options,
            lambda part: reporter_of(part, options),
        )

    find = pass_over_one_doubt(look_for_it, claim, options)
    await keep(ledger.storage, order, key)
    state: BatchState | None = None
    if claim.record.doubtful:
        state = await find(None)
        claim.doubt(False)
    else:
        await batches.page(connection)  # free: a server without a list has no batches
        claim.note_server_time(server_time(connection.base_url, claim.made))
    if state is None:
        mine = list[Claim]()
        try:
            await _enlist(order, batch, claim, mine, ledger, options)
            if mine:
                if not claim.passed_over:  # else below, as another attempt
                    await reserve(mine)
                ours = {part.record.key for part in mine}
                file_id = await batches.upload(connection, [line for key, line in order.lines.items() if key in ours])

                overruled = False

                async def doubt(part: Claim) -> Claim:
                    """Should this batch come to nothing, the one in doubt may still have made it, and be paid for."""
                    ordered = claim.sent or part.written is None  # in that one: now, or by whoever enlisted it
                    attempt = part.record.attempt + int(ordered)
                    doubted = await ledger.swap(part, doubtful=True, attempt=attempt) or part
                    doubted.passed_over = True
                    return doubted

                async def create(ready: Ready) -> BatchState:
                    nonlocal overruled
                    if claim.passed_over and not overruled:
                        mine[:] = await each(mine, doubt)
                        await reserve(mine)
                        overruled = True
                    return await batches.create(connection, file_id, key, ready=ready)

                state = await await_answer(find_or_submit(create, find, ledger, claim, options), claim)
        except MediaError:
            if not claim.record.doubtful and not claim.passed_over:  # certainly not ordered, now or before
                await ledger.confirm(claim)
                await each(mine, lambda part: ledger.swap(part, state="intent", batch=None))
            raise
    if state is None:
        options.logger.info("All of this batch was bought before in this scope")
        await ledger.move(claim, state="done", batch=batch)
        return batch
    claim.doubt(True)  # until it is on record
    record = await submission.record_purchase(state="submitted", batch=batch.model_copy(update={"id": state.id}))
    bought = record.batch or batch
    if bought.id != state.id:
        options.logger.error(
            "The batches %s and %s were bought for one order; going on with the second", state.id, bought.id
        )
    options.logger.info("Submitted batch %s", bought.id)
    steps.report("submitted", job_id=bought.id, submitted_at=bought.submitted_at, cost_usd=order.estimated_usd)
    return bought


async def _enlist(
    order: BatchOrder, batch: ImageBatch, whole: Claim, mine: list[Claim], ledger: Ledger, options: PurchaseOptions
) -> None:
    """Put on record what is to be bought in the batch, and gather it in `mine`.

    Raises:
        Overtaken: The batch is somebody else's by now.
        errors.InvalidRequest: Some of it is in another batch.
        errors.SubmissionInDoubt: Some of it may have been bought alone by a process that died.
    """
    elsewhere: dict[str, ImageBatch | None] = {}
    doubtful: list[str] = []

    async def enlist(part: Record) -> None:
        claim = await ledger.claim(part, retry_failed=options.retry_failed, batch=batch)
        while claim.record.state == "in_doubt" or claim.ours:
            if options.on_doubt == "raise":
                if claim.ours:
                    await ledger.move(claim, state="in_doubt")
                doubtful.append(part.key)
                return
            attempt = claim.record.attempt + 1
            enlisted = await ledger.swap(
                claim, state="submitted", lease=None, batch=batch, doubtful=True, attempt=attempt
            )
            claim = enlisted or await ledger.claim(part, retry_failed=options.retry_failed, batch=batch)
        if claim.record.state == "submitted":
            if claim.record.batch and claim.record.batch.key == batch.key:
                if claim.record.doubtful and options.on_doubt == "raise":
                    # Enlisted in spite of a doubt, and not ordered, unless by whoever took the batch over meanwhile.
                    await ledger.confirm(whole)
                    await ledger.swap(claim, state="in_doubt", batch=None, doubtful=False)
                    doubtful.append(part.key)
                    return
                claim.passed_over = claim.record.doubtful
                mine.append(claim)
            else:
                elsewhere[part.key] = claim.record.batch
        elif claim.record.state == "done":
            report_reused(claim.record, reporter_of(claim.record, options))

    await each(order.parts.values(), enlist)
    if elsewhere:
        other = next(iter(elsewhere.values()))
        what = order.name_requests(list(elsewhere))
        raise other.under_way(what) if other else InvalidRequest(f"{what} are being made already; nothing was sent")
    if doubtful:
        raise SubmissionInDoubt(
            f"{order.name_requests(doubtful)} may have been made and paid for by a process that died; "
            'pass on_doubt="resubmit" to go on and perhaps pay twice for these',
            key=doubtful[0],
        )


async def _something_is_missing(order: BatchOrder, batch: Record, ledger: Ledger, options: PurchaseOptions) -> bool:
    """Whether a batch that is done left something to be bought: lines that expired or failed, records forgotten."""

    async def missing(key: str) -> bool:
        if (entry := await ledger.get(key)) is None:
            return True
        match entry[0].state:
            case "failed":
                return options.retry_failed
            case "submitted":
                return bool(entry[0].batch and entry[0].batch.key == batch.key)
            case "in_doubt":
                return options.on_doubt == "resubmit"
            case state:
                return state == "intent"

    return any(await each(order.parts, missing))


async def _find(
    connection: Connection, claim: Claim, ledger: Ledger, options: PurchaseOptions, error: SubmissionInDoubt | None
) -> BatchState | None:
    """Find the batch that a lost reply was about; None when there is none.

    Raises:
        errors.SubmissionInDoubt: The server shows no list.
        errors.MediaError: The provider can't be asked just now; the doubt stays on record.
    """
    record = claim.record
    for pause in LOOKS:
        await clock.sleep(pause)
        listed: list[BatchState] = []
        refusal: InvalidRequest | None = None
        try:
            async for state in batches.recent(connection, since=since(connection, claim)):
                listed.append(state)
        except InvalidRequest as error_of_list:
            refusal = error_of_list
        ours = [state for state in listed if state.key == record.key and state.id not in record.job_ids]
        candidates = [state for state in ours if await owner_of(ledger.storage, record, state.id) != FORGOTTEN]
        if refusal and not candidates:
            raise SubmissionInDoubt(
                f"it can't be known whether the provider took the batch: {refusal.message.partition(';')[0]}; "
                'look at the provider\'s dashboard; pass on_doubt="resubmit" to go on and perhaps pay twice',
                key=record.key,
            ) from error
        if len(candidates) > 1:
            ids = ", ".join(state.id for state in candidates)
            options.logger.error("The batches %s were made for one order; going on with the last of them", ids)
        if candidates:
            options.logger.info("Adopted the batch of a lost reply: %s", candidates[-1].id)
            return candidates[-1]
    return None


async def each(items: Iterable[T], work: Callable[[T], Awaitable[U]]) -> list[U]:
    """Do the same with all, a few at once; what one fails with is raised when all have ended."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> U:
        async with slots:
            return await work(item)

    outcomes = await asyncio.gather(*map(one, items), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
