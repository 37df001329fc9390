"""One poller for all jobs that are waited for at one server: a thin shell around `schedule` and `deadlines`."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import Context

from ..errors import InvalidRequest, MediaError, NotFound, ProviderUnavailable, RateLimited
from ..jobs import JobState, VideoJob
from ..providers import listing, videos
from ..providers.connection import Connection
from ..runtime import clock
from ..runtime.per_loop import shared
from ..settings import settings
from .deadlines import LookAgain, Verdict, Watch
from .durations import experience_of
from .schedule import Pace, Page, Single

LOOKS_AT_ONCE = 16
"""Requests in the air at once."""

ANSWER = 30.0
"""Seconds that an answer may take: a look that hangs must not keep others from seeing the end."""

LONGEST_PAUSE = 600.0
"""Seconds that a server can keep the whole poller from asking anything."""


def poller_of(connection: Connection) -> Poller:
    """The poller of a connection on the running event loop."""
    return shared(("poller", connection), lambda: Poller(connection))


class Follower:
    """One wait for one job; several may wait for the same."""

    def __init__(self, job: VideoJob, wait: Watch) -> None:
        self.job = job
        self.wait = wait
        self._news: tuple[Verdict | Exception, JobState | None] | None = None
        self._arrived = asyncio.Event()

    def tell(self, verdict: Verdict | Exception, state: JobState | None = None) -> None:
        """Bring the newest look; one that nobody has taken yet is forgotten over it."""
        self._news = verdict, state
        self._arrived.set()

    async def news(self) -> tuple[Verdict | Exception, JobState | None]:
        """The newest look that was not taken yet: what it means, and the job as it showed it."""
        await self._arrived.wait()
        self._arrived.clear()
        assert self._news
        return self._news


class Poller:
    """Looks at every job that somebody waits for, until nobody does."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pace = Pace(near=settings().poll_seconds, experience=experience_of(connection.base_url))
        self._followers: dict[str, list[Follower]] = {}
        self._clock = clock.monotonic
        self._changed = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not self._followers

    @contextmanager
    def following(self, job: VideoJob, wait: Watch) -> Generator[Follower]:
        """Have a job looked at for as long as the context is open, or until its wait is over."""
        follower = Follower(job, wait)
        self._followers.setdefault(job.id, []).append(follower)
        age = (clock.now() - job.submitted_at).total_seconds()
        submitted = job.submitted_at.timestamp()
        self._pace.join(job.id, job.kind, now=self._clock(), age=age, submitted=submitted, not_after=wait.deadline)
        if self._running is None or self._running.done():
            # In a context of its own: it outlives the run whose job happened to be the first.
            self._running = asyncio.create_task(self._run(), context=Context(), name="prefect-media poller")
        self._changed.set()
        try:
            yield follower
        finally:
            self._drop(follower)

    def _drop(self, follower: Follower) -> None:
        left = self._followers.get(follower.job.id, [])
        if follower in left:
            left.remove(follower)
        if not left and self._followers.pop(follower.job.id, None) is not None:
            self._pace.leave(follower.job.id)
            self._changed.set()

    async def _run(self) -> None:
        try:
            while self._followers:
                self._changed.clear()
                room = LOOKS_AT_ONCE - len(self._asking)
                for ask in self._pace.due(self._clock(), room):
                    task = asyncio.create_task(self._ask(ask))
                    self._asking.add(task)
                    task.add_done_callback(self._end_of_ask)
                wake = self._pace.wake() if len(self._asking) < LOOKS_AT_ONCE else None
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(wake):
                        await self._changed.wait()
        except Exception as error:
            # Nobody may wait for a poller that is no more.
            for follower in [follower for all_of_them in self._followers.values() for follower in all_of_them]:
                follower.tell(error)
            raise

    def _end_of_ask(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        self._changed.set()

    async def _ask(self, ask: Single | Page) -> None:
        job_ids = ask.expected if isinstance(ask, Page) else (ask.job_id,)
        try:
            await (self._ask_page(ask) if isinstance(ask, Page) else self._ask_one(ask.job_id))
        except Exception as error:  # ours, or the SDK's: whoever waits has to learn of it
            for follower in [follower for job_id in job_ids for follower in self._followers.get(job_id, [])]:
                follower.tell(error)
                self._drop(follower)

    async def _ask_one(self, job_id: str) -> None:
        try:
            async with asyncio.timeout(ANSWER):
                state = await videos.look(self._connection, job_id)
        except TimeoutError:
            message = f"{self._connection.host} did not answer within {ANSWER:g} s"
            self._take_error(job_id, ProviderUnavailable(message, job_id=job_id))
        except MediaError as error:
            self._rest(error)
            self._take_error(job_id, error)
        else:
            self._take_state(job_id, state)

    async def _ask_page(self, page: Page) -> None:
        try:
            async with asyncio.timeout(ANSWER):
                rows, more = await listing.page(self._connection, after=page.after)
        except (MediaError, TimeoutError) as error:
            # Says nothing about any job: each is looked at by itself then, and that look counts.
            self._rest(error)
            never = isinstance(error, NotFound | InvalidRequest)
            self._pace.give_up_page(page, self._clock(), never=never)
            return
        self._pace.learn_page(page, rows, more=more, now=self._clock())
        for state in rows:
            if state.id in self._followers and state.phase == "failed" and not state.error_message:
                self._pace.ask_singly([state.id], self._clock())  # a list may leave out why
            else:
                self._take_state(state.id, state)

    def _rest(self, error: Exception) -> None:
        """Ask nothing of a server that asked for that."""
        pause = error.retry_after if isinstance(error, RateLimited | ProviderUnavailable) else None
        if pause is not None and pause > 0:
            self._pace.pause(self._clock() + min(pause, LONGEST_PAUSE))

    def _take_state(self, job_id: str, state: JobState) -> None:
        if followers := self._followers.get(job_id):
            now = self._clock()
            self._pace.learn_state(job_id, state, now)
            self._settle(job_id, [(one, one.wait.judge(state, now)) for one in followers], state)

    def _take_error(self, job_id: str, error: MediaError) -> None:
        if followers := self._followers.get(job_id):
            now = self._clock()
            self._settle(job_id, [(one, one.wait.judge_error(error, now)) for one in followers], None)

    def _settle(self, job_id: str, verdicts: list[tuple[Follower, Verdict]], state: JobState | None) -> None:
        plans: list[LookAgain] = []
        for follower, verdict in verdicts:
            follower.tell(verdict, state)
            if isinstance(verdict, LookAgain):
                plans.append(verdict)
            else:
                self._drop(follower)
        if plans:
            self._pace.plan_look(
                job_id,
                now=self._clock(),
                not_before=max(plan.not_before for plan in plans),
                not_after=min(plan.not_after for plan in plans),
                failed=state is None,
            )
