"""How long video jobs took: learned in this process, and kept in the store, so that the next one need not begin anew.

It only decides when to look at a job that tells no progress yet. So it is read once per process, server and store,
written rarely, and nothing ever fails or waits long because of it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from bisect import insort
from collections.abc import Iterable, Sequence
from contextvars import Context
from typing import Any, cast
from urllib.parse import urlsplit

from ..runtime import clock
from ..runtime.per_loop import shared
from ..storage.store import Storage

Kind = tuple[str, str | None, str | None]
"""Model, size and seconds of a job, as far as they are known."""

MEMORY = 200
"""Jobs of a kind remembered by a process."""

ENOUGH = 3
"""Jobs of a kind that must have been seen until they say something about the next."""

STORED = 40
"""Jobs of a kind kept in the store."""

KINDS = 50
"""Kinds kept in the store, for each server."""

EVERY = 25
"""Finished jobs after which a process that has others to wait for writes down what it learned."""

PLENTY = 10
"""Jobs of a kind from which on one that finishes alone is written down only sometimes: one in `PLENTY`."""

READING, WRITING = 0.5, 2.0
"""Seconds that a wait for a job is held up by it at most, at its beginning and at its end."""

_logger = logging.getLogger("prefect_media")


class Experience:
    """How long jobs took, by kind: in seconds from submission to end. Safe to share between event loops."""

    def __init__(self) -> None:
        self._took: dict[Kind, list[float]] = {}
        self.fresh: list[tuple[Kind, float]] = []
        """What no store knows yet."""

    def add(self, kind: Kind, seconds: float) -> None:
        """Remember what a job took."""
        self.learn(kind, [seconds])
        self.fresh = [*self.fresh[1 - MEMORY :], (kind, seconds)]

    def learn(self, kind: Kind, seconds: Iterable[float]) -> None:
        """Take over what others found out."""
        for key in {kind, (kind[0], None, None)}:
            took = [*self._took.get(key, ())]
            for each in seconds:
                if len(took) >= MEMORY:
                    del took[clock.dice().randrange(MEMORY)]  # not the oldest: the last of a batch are its slowest
                insort(took, each)
            self._took[key] = took

    def of(self, kind: Kind) -> Sequence[float]:
        """What such jobs took, in ascending order; of the model as a whole where too few were of the kind."""
        for key in (kind, (kind[0], None, None)):
            took = self._took.get(key, ())
            if len(took) >= ENOUGH:
                return took
        return ()

    def worth_writing(self, *, idle: bool) -> bool:
        """Whether what is fresh is worth a write: much of it, or all there will be for a while and little known."""
        if not self.fresh or not idle:
            return len(self.fresh) >= EVERY
        known = min(len(self._took.get(kind, ())) for kind, _ in self.fresh)
        return known < PLENTY or clock.dice().randrange(PLENTY) < len(self.fresh)


_of: dict[str, Experience] = {}
_recalled: set[tuple[str, str]] = set()


def experience_of(base_url: str) -> Experience:
    """What is known of a server's jobs, for as long as the process lives."""
    return _of.setdefault(base_url, Experience())


async def recall(storage: Storage, base_url: str) -> None:
    """Learn what the store knows of a server, once per process; not waited for if it takes long."""
    place = (storage.uri("experience"), base_url)
    if place not in _recalled:
        # In a context of its own: it may outlive the run whose job happened to be the first.
        reading = shared(("recall", *place), lambda: asyncio.create_task(_recall(storage, base_url), context=Context()))
        await asyncio.wait([reading], timeout=READING)
        _recalled.add(place)


async def remember(storage: Storage, base_url: str, *, idle: bool) -> None:
    """Write down what was learned of a server, if it is time for that.

    Args:
        storage: Where.
        base_url: The server.
        idle: Whether nobody waits for another of its jobs.
    """
    experience = experience_of(base_url)
    if not experience.worth_writing(idle=idle):
        return
    fresh, experience.fresh = experience.fresh, []
    try:
        async with asyncio.timeout(WRITING):
            for _ in range(2):  # if somebody else wrote at the same moment; then theirs must do
                stored = await storage.fetch(path_of(base_url))
                text = encode(decode(stored.data if stored else b""), fresh)
                new = storage.replace(path_of(base_url), text, stored.version) if stored else None
                if await (new or storage.create(path_of(base_url), text)) is not None:
                    return
    except Exception as error:  # this only spares looks; no wait may fail for it
        _logger.debug("What was learned of %s could not be written: %s", base_url, error)


async def _recall(storage: Storage, base_url: str) -> None:
    try:
        if stored := await storage.fetch(path_of(base_url)):
            for kind, took in decode(stored.data).items():
                experience_of(base_url).learn(kind, took)
    except Exception as error:  # this only spares looks; no wait may fail for it
        _logger.debug("What is known of %s could not be read: %s", base_url, error)


def path_of(base_url: str) -> str:
    """Where in a store the experience with a server lies."""
    host = urlsplit(base_url).netloc.rpartition("@")[2]
    return f"experience/{re.sub(r'[^A-Za-z0-9.-]+', '-', host).strip('.-') or 'server'}.json"


def decode(data: bytes) -> dict[Kind, list[float]]:
    """What a store knows, oldest kinds first; what makes no sense is left out."""
    try:
        rows = cast(dict[str, Any], json.loads(data or b"{}")).get("jobs", [])
        durations = {
            (str(row["model"]), row.get("size"), row.get("seconds")): [
                float(took) for took in row["took"] if 0 <= took < 1e6
            ]
            for row in rows
        }
        return {
            kind: took for kind, took in durations.items() if all(part is None or type(part) is str for part in kind)
        }
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
        return {}


def encode(known: dict[Kind, list[float]], fresh: Iterable[tuple[Kind, float]]) -> bytes:
    """What a store is to know from now on: of each kind the newest, of the kinds those that were seen last."""
    for kind, seconds in fresh:
        known[kind] = [*known.pop(kind, [])[1 - STORED :], round(seconds, 1)]
    rows = [
        {"model": model, "size": size, "seconds": seconds, "took": took}
        for (model, size, seconds), took in list(known.items())[-KINDS:]
    ]
    text = ",\n  ".join(json.dumps(row) for row in rows)
    return f'{{"about": "seconds that jobs took", "jobs": [\n  {text}\n]}}\n'.encode()
