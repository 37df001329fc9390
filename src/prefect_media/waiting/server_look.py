"""One look at all jobs of a server that sleeping flow runs wait for: by its list, two requests a minute at most.

Wakers come and go, and several may work at once. So what one has to know of the others lies in the store, one small
object for each server and account, changed by compare-and-swap: when it was asked last, whether it has a list, and
since when each job shows no change.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InvalidRequest, MediaError, NotFound, ProviderUnavailable, RateLimited
from ..figures import amount
from ..image_batch import ImageBatch
from ..jobs import JobState, VideoJob
from ..providers import batches, listing, videos
from ..providers.address import base_url_at
from ..providers.connection import Connection
from ..providers.detection import dialect_of
from ..runtime import clock
from ..runtime.hashing import sha256_of
from ..settings import settings
from ..storage.store import Storage
from .poller import ANSWER, LONGEST_PAUSE

FOLDER = "ledger/wakers/servers/"

PER_MINUTE = 2
"""Requests a minute to a server that has a list of jobs, whatever the number of wakers."""

SINGLE_LOOKS_PER_MINUTE = 20
"""Requests a minute to a server that has none, so that each job has to be looked at by itself."""

SINGLE_LOOKS = 0.25
"""Share of the looks that keep their last request for a single job: a list need not have all of them."""

MINUTE = timedelta(minutes=1)

CLOCKS = 2 * 3600.0
"""Seconds that a server's clock and ours may be apart."""

_logger = logging.getLogger("prefect_media")


class Standing(BaseModel):
    """How a job stood when it last changed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: str
    progress: float | None = None
    since: datetime
    reported: bool = False


class ServerRecord(BaseModel):
    """What wakers know of a server."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    asked: tuple[datetime, ...] = ()
    """When requests were sent to it, within the last minute."""
    pause_until: datetime | None = None
    """When it wants to be asked again."""
    has_list: bool = True
    after: str | None = None
    """The job down to which the list was read, where two pages were not enough; the next look goes on there."""
    jobs: dict[str, Standing] = Field(default_factory=dict)
    finished: tuple[str, ...] = ()
    """Jobs that an earlier look saw finished: one look reaches few jobs where there is no list."""

    def room(self, now: datetime, limit: int) -> int:
        """How many requests may be sent now."""
        if self.pause_until and now < self.pause_until < now + timedelta(seconds=2 * LONGEST_PAUSE):
            return 0
        return max(0, limit - len(self.lately(now)))

    def lately(self, now: datetime) -> tuple[datetime, ...]:
        """The requests of the last minute. Another machine's clock may be ahead of ours."""
        return tuple(when for when in self.asked if abs(now - when) < MINUTE)


@dataclass(frozen=True, slots=True)
class Stall:
    """A job that shows no change for a while."""

    job: VideoJob
    state: JobState
    seconds: float


@dataclass(slots=True)
class Look:
    """What a look brought.

    Attributes:
        finished: Ids of jobs that are done, failed or gone.
        stalls: Jobs that no waker has reported yet.
        requests: How many requests it took.
    """

    finished: set[str] = field(default_factory=set[str])
    stalls: list[Stall] = field(default_factory=list[Stall])
    requests: int = 0


def server_of(connection: Connection) -> str:
    """A name for a server and the account there, which wakers share."""
    account = json.dumps([connection.base_url, connection.account], sort_keys=True)
    return sha256_of(account)[:32]


async def look_at_server(
    connection: Connection, jobs: Sequence[VideoJob | ImageBatch], storage: Storage, *, hint: str | None = None
) -> Look:
    """Look at jobs of one server, as far as two requests a minute reach; those left out come in a later round.

    Args:
        connection: The server that all of them were made at, and as whom to ask.
        jobs: The jobs.
        storage: The store whose wakers share the two requests.
        hint: Id of a job that is finished, as somebody says who was proved to know. It is looked at in any case.

    Raises:
        errors.StoreError: The store can't be read or written.
        errors.InvalidRequest: A job was made at another server.
    """
    films = {job.id: job for job in jobs if isinstance(job, VideoJob)}
    orders = {job.id: job for job in jobs if isinstance(job, ImageBatch) and job.id}
    look = Look({job.key for job in jobs if isinstance(job, ImageBatch) and not job.id})
    if not films and not orders:
        return look
    at = _connection_of([*films.values(), *orders.values()], connection)
    path = f"{FOLDER}{server_of(at)}.json"
    record, version = await _read(storage, path)
    awaited = films.keys() | orders.keys()
    look.finished |= awaited & set(record.finished)
    films = {job_id: job for job_id, job in films.items() if job_id not in look.finished}
    orders = {job_id: job for job_id, job in orders.items() if job_id not in look.finished}
    if not films and not orders:
        return look
    lists = record.has_list and (not films or "list" in (await dialect_of(at)).routes)
    now = clock.now()
    needed = (PER_MINUTE if lists else SINGLE_LOOKS_PER_MINUTE) if len(films) + len(orders) > 1 else 1
    room = min(needed, record.room(now, PER_MINUTE if lists else SINGLE_LOOKS_PER_MINUTE))
    hint = hint if hint in films or hint in orders else None
    room += hint is not None
    if not room:
        return look
    record = record.model_copy(update={"asked": (*record.lately(now), *[now] * room)})
    version = await _swap(storage, path, record, version)
    if version is None:  # another waker looks
        return look
    asking = _Asking(at, films, orders, room, lists=lists, after=record.after)
    await asking.run(hint)
    look.finished |= asking.finished
    look.requests = asking.requests
    standings = _standings(record, films, asking.states, now, look)
    pause = None if asking.pause is None else clock.now() + timedelta(seconds=asking.pause)
    update = {
        "pause_until": pause,
        "has_list": asking.lists,
        "after": asking.after,
        "jobs": standings,
        "finished": tuple(sorted(awaited & look.finished)),
    }
    await _swap(storage, path, record.model_copy(update=update), version)
    return look


