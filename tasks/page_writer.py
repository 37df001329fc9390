"""The one thread of a process that writes the live pages of its flow runs to Prefect, when something has changed.

It waits for nothing that is paid for, and nothing that is paid for waits for it: a step costs the caller a lock and a
few assignments. There is at most one request in two seconds, whatever the number of jobs and flow runs. The thread
begins with a step and ends when all that it shows is written; the next step begins another. At the end of the process
what has changed since is written once. The thread logs nothing, for it may outlive the streams that a log goes to: the
next step of the flow run tells of its troubles.
"""

from __future__ import annotations

import contextvars
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import FlowRunContext, SettingsContext, get_settings_context
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run

from prefect_media.assets import Asset
from prefect_media.runtime import clock
from prefect_media.runtime.sync import run_sync
from prefect_media.settings import settings
from prefect_media.steps import OnStep, Step

from .cards import Picture, picture_of
from .current_run import run_logger
from .gallery_page import LINKS, ON_A_PAGE, fit_cards
from .live_page import LivePage
from .shots import Origin, Shot, remember, shown_prompt

INTERVAL = 2.0
"""Seconds between two requests at least."""

TICK = 0.1
"""Seconds between two looks at what has changed."""

PATIENCE = 5.0
"""Seconds that one request may take."""

PATIENCE_AT_END = 2.0
"""Seconds that one request may take at the end of the process; after the first that fails none follows."""

LONGEST_PAUSE = 60.0
"""Seconds until the next try after several failures in a row."""

LINGER = 10.0
"""Seconds that the thread waits for more to do before it ends."""

WARNED_FAILURE = 2
"""Which failure in a row is warned of: a server that is busy for a moment is no news."""

MOST_FAILURES = 10
"""After so many in a row a page is left alone until it changes again."""

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
        failures: How many tries in a row failed; `tried` is what the page was at the last one.
        trouble: Why, until somebody is told.
    """

    page: LivePage
    run_id: UUID
    key: str
    context: contextvars.Context
    ids: dict[str, UUID] = field(default_factory=dict[str, UUID])
    written: dict[str, Any] = field(default_factory=dict[str, Any])
    pictures: dict[str, Picture] = field(default_factory=dict[str, Picture])
    failures: int = 0
    tried: int = -1
    next_try: float = 0.0
    trouble: str | None = None

    @property
    def pending(self) -> list[str]:
        """What has changed since it was written: the page, and the plain number."""
        changes, progress = self.page.changes, self.page.progress
        if self.failures >= MOST_FAILURES and changes == self.tried:
            return []
        stale = ["page"] if self.written.get("page") != changes else []
        before = self.written.get("progress")
        # The number takes turns with the page, and is for round figures.
        if before is None or abs(progress - before) >= 5 or (self.page.is_idle and progress != before):
            stale.append("progress")
        return stale if self.written.get("turn") == "progress" else stale[::-1]

    def tell_trouble(self) -> None:
        """Log once that the page can't be written, where the run that it belongs to logs."""
        trouble, self.trouble = self.trouble, None
        if trouble:
            run_logger().warning("The page %s could not be written and is tried again: %s", self.key, trouble)


_pages: OrderedDict[str, _Written] = OrderedDict()
_lock = threading.Lock()
_thread: threading.Thread | None = None


def _page_of_run() -> _Written | None:
    """The live page of the flow run that is going on here; None outside of runs, and where pages are turned off."""
    if not settings().show:
        return None
    run_id = flow_run.id
    if not run_id:
        return None
    with _lock:
        if (known := _pages.get(run_id)) is not None:
            return known
    context = FlowRunContext.get()
    name = context.flow.name if context and context.flow else "run"
    run_name = context.flow_run.name if context and context.flow_run else ""
    title = f"{name}: {run_name}" if run_name else name
    key = f"media-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'run'}"
    new = _Written(LivePage(title), UUID(run_id), key, contextvars.copy_context())
    with _lock:
        written = _pages.setdefault(run_id, new)
        while len(_pages) > MOST_PAGES:
            _pages.popitem(last=False)
    return written


