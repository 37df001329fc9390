"""Events of flow runs that sleep and of questions to people."""

from __future__ import annotations

from typing import Any

from prefect_media.ledger.reviews import Review
from prefect_media.waiting.records import WaitingRecord

from .event_payloads import Asked, ReviewAnswered, ReviewRequested, ReviewTimedOut, Waiting
from .events import MOST_ASSETS, send_event


def send_waiting(record: WaitingRecord) -> None:
    """Send the event of a flow run that is about to be suspended."""
    payload = Waiting(
        waited_for=record.reason,
        jobs=[str(awaited.job.id) for awaited in record.jobs][:MOST_ASSETS],
        deadline=record.deadline.isoformat(),
    )
    name = record.flow_name or record.flow_run_id
    send_event("flow.waiting", {"id": f"prefect.flow-run.{record.flow_run_id}", "name": name}, payload)


def send_requested(review: Review) -> None:
    """Send the event of a question that is about to be shown."""
    _send("review.requested", review, ReviewRequested(**_about(review), deadline=review.deadline.isoformat()))


def send_ended(review: Review) -> None:
    """Send the event of a question that was answered, or that nobody answered in time."""
    answer = review.answer
    assert answer
    outcome: dict[str, Any] = {"chosen": list(answer.chosen), "approved": answer.approved}
    if answer.source == "person":
        seconds = round((answer.at - review.asked_at).total_seconds(), 3)
        _send("review.answered", review, ReviewAnswered(**_about(review), **outcome, text=answer.text, seconds=seconds))
    else:
        had_default = answer.source == "default"
        _send("review.timed-out", review, ReviewTimedOut(**_about(review), **outcome, default=had_default))


def _about(review: Review) -> dict[str, Any]:
    return {
        "review": review.key,
        "kind": review.kind,
        "question": review.question,
        "assets": list(review.assets[:MOST_ASSETS]),
        "count": len(review.assets),
    }


def _send(name: str, review: Review, payload: Asked) -> None:
    resource = {"id": f"review.{review.flow_run_id}.{review.key}", "name": review.question[:100], "kind": review.kind}
    send_event(name, resource, payload)
