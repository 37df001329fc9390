"""The steps of a purchase as Prefect events, for automations. Sending never delays or fails a paid step."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from shlex import quote
from typing import Any

from prefect.events import emit_event

from prefect_media.errors import BudgetExceeded
from prefect_media.manifest import Manifest
from prefect_media.steps import OnStep, Step

from .current_run import in_run, run_logger
from .event_payloads import (
    PAYLOADS,
    PREFIX,
    BatchCompleted,
    BudgetPayload,
    Doubt,
    Failed,
    Made,
    Payload,
    Published,
    Stalled,
    Started,
    Submitted,
)

LEVELS = (100, 95, 90, 80, 50)
"""Per cent of a budget that automations can wait for, by the label `prefect-media.budget.level`."""

MOST_WAITING = 10_000
"""Events that wait to be handed to Prefect; more are dropped, with one warning."""

MOST_ASSETS = 100
"""Addresses in one event, which Prefect's server takes up to a size."""


def purchase_events(store: str) -> OnStep:
    """Sends the Prefect events of the purchases of one task.

    Args:
        store: Address of the store, for the commands in events.
    """
    stalled: tuple[str | None, float | None] | None = None

    def send(step: Step) -> None:
        nonlocal stalled
        if step.kind == "stalled":
            stalled = step.status, step.progress
        resumed = stalled is not None and step.kind == "progress" and (step.status, step.progress) != stalled
        if resumed:
            stalled = None
        if (event := _event_of(step, store, resumed=resumed)) is not None:
            name, payload = event
            send_event(name, _resource_of(name, step, payload), payload)

    return send


def send_published(manifest: Manifest) -> None:
    """Send the event of a publication."""
    payload = Published(
        manifest=manifest.uri,
        assets=[asset.uri for asset in manifest.assets[:MOST_ASSETS]],
        count=len(manifest.assets),
        bytes=sum(asset.size_bytes for asset in manifest.assets),
        total_cost_usd=manifest.total_cost_usd,
    )
    send_event("published", {"id": f"manifest.{manifest.uri}", "name": manifest.uri}, payload)


def send_event(name: str, resource: dict[str, str], payload: Payload) -> None:
    """Hand an event to Prefect, in a thread of its own: the first one of a process starts Prefect's sender.

    Prefect adds the flow run, the task run, the flow and the deployment. Outside of runs nothing is sent.

    Args:
        name: One of `PAYLOADS`.
        resource: Labels of the event's resource; "id" and "name" are Prefect's own labels.
        payload: Of the kind that `PAYLOADS` says.
    """
    assert type(payload) is PAYLOADS[name]
    if not in_run():
        return
    prefect = {"id": "prefect.resource.id", "name": "prefect.resource.name"}
    labels = {prefect.get(label, PREFIX + label): value for label, value in resource.items()}
    if not labels["prefect.resource.id"].startswith("prefect."):  # one of Prefect's own, such as a flow run
        labels["prefect.resource.id"] = PREFIX + labels["prefect.resource.id"]
    _sender.send(PREFIX + name, labels, payload.model_dump(mode="json"))


