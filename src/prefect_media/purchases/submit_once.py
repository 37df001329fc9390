"""A paid request, sent once, right after the lease was confirmed; what comes of it is on record whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ..cleaning import quote_provider
from ..errors import ContentRejected, MediaError, ProviderUnavailable, RateLimited, StoreError, SubmissionInDoubt
from ..figures import pause_after
from ..ledger.ledger import Claim, Ledger, Overtaken
from ..ledger.record import Record, failure_of
from ..purchase_options import PurchaseOptions
from ..runtime import clock
from ..runtime.retry import retrying, until_refused_twice
from .store_video import PAUSES

T = TypeVar("T")

Ready = Callable[[], Awaitable[None]]
"""To be awaited right before a paid request is sent."""

ANSWER_SECONDS = 5.0
"""Seconds that a cancelled purchase waits for the end of an answer to what was sent and paid for."""


async def repeat_when_overtaken(attempt: Callable[[], Awaitable[T]]) -> T:
    """Try to buy something until it is bought, by us or by whoever took the purchase over while we were silent."""
    while True:
        with suppress(Overtaken):
            return await attempt()


class Submission:
    """The submission of a claimed purchase: the lease is held meanwhile, and a failure is put on record."""

    def __init__(self, ledger: Ledger, claim: Claim) -> None:
        self._ledger, self._claim, self._lease = ledger, claim, ledger.keep_lease(claim)
        self._doubtful_before = claim.record.doubtful
        self._recording: asyncio.Task[Record] | None = None

    async def __aenter__(self) -> Submission:
        await self._lease.__aenter__()
        return self

    async def record_purchase(self, **changes: Any) -> Record:
        """Put on record what was bought. Only this process knows it, so it survives a brief outage of the store, and a
        cancellation."""
        move = partial(self._ledger.move, self._claim, **changes)
        self._recording = asyncio.create_task(retrying(move, PAUSES, until_refused_twice()))
        return await asyncio.shield(self._recording)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        await self._lease.__aexit__(None, None, None)
        if error is None or isinstance(error, Overtaken):
            return
        if self._recording is not None:
            await asyncio.wait([self._recording])
            return
        await asyncio.shield(self._ledger.move(self._claim, **self._changes_after(error)))

    def _changes_after(self, error: BaseException) -> dict[str, Any]:
        """What is certain of the purchase after a submission failed, as changes of its record."""
        claim = self._claim
        images_lost = claim.record.kind == "image" and claim.record.doubtful  # paid for, and not stored
        if isinstance(error, ContentRejected) and not claim.passed_over:
            return {"state": "failed", "failure": failure_of(error)}
        if isinstance(error, SubmissionInDoubt) or images_lost:
            return {"state": "in_doubt"}
        if isinstance(error, MediaError):
            # Free for the next attempt: nothing was taken, or the record says that there is a doubt to clear up.
            return {"state": "in_doubt" if claim.passed_over else "intent"}
        if claim.sent or claim.passed_over:
            return {"state": "in_doubt"}
        # Cancelled before anything left here.
        return {"state": "intent", "doubtful": self._doubtful_before or claim.record.doubtful}


Find = Callable[[SubmissionInDoubt | None], Awaitable[T | None]]
"""Looks up the job of a lost reply; None if there certainly is none."""


def pass_over_one_doubt(find: Find[T], claim: Claim, options: PurchaseOptions) -> Find[T]:
    """A search that takes one doubt for a no, where the user said so with `on_doubt`.

    Only one: a server that loses a reply and can't be asked may well lose the next, and take each of the requests.
    """

    async def find_or_pass_over(error: SubmissionInDoubt | None) -> T | None:
        try:
            return await find(error)
        except SubmissionInDoubt:
            if claim.passed_over or options.on_doubt == "raise":
                raise
            claim.pass_over(sent_now=error is not None)
            return None

    return find_or_pass_over


async def find_or_submit(
    submit: Callable[[Ready], Awaitable[T]], find: Find[T], ledger: Ledger, claim: Claim, options: PurchaseOptions
) -> T:
    """The one job of a purchase that is ours to make: found at the provider after a doubt, else bought."""
    job = await find(None) if claim.record.doubtful else None
    for tries_left in (1, 0):
        if job is not None:
            break
        claim.doubt(False)
        try:
            job = await send_when_accepted(submit, ledger, claim, options)
        except SubmissionInDoubt as error:
            claim.doubt(True)  # and so it stays if the provider can't be asked now
            with suppress(StoreError):
                await ledger.renew(claim)  # others see that nothing of it is in the air any more
            options.logger.warning("%s; asking the provider which jobs it has", error.message)
            job = await find(error)
            if job is None and error.details.get("taken"):
                raise  # it was taken for certain, whatever the list says
            if job is None and not tries_left:
                claim.doubt(False)
                what, words = error.message.partition(";")[0], quote_provider(error.provider_message)
                raise ProviderUnavailable(f"{what}, twice; no job was bought{words}", **error.details) from error
    assert job is not None
    return job


async def send_when_accepted(
    send: Callable[[Ready], Awaitable[T]], ledger: Ledger, claim: Claim, options: PurchaseOptions
) -> T:
    """Send a paid request, again only when the server said it took nothing and when to come back.

    Later each time, and never past the deadline.
    """

    async def ready() -> None:
        await ledger.confirm(claim)  # now, not before: there may have been no room for it for minutes
        claim.sent = True

    deadline, refusals = clock.monotonic() + options.timeout, 0
    while True:
        try:
            return await send(ready)
        except (RateLimited, ProviderUnavailable) as error:
            claim.sent = False
            if error.retry_after is None:
                raise
            refusals += 1
            pause = pause_after(refusals, error.retry_after)
            if clock.monotonic() + pause > deadline:
                raise
            options.logger.info("The provider asks to come back in %.0f s; waiting %.0f s", error.retry_after, pause)
            await clock.sleep(pause)


async def await_answer(answering: Coroutine[Any, Any, T], claim: Claim) -> T:
    """What an answer brings. When cancelled, one that is about to come is let in first, and the next wait ends instead.

    Images, and the id of a job at a server without a list, can't be asked for again.
    """
    answer = asyncio.create_task(answering)
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        try:
            if claim.sent:
                await asyncio.wait([answer], timeout=ANSWER_SECONDS)
        finally:
            answer.cancel()  # which does nothing to one that has come
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            me = asyncio.current_task()
            assert me is not None
            me.uncancel()  # counted once, as `asyncio.timeout` wants it
            me.cancel()
            return answer.result()
        await asyncio.wait([answer])
        raise
