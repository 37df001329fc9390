"""What tables and lines show of a purchase."""

from __future__ import annotations

from ..cleaning import sentence
from ..ledger.record import Record

SHORT = 12
"""Letters of a key that are shown, and enough to name a purchase by."""

PROMPT = 32
"""Letters of a prompt in a table."""


def row_of(record: Record) -> list[str]:
    """The columns of a purchase in a table: key, state, kind, model, job, prompt, USD, where, when."""
    cost = cost_of(record)
    return [
        record.key[:SHORT],
        record.state,
        kind_of(record),
        model_of(record),
        job_id_of(record),
        prompt_of(record),
        "" if cost is None else f"{cost:.3f}",
        record.assets[0].uri if record.assets else str(record.account.get("host") or ""),
        f"{record.created_at:%Y-%m-%d %H:%M}",
    ]


def kind_of(record: Record) -> str:
    """What is bought, such as "video" or "image edit"."""
    return record.kind if record.operation == "generate" else f"{record.kind} {record.operation}"


def model_of(record: Record) -> str:
    """The model, as the request or the job names it."""
    return str(record.request.get("model") or (record.job.model if record.job else ""))


def job_id_of(record: Record) -> str:
    """The provider's id of the job or batch; empty while there is none."""
    job = record.job or record.batch
    return (job.id if job else None) or ""


def prompt_of(record: Record) -> str:
    """How the prompt begins, on one line."""
    prompt = " ".join(sentence(str(record.request.get("prompt", ""))).split())
    return prompt if len(prompt) <= PROMPT else prompt[: PROMPT - 1] + "…"


def cost_of(record: Record) -> float | None:
    """What a purchase cost in USD; None where that is not known."""
    if record.cost_usd is not None or not record.assets:
        return record.cost_usd
    costs = [asset.source.cost_usd if asset.source else None for asset in record.assets]
    return None if None in costs else sum(cost for cost in costs if cost is not None)