class _Sender:
    """One thread that hands events to Prefect in their order, and ends what waits before the process does."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefect-media events")
        self._room = threading.BoundedSemaphore(MOST_WAITING)
        self._warned = False

    def send(self, name: str, resource: dict[str, str], payload: dict[str, Any]) -> None:
        if not self._room.acquire(blocking=False):
            self._warn("More than %d Prefect events wait to be sent; further ones are dropped", MOST_WAITING)
            return
        context = copy_context()  # the run that the event belongs to
        try:
            sent = self._thread.submit(context.run, emit_event, name, resource=resource, payload=payload)
        except RuntimeError:  # the process is ending
            self._room.release()
            return
        logger = run_logger()

        def done(sent: Future[Any]) -> None:
            self._room.release()
            if error := sent.exception():
                logger.warning("The event %s could not be sent: %s: %s", name, type(error).__name__, error)

        sent.add_done_callback(done)

    def _warn(self, message: str, *values: object) -> None:
        if not self._warned:
            self._warned = True
            run_logger().warning(message, *values)


_sender = _Sender()


def _renew() -> None:
    """A forked process has the sender, but not its thread."""
    global _sender
    _sender = _Sender()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def _event_of(step: Step, store: str, *, resumed: bool) -> tuple[str, Payload] | None:
    """Name and payload of the event of a step; None of one that has none."""
    media = "batch" if step.operation == "batch" else step.media
    common: dict[str, Any] = {
        "purchase": step.purchase,
        "operation": step.operation,
        "model": step.model,
        "host": step.host,
        "job_id": step.job_id,
        "count": step.count,
        "size": step.size,
        "seconds": step.seconds,
    }
    look: dict[str, Any] = {"status": step.status, "progress": step.progress}
    if resumed:
        return ("video.resumed", Started(**common, **look)) if media == "video" else None
    match step.kind, media:
        case "submitted", "video" | "batch":
            return f"{media}.submitted", Submitted(**common, estimated_usd=step.cost_usd)
        case "started", "video":
            return "video.started", Started(**common, **look)
        case "stalled", "video":
            return "video.stalled", Stalled(**common, **look, seconds_without_change=step.waited_seconds or 0.0)
        case "finished", "batch":
            return "batch.completed", BatchCompleted(**common, status=step.status)
        case "stored", "image" | "video":
            assets = [asset.uri for asset in step.assets[:MOST_ASSETS]]
            name = "image.created" if media == "image" else "video.completed"
            return name, Made(**common, assets=assets, bytes=step.bytes or 0, cost_usd=step.cost_usd)
        case "reserved" | "over_budget", _:
            return _budget_event(step, common)
        case "doubt", _ if step.error:
            return "doubt.raised", _doubt(step, common, store)
        case "failed" | "rejected", _ if step.error and not step.error.transient:
            billed = getattr(step.error, "billed", None)
            payload = Failed(
                **common,
                error=type(step.error).__name__,
                message=step.error.message,
                code=step.error.code,
                billed=billed if isinstance(billed, bool) else None,
            )
            return f"{media}.{step.kind}", payload
        case _:
            return None


def _budget_event(step: Step, common: dict[str, Any]) -> tuple[str, Payload] | None:
    budget = step.budget
    if budget is None:
        return None
    used = None
    if budget.limit_usd and budget.spent_usd is not None and budget.reserved_usd is not None:
        used = round(100 * (budget.spent_usd + budget.reserved_usd) / budget.limit_usd, 2)
    needed = step.error.needed_usd if isinstance(step.error, BudgetExceeded) else step.cost_usd
    payload = BudgetPayload(
        **common,
        budget=budget.path,
        limit_usd=budget.limit_usd,
        spent_usd=budget.spent_usd,
        reserved_usd=budget.reserved_usd,
        used_percent=used,
        needed_usd=needed,
    )
    return ("budget.reserved" if step.kind == "reserved" else "budget.exceeded"), payload


def _doubt(step: Step, common: dict[str, Any], store: str) -> Doubt:
    key = (step.purchase or "")[:12]
    candidates = [str(each) for each in getattr(step.error, "candidates", ())]
    job = quote(candidates[0]) if len(candidates) == 1 else "JOB_ID"
    clear = f"adopt {key} {job}" if step.media == "video" else f"forget {key}"
    command = f"prefect-media jobs {clear} --store {quote(store)}"
    assert step.error
    return Doubt(**common, message=step.error.message, candidates=candidates, command=command)


def _resource_of(name: str, step: Step, payload: Payload) -> dict[str, str]:
    """Labels that automations can match; a payload they can't."""
    kind = name.partition(".")[0]
    if isinstance(payload, BudgetPayload):
        reached = [level for level in LEVELS if payload.used_percent is not None and payload.used_percent >= level]
        exceeded = name == "budget.exceeded"
        level = "100" if exceeded else str(reached[0] if reached else 0)
        return {
            "id": payload.budget.removesuffix(".json").replace("/", "."),
            "name": payload.budget,
            "budget.level": level,
        }
    identity = step.purchase or step.job_id or "unknown"
    labels = {"id": f"{kind}.{identity}", "name": f"{step.model} {step.job_id or identity[:12]}"}
    return {**labels, "model": step.model or "unknown", "host": step.host or "unknown"}