def show_on_page(origin: Origin | None) -> OnStep | None:
    """Shows the steps of a task's purchases on the live page of the flow run; None where there is none.

    Args:
        origin: What was ordered, where the task knows it.
    """
    each = _page_of_run()
    if each is None:
        return None

    def show(step: Step) -> None:
        known = origin or Origin(shown_prompt(step.prompt))
        if step.purchase and origin:
            remember(step.purchase, origin)
        each.page.report(step, known)
        _wake()
        each.tell_trouble()

    return show


def _wake() -> None:
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
        if each := _page_of_run():
            each.page.expect(jobs)
    except Exception as error:  # no flow run fails because of what it shows
        run_logger().warning("The live page could not be changed: %s", error)


def publish_on_page(assets: Sequence[Asset]) -> None:
    """Show published assets where they lie now, if this run has a page. Raises nothing."""
    try:
        if each := _page_of_run():
            each.page.publish(assets)
            _wake()
    except Exception as error:  # no flow run fails because of what it shows
        run_logger().warning("The live page could not be changed: %s", error)


def _write_pages() -> None:
    global _thread
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
        with _lock:  # whoever changes a page from here on finds no thread, and starts one
            if any(each.pending for each in _pages.values()):
                busy_until = clock.monotonic() + LINGER
            elif clock.monotonic() > busy_until:
                _thread = None
                return
        clock.block(TICK)
    _write_the_last()


def _write_the_last() -> None:
    """Write what has changed since; the process waits for it, so a server that is gone is asked once."""
    for each in list(_pages.values()):
        for what in each.pending:
            if not each.context.run(_write, each, what, at_end=True):
                return


def _write(each: _Written, what: str, *, at_end: bool = False) -> bool:
    """Bring one artifact up to date, take note of it, and say whether it is. Raises nothing."""
    changes, progress = each.page.changes, each.page.progress
    each.tried = changes
    try:
        if what == "page" and not at_end:
            _draw(each, DRAWN_MEANWHILE)
        data = _text(each) if what == "page" else progress
        with _sent_once():
            _send(each, what, data, PATIENCE_AT_END if at_end else PATIENCE)
    except Exception as error:  # no flow run fails because of what it shows
        each.failures += 1
        each.next_try = clock.monotonic() + min(LONGEST_PAUSE, INTERVAL * 2**each.failures)
        if isinstance(error, PrefectHTTPStatusError) and error.response.status_code == 413:
            each.page.most_pictures //= 2
        if each.failures == WARNED_FAILURE:
            each.trouble = str(error) or type(error).__name__
        return False
    each.written |= {what: changes if what == "page" else progress, "turn": what}
    each.failures = 0
    each.next_try = 0.0
    each.trouble = None
    return True


def _draw(each: _Written, most: int) -> None:
    """Draw pictures that are missing, at most so many, while the process goes on. Raises nothing."""
    for shot in each.page.shots():
        name = _name(shot)
        if name in each.pictures:
            continue
        if most == 0 or not threading.main_thread().is_alive():
            return
        most -= 1
        with suppress(RuntimeError):  # the process ended meanwhile, and its event loops with it
            each.pictures[name] = run_sync(picture_of(shot, LINKS))


def _text(each: _Written) -> str:
    shown = [(shot, each.pictures.get(_name(shot))) for shot in each.page.shots()]
    drawn = [(shot, picture) for shot, picture in shown if picture or each.page.is_idle]
    pictures = [picture or Picture() for _, picture in drawn]
    for index, picture in enumerate(pictures):
        if index >= each.page.most_pictures:
            pictures[index] = Picture(link=picture.link)
    return each.page.markdown(fit_cards([shot for shot, _ in drawn], pictures) if drawn else "")


def _name(shot: Shot) -> str:
    return shot.asset.uri if shot.asset else "rejected" if shot.rejected else "failed"


def _sent_once() -> SettingsContext:
    """Prefect's settings, with no second try of a request. `temporary_settings` does the same, but has all settings
    checked anew, which takes 0.1 s of CPU."""
    known = get_settings_context()
    client = known.settings.client.model_copy(update={"max_retries": 0})
    return SettingsContext(profile=known.profile, settings=known.settings.model_copy(update={"client": client}))


def _send(each: _Written, what: str, data: str | float, patience: float) -> None:
    with get_client(sync_client=True, httpx_settings={"timeout": patience}) as client:
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
        response = client.request("POST", "/artifacts/", json=new.model_dump(mode="json", exclude_unset=True))
        each.ids[what] = UUID(response.json()["id"])