class _Asking:
    """The requests of one look: pages first, then single jobs that no page had."""

    def __init__(
        self,
        at: Connection,
        films: dict[str, VideoJob],
        orders: dict[str, ImageBatch],
        room: int,
        *,
        lists: bool,
        after: str | None,
    ) -> None:
        self._at, self._room = at, room
        self._films, self._orders = set(films), set(orders)
        self._oldest = min((job.submitted_at.timestamp() for job in films.values()), default=0.0) - CLOCKS
        self.lists, self.after = lists, after
        self.states: dict[str, JobState] = {}
        self.finished: set[str] = set()
        self.pause: float | None = None
        self.requests = 0

    async def run(self, hint: str | None) -> None:
        try:
            if hint:
                await self._one(hint)
            await self._pages()
            left = [*self._films, *self._orders]
            clock.dice().shuffle(left)  # no waker remembers whose turn it is
            for job_id in left:
                if self.requests >= self._room:
                    return
                await self._one(job_id)
        except TimeoutError:
            _logger.warning("%s did not answer within %g s; its jobs are looked at later", self._at.host, ANSWER)
        except MediaError as error:
            if isinstance(error, RateLimited | ProviderUnavailable):
                self.pause = min(amount(error.retry_after) or 0.0, LONGEST_PAUSE) or None
            _logger.warning("The jobs at %s are looked at later: %s", self._at.host, error)

    async def _pages(self) -> None:
        room = self._room - (clock.dice().random() < SINGLE_LOOKS)
        while self.lists and len(self._films) > 1 and self.requests < room - bool(self._orders):
            self.requests += 1
            try:
                async with asyncio.timeout(ANSWER):
                    rows, more = await listing.page(self._at, after=self.after)
            except (InvalidRequest, NotFound):
                self.lists, self.after = self.after is not None, None
                break
            for state in rows:
                self._take_state(state)
            if not more or not rows or rows[-1].id == self.after or self._are_older(rows[-1]):
                self.after = None
                break
            self.after = rows[-1].id
        if not self._films:
            self.after = None
        if len(self._orders) > 1 and self.requests < room:
            self.requests += 1
            async with asyncio.timeout(ANSWER):
                states, _ = await batches.page(self._at)
            for state in states:
                self._take_state(state.as_job)

    def _are_older(self, row: JobState) -> bool:
        """Whether what follows on the list, newest first, is older than all that is waited for."""
        return row.created_at is not None and row.created_at < self._oldest

    async def _one(self, job_id: str) -> None:
        self.requests += 1
        try:
            async with asyncio.timeout(ANSWER):
                if job_id in self._orders:
                    self._take_state((await batches.look(self._at, job_id)).as_job)
                else:
                    self._take_state(await videos.look(self._at, job_id))
        except NotFound:  # whoever is woken makes sure of it
            self.finished.add(job_id)

    def _take_state(self, state: JobState) -> None:
        if state.id not in self._films | self._orders:
            return
        self._films.discard(state.id)
        self._orders.discard(state.id)
        self.states[state.id] = state
        if state.phase in ("done", "failed"):
            self.finished.add(state.id)


def _connection_of(jobs: Sequence[VideoJob | ImageBatch], connection: Connection) -> Connection:
    """The connection of jobs that were all made at one server, with today's key."""
    first = jobs[0]
    base_url = base_url_at(connection.base_url, f"job {first.id}", first.base_url)
    if isinstance(first, ImageBatch):
        return replace(connection, base_url=base_url)
    return replace(connection, base_url=base_url, api_version=first.api_version, dialect=first.dialect)


def _standings(
    record: ServerRecord, films: dict[str, VideoJob], states: dict[str, JobState], now: datetime, look: Look
) -> dict[str, Standing]:
    """How the jobs that go on stand now; those that have stood still for long are added to the look."""
    standings: dict[str, Standing] = {}
    for job_id, job in films.items():
        state, before = states.get(job_id), record.jobs.get(job_id)
        if job_id in look.finished:
            continue
        if state is None:
            if before:
                standings[job_id] = before
            continue
        if before is None or (before.status, before.progress) != (state.status, state.progress):
            before = Standing(status=state.status, progress=state.progress, since=now)
        still = (now - before.since).total_seconds()
        if still >= settings().stall_seconds and not before.reported:
            look.stalls.append(Stall(job, state, still))
            before = before.model_copy(update={"reported": True})
        standings[job_id] = before
    return standings


async def _read(storage: Storage, path: str) -> tuple[ServerRecord, str | None]:
    there = await storage.fetch(path)
    if there is None:
        return ServerRecord(), None
    try:
        return ServerRecord.model_validate_json(there.data), there.version
    except ValidationError:
        return ServerRecord(), there.version


async def _swap(storage: Storage, path: str, record: ServerRecord, version: str | None) -> str | None:
    data = record.model_dump_json(indent=2).encode()
    if version is None:
        return await storage.create(path, data)
    return await storage.replace(path, data, version)
