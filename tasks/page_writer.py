"""The one thread of a process that writes the live pages of its flow runs to Prefect, when something has changed.

It waits for nothing that is paid for, and nothing that is paid for waits for it: a step costs the caller a lock and a
few assignments. There is at most one request in two seconds, whatever the number of jobs and flow runs. The thread
begins with the first step and ends when all pages are written and nothing is under way; at the end of the process it
writes what has changed since, once.
"""

from __future__ import annotations

import contextvars
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from prefect_media.assets import Asset
from prefect_media.runtime import clock
from prefect_media.runtime.sync import run_sync
from prefect_media.settings import settings
from prefect_media.steps import OnStep, Step

from .cards import Picture, picture_of
from .context import run_logger
from .gallery_page import LINKS, ON_A_PAGE, fitted_cards
from .live_page import LivePage
from .shots import Origin, Shot, remember, shown_prompt

INTERVAL = 2.0
"""Seconds between two requests at least."""

TICK = 0.1
"""Seconds between two looks at what has changed."""

PATIENCE = 5.0
"""Seconds that one request may take."""

LONGEST_PAUSE = 60.0
"""Seconds until the next try after several failures in a row."""

LINGER = 10.0
"""Seconds that the thread waits for more to do before it ends."""

WARNED_FAILURE = 2
"""Which failure in a row is warned of."""

DRAWN_MEANWHILE = 1
"""Pictures drawn per update while jobs are under way; at the end, those that are missing are drawn."""

MOST_PAGES = 32
"""Flow runs of this process whose pages are kept; of the oldest, nothing further is shown."""


@dataclass
class _Written:
    """A page, and what of it Prefect has.

    Attributes:
        page: The page.
        run_id: Its flow run.
        key: The key of its artifact.
        context: Prefect's settings and runs, as the first step saw them.
        logger: Where a failure is logged, once.
    """

    page: LivePage
    run_id: UUID
    key: str
    context: contextvars.Context
    logger: logging.Logger | logging.LoggerAdapter[Any]
    ids: dict[str, UUID] = field(default_factory=dict[str, UUID])
    written: dict[str, Any] = field(default_factory=dict[str, Any])
    pictures: dict[str, Picture] = field(default_factory=dict[str, Picture])
    failures: int = 0
    next_try: float = 0.0

    @property
    def pending(self) -> list[str]:
        """What has changed since it was written: the page, and the plain number."""
        changes, progress = self.page.changes, self.page.progress
        stale = ["page"] if self.written.get("page") != changes else []
        before = self.written.get("progress")
        # The number takes turns with the page, and is for round figures.
        if before is None or abs(progress - before) >= 5 or (self.page.is_idle and progress != before):
            stale.append("progress")
        return stale if self.written.get("turn") == "progress" else stale[::-1]


_pages: OrderedDict[str, _Written] = OrderedDict()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def page_of_run() -> LivePage | None:
    """The live page of the flow run that is going on here; None outside of runs, and where pages are turned off."""
    if not settings().show:
        return None
    run_id = flow_run.id
    if not run_id:
        return None
    with _lock:
        if (known := _pages.get(run_id)) is not None:
            return known.page
    context = FlowRunContext.get()
    name = context.flow.name if context and context.flow else "run"
    run_name = context.flow_run.name if context and context.flow_run else ""
    title = f"{name}: {run_name}" if run_name else name
    key = f"media-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'run'}"
    new = _Written(LivePage(title), UUID(run_id), key, contextvars.copy_context(), run_logger())
    with _lock:
        kept = _pages.setdefault(run_id, new)
        while len(_pages) > MOST_PAGES:
            _pages.popitem(last=False)
    return kept.page


def show_on_page(origin: Origin | None) -> OnStep | None:
    """Shows the steps of a task's purchases on the live page of the flow run; None where there is none.

    Args:
        origin: What was ordered, where the task knows it.
    """
    page = page_of_run()
    if page is None:
        return None

    def show(step: Step) -> None:
        known = origin or Origin(shown_prompt(step.prompt))
        if step.purchase and origin:
            remember(step.purchase, origin)
        page.report(step, known)
        wake()

    return show


def wake() -> None:
    """Have changes written soon."""
    global _thread
    if _thread is None or not _thread.is_alive():
        with _lock:
            if (_thread is None or not _thread.is_alive()) and threading.main_thread().is_alive():
                # Not a daemon: the last changes are written before the process ends.
                _thread = threading.Thread(target=_write_pages, name="prefect-media-pages", daemon=False)
                _thread.start()


