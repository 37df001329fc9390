"""The steps of a purchase as its record describes them, reported to whoever shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..catalog.prices import Quote
from ..errors import MediaError
from ..figures import number_in
from ..jobs import VideoJob
from ..ledger.accounts import PricedPurchase, reserve
from ..ledger.claim import Claim
from ..ledger.ledger import Ledger
from ..ledger.record import Record
from ..purchase_options import PurchaseOptions
from ..steps import StepReporter


def reporter_of(record: Record, options: PurchaseOptions) -> StepReporter:
    """The reporter of one purchase."""
    request, job = record.request, record.job
    purchase: dict[str, Any] = {
        "purchase": record.key,
        "operation": record.operation,
        "media": record.kind,
        "model": str(request.get("model") or (job.model if job else "")),
        "host": (record.account.get("host") or "").rpartition("@")[2],
        "prompt": request.get("prompt"),
        "size": request.get("size") or (job.size if job else None),
        "seconds": number_in(str(request.get("seconds") or (job and job.seconds))),
        "count": request.get("n") or request.get("requests") or 1,
        **job_details(job),
    }
    budget = options.budget.path(options.flow_run_id) if options.budget else record.budget
    return StepReporter(options.on_step, options.logger, budget=budget, purchase=purchase)


def job_details(job: VideoJob | None) -> dict[str, Any]:
    """The fields of a step that a job fills in."""
    return {"job_id": job.id, "submitted_at": job.submitted_at} if job else {}


def report_reused(record: Record, steps: StepReporter) -> None:
    """Report that a purchase was made before; it may be done or under way."""
    size = sum(asset.size_bytes for asset in record.assets) if record.assets else None
    steps.report("reused", assets=record.assets, cost_usd=record.cost_usd, bytes=size, **job_details(record.job))


async def reserve_budget(
    ledger: Ledger,
    claim: Claim,
    quote: Callable[[], Quote],
    options: PurchaseOptions,
    steps: StepReporter,
    *,
    adopted: bool = False,
) -> None:
    """Reserve what a claimed purchase will cost in its budget, and report it; see `accounts.reserve`."""
    await reserve_budget_together(ledger, [claim], lambda _: quote, options, lambda _: steps, adopted=adopted)


async def reserve_budget_together(
    ledger: Ledger,
    claims: Sequence[Claim],
    quote_of: Callable[[Record], Callable[[], Quote]],
    options: PurchaseOptions,
    steps_of: Callable[[Record], StepReporter],
    *,
    adopted: bool = False,
) -> None:
    """The same for purchases that are sent in one request: all of it is reserved, or nothing."""
    priced = [PricedPurchase(claim.record, quote_of(claim.record), claim.passed_over) for claim in claims]
    state = await reserve(ledger.storage, options.budget, priced, run_id=options.flow_run_id, adopted=adopted)
    if state is None:
        return
    for claim, each in zip(claims, priced, strict=True):
        claim.record = claim.record.model_copy(update={"budget": state.path})
        steps_of(claim.record).report("reserved", cost_usd=estimate_usd(each.quote), budget=state)


def estimate_usd(quote: Callable[[], Quote]) -> float | None:
    """What a purchase is estimated to cost, in USD; None where that is unknown."""
    try:
        return quote().usd
    except MediaError:  # a price list that can't be read: an estimate that is only shown never fails a purchase
        return None
