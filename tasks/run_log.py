"""The log of a flow run tells the story of each purchase, one line for each turn of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect_media.runtime import clock
from prefect_media.runtime.hashing import sha256_of
from prefect_media.settings import settings
from prefect_media.steps import OnStep, Step

from .current_run import run_logger
from .markup import plain

MILESTONES = (75, 50, 25)
"""Per cent of a job's progress that have a line each; of several passed at once only the highest."""

FIRST_SECONDS, BETWEEN_SECONDS = 2.0, 10.0
"""How old a job is before the log tells that it waits or runs, and the least time before a line about its progress: a
line costs as much as half a task run, and jobs of seconds are over before anybody reads it."""

LONGEST_PROMPT = 60


def log_steps() -> OnStep:
    """Logs the steps of the purchases of one task run."""
    logger = run_logger()
    began: dict[str | None, float] = {}
    reached: dict[str | None, int] = {}
    last_line_at: dict[str | None, datetime] = {}

    def log(step: Step) -> None:
        began.setdefault(step.purchase, clock.monotonic())
        seconds = clock.monotonic() - began[step.purchase]
        match step.kind:
            case "reused":
                logger.info("Reused from the ledger, nothing paid: %s%s", _what(step), _where(step))
            case "submitted":
                job = f" as {step.job_id}" if step.job_id else ""
                logger.info("Ordered %s%s at %s, %s", _what(step), job, step.host, _estimate(step))
                last_line_at[step.purchase] = step.at
            case "queued" | "started" if _age(step) >= FIRST_SECONDS:
                logger.info("%s: %s (%s)", _name(step), step.kind, step.status)
                last_line_at[step.purchase] = step.at
            case "progress":
                mark = next((mark for mark in MILESTONES if (step.progress or 0) >= mark), 0)
                last = last_line_at.setdefault(step.purchase, step.submitted_at or step.at)
                if mark > reached.get(step.purchase, 0) and (step.at - last).total_seconds() >= BETWEEN_SECONDS:
                    reached[step.purchase], last_line_at[step.purchase] = mark, step.at
                    logger.info("%s: %.0f %% after %.0f s", _name(step), step.progress, seconds)
            case "stalled":
                logger.warning("%s: no change for %.0f s (%s)", _name(step), step.waited_seconds or 0, step.status)
            case "stored":
                size = f", {step.bytes / 1e6:.1f} MB" if step.bytes else ""
                cost = f", {step.cost_usd:.3f} USD" if step.cost_usd is not None else ", price unknown"
                logger.info("Made %s in %.1f s%s%s%s", _what(step), seconds, size, cost, _where(step))
            case "failed" | "rejected" | "doubt" | "over_budget":
                logger.warning("%s %s: %s%s", _WORDS[step.kind], _what(step), _reason(step), _billed(step))
            case _:
                pass

    return log


def log_prompt(prompt: str | None, most: int = LONGEST_PROMPT) -> str:
    """A prompt as names and logs may show it: shortened, or its hash where prompts are private."""
    if not prompt:
        return ""
    if not settings().log_prompts:
        return f"prompt {sha256_of(prompt)[:8]}"
    return plain(prompt, most)


_WORDS = {"failed": "Failed", "rejected": "Rejected", "doubt": "In doubt", "over_budget": "Not bought"}


def _what(step: Step) -> str:
    """What is bought: a quoted prompt, and in brackets what decides its price."""
    kind = "batch" if step.operation == "batch" else step.media if step.operation == "generate" else step.operation
    facts: list[Any] = [step.model, step.size, f"{step.seconds:g} s" if step.seconds else ""]
    if step.count > 1:
        facts.append(f"{step.count} images")
    prompt = log_prompt(step.prompt)
    quoted = f" '{prompt}'" if prompt else ""
    return f"{kind}{quoted} ({', '.join(filter(None, facts))})"


def _name(step: Step) -> str:
    return step.job_id or _what(step)


def _estimate(step: Step) -> str:
    return "price unknown" if step.cost_usd is None else f"about {step.cost_usd:.3f} USD"


def _where(step: Step) -> str:
    places = [asset.uri for asset in step.assets]
    return f": {places[0]}{f' and {len(places) - 1} more' if len(places) > 1 else ''}" if places else ""


def _reason(step: Step) -> str:
    return plain(str(step.error), 300) if step.error else "no reason given"


def _billed(step: Step) -> str:
    billed = getattr(step.error, "billed", None)
    return "" if billed is None else "; billed" if billed else "; not billed"


def _age(step: Step) -> float:
    return (step.at - step.submitted_at).total_seconds() if step.submitted_at else 0.0
