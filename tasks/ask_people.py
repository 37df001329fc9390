"""One question to people: found answered on record, or asked, so that the flow run sleeps until it is answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun

from prefect_media.assets import Asset
from prefect_media.errors import InvalidRequest, ReviewTimedOut
from prefect_media.ledger.reviews import Answer, Review, open_review, reopen, settle
from prefect_media.runtime import clock
from prefect_media.runtime.hashing import sha256_of
from prefect_media.storage.store import Storage
from prefect_media.user_input import brief_repr
from prefect_media.waiting.records import WaitingRecord, remove_used

from .context import Store, root_flow_run_id, seconds_of, storage_for
from .current_run import run_logger
from .review_form import Form, describe
from .suspension import (
    api_url,
    asuspend,
    flow_name,
    no_waker,
    pause,
    prepare,
    running_flow,
    turn,
    used_keys,
    why_not_suspended,
    withdraw,
)
from .waiting_events import send_ended, send_requested

MOST_INPUTS = 200
"""What Prefect's API gives at a time of what was sent to a flow run."""


async def ask(
    what: str,
    form: Form,
    assets: list[Asset],
    question: str,
    timeout: timedelta | float,
    default: Answer | None,
    store: Store | None,
) -> Answer:
    """The answer to a question, asked unless there is one; the flow run sleeps until then."""
    run = running_flow(what)
    seconds = seconds_of("timeout", timeout)
    if not isinstance(question, str) or not question.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"question={brief_repr(question)} is not possible; pass a sentence")
    storage = await storage_for(store)
    about = [what, question, [asset.sha256 for asset in assets], form.at_least, form.at_most]
    now = clock.now()
    review = Review(
        flow_run_id=await root_flow_run_id() or str(run.id),
        key=sha256_of(json.dumps(about))[:16],
        kind=form.kind,
        question=question,
        assets=tuple(asset.uri for asset in assets),
        asked_at=now,
        deadline=now + timedelta(seconds=seconds),
    )
    async with turn(run):  # questions of one flow run are asked one after the other: it can be suspended once
        await storage.ensure_conditional()
        await remove_used(storage, str(run.id), used_keys(run))
        answer = await _Question(run, storage, form, assets, default, seconds).answer(
            await open_review(storage, review)
        )
    if answer.source == "nobody":
        raise ReviewTimedOut(
            f"nobody answered {brief_repr(question)} in time; run the flow run again to ask once more, or give a "
            "default",
            question=question,
        )
    return answer


@dataclass(frozen=True, slots=True)
class _Question:
    """One call: what is asked in which flow run, and what counts when nobody answers."""

    run: FlowRun
    storage: Storage
    form: Form
    assets: list[Asset]
    default: Answer | None
    seconds: float

    async def answer(self, review: Review) -> Answer:
        """Wait until there is an answer on record. Ends by Prefect's signal where the flow run is suspended."""
        slept = False
        while True:
            response, is_shown = await self._look(review)
            if review.answer and (review.answer.source != "nobody" or is_shown):
                return review.answer
            if response is not None:
                review = await self._settle(review, response)
            elif review.answer or (review.deadline <= clock.now() and not is_shown):
                # A retry of the run asks anew, and so does a run that died before anybody saw the question.
                now = clock.now()
                review = await reopen(self.storage, review, now, now + timedelta(seconds=self.seconds))
            elif review.deadline <= clock.now():
                review = await self._settle(review, self.default or Answer(source="nobody", at=clock.now()))
            else:
                if not is_shown:
                    send_requested(review)
                await self._sleep(review, quietly=slept)
                slept = True

    async def _settle(self, review: Review, answer: Answer) -> Review:
        settled, ours = await settle(self.storage, review, answer)
        if ours:
            send_ended(settled)
        return settled

    async def _look(self, review: Review) -> tuple[Answer | None, bool]:
        """What was sent from the form, and whether it was shown in this attempt of the run."""
        async with get_client() as client:
            run = await client.read_flow_run(self.run.id)
            is_shown = any(key.startswith(_prefix(review)) for key in used_keys(run))
            return await self._response(client, review), is_shown

    async def _response(self, client: PrefectClient, review: Review) -> Answer | None:
        for state in ("suspended", "paused"):
            sent = await client.filter_flow_run_input(self.run.id, f"{state}-{_prefix(review)}", MOST_INPUTS, set())
            for each in sent:
                if not each.key.endswith("-response"):
                    continue
                try:
                    return self.form.read(each.decoded_value)
                except ValueError as error:
                    run_logger().warning("An answer can't be used: %s", error)
        return None

    async def _sleep(self, review: Review, *, quietly: bool) -> None:
        """Sleep until somebody answers, or the deadline passes."""
        model = self.form.model(await describe(review.question, self.assets))
        key = f"{_prefix(review)}{clock.new_id()[:12]}"
        if obstacle := why_not_suspended(self.run):
            if not quietly:
                run_logger().warning("Waiting in the process, which keeps its worker slot: %s", obstacle)
            return await pause(self.run, key, review.deadline, model)
        if lack := await no_waker(self.storage):
            run_logger().warning(
                "No waker watches the deadline: %s. If there is no answer, Prefect ends this run as failed a day later",
                lack,
            )
        record = WaitingRecord(
            flow_run_id=str(self.run.id),
            suspension=key,
            reason="review",
            flow_name=flow_name(),
            api_url=api_url(),
            deadline=review.deadline,
            written_at=clock.now(),
        )
        await prepare(self.storage, record, "somebody answers")
        try:
            await asuspend(record, model)
        except RuntimeError:  # Prefect refused; after any other error the run may sleep all the same
            await withdraw(self.storage, record)
            raise


def _prefix(review: Review) -> str:
    """How the keys of this question's suspensions begin."""
    return f"prefect-media-review-{review.key}-"