def expect_on_page(jobs: int) -> None:
    """Have the page say how many are to come, if this run has a page. Raises nothing."""
    try:
        if page := page_of_run():
            page.expect(jobs)
    except Exception as error:  # no flow run fails because of what it shows
        run_logger().warning("The live page could not be changed: %s", error)


def publish_on_page(assets: Sequence[Asset]) -> None:
    """Show published assets where they lie now, if this run has a page. Raises nothing."""
    try:
        if page := page_of_run():
            page.publish(assets)
            wake()
    except Exception as error:  # no flow run fails because of what it shows
        run_logger().warning("The live page could not be changed: %s", error)


def _write_pages() -> None:
    busy_until = clock.monotonic() + LINGER
    next_request = 0.0
    while threading.main_thread().is_alive():
        with _lock:
            pages = list(_pages.values())
        now = clock.monotonic()
        for each in pages:
            if each.page.is_idle and "page" in each.pending:
                each.context.run(_draw, each, ON_A_PAGE)  # at once: at the end of the process nothing can be drawn
        due = [(each, each.pending[0]) for each in pages if each.pending and each.next_try <= now]
        if due and now >= next_request:
            each, what = due[0]
            each.context.run(_write, each, what)
            next_request = clock.monotonic() + INTERVAL
        if any(each.pending or not each.page.is_idle for each in pages):
            busy_until = clock.monotonic() + LINGER
        elif clock.monotonic() > busy_until:
            return
        clock.block(TICK)
    with _lock:
        pages = list(_pages.values())
    for each in pages:
        for what in each.pending:
            each.context.run(_write, each, what, at_end=True)


def _write(each: _Written, what: str, *, at_end: bool = False) -> None:
    """Bring one artifact up to date, and take note of it. Raises nothing."""
    changes, progress = each.page.changes, each.page.progress
    try:
        if what == "page" and not at_end:
            _draw(each, DRAWN_MEANWHILE)
        data = _text(each) if what == "page" else progress
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            _send(each, what, data)
        each.written |= {what: changes if what == "page" else progress, "turn": what}
        each.failures = 0
        each.next_try = 0.0
    except Exception as error:  # no flow run fails because of what it shows
        each.failures += 1
        each.next_try = clock.monotonic() + min(LONGEST_PAUSE, INTERVAL * 2**each.failures)
        if isinstance(error, PrefectHTTPStatusError) and error.response.status_code == 413:
            each.page.most_pictures //= 2
        # Not of the first failure, nor of a page that only lacks its end: at the end of a process or a test the server
        # often goes before the last update, and so does the stream that the warning would be written to.
        lost = not (each.written and each.page.is_idle)
        if each.failures == WARNED_FAILURE and lost and not at_end:
            each.logger.warning("The page %s could not be written and is tried again: %s", each.key, error)


def _draw(each: _Written, most: int) -> None:
    """Draw pictures that are missing, at most so many. Raises nothing."""
    for shot in each.page.shots():
        name = _name(shot)
        if name not in each.pictures:
            if most == 0:
                return
            most -= 1
            each.pictures[name] = run_sync(picture_of(shot, LINKS))


def _text(each: _Written) -> str:
    shown = [(shot, each.pictures.get(_name(shot))) for shot in each.page.shots()]
    drawn = [(shot, picture) for shot, picture in shown if picture or each.page.is_idle]
    pictures = [picture or Picture() for _, picture in drawn]
    for index, picture in enumerate(pictures):
        if index >= each.page.most_pictures:
            pictures[index] = Picture(link=picture.link)
    return each.page.markdown(fitted_cards([shot for shot, _ in drawn], pictures) if drawn else "")


def _name(shot: Shot) -> str:
    return shot.asset.uri if shot.asset else "rejected" if shot.rejected else "failed"


def _send(each: _Written, what: str, data: str | float) -> None:
    with get_client(sync_client=True, httpx_settings={"timeout": PATIENCE}) as client:
        if artifact_id := each.ids.get(what):
            # Not client.update_artifact: it would send the whole page a second time, as an event.
            update = ArtifactUpdate(data=data).model_dump(mode="json", exclude_unset=True)
            client.request("PATCH", "/artifacts/{id}", json=update, path_params={"id": artifact_id})
            return
        kind = "markdown" if what == "page" else "progress"
        new = ArtifactCreate(
            key=each.key if what == "page" else f"{each.key}-progress",
            type=kind,
            description="What this flow run makes" if what == "page" else "How much of it is done",
            data=data,
            flow_run_id=each.run_id,
        )
        # Not client.create_artifact: it sends an event, which at the end of the process is an error.
        made = client.request("POST", "/artifacts/", json=new.model_dump(mode="json", exclude_unset=True))
        each.ids[what] = UUID(made.json()["id"])
