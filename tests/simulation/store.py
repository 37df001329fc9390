"""A store in memory, with the verbs of `storage.Place`: compare-and-swap that holds, and everything else that breaks.

A request that is on its way when its process dies or gives up still arrives.
"""

from __future__ import annotations

import io
from contextvars import Context
from typing import TYPE_CHECKING

import orjson

from prefect_media.errors import StoreError

from .loop import PROCESS, Process

if TYPE_CHECKING:
    from .world import World

NOBODY = Context()
"""What the world does by itself belongs to no process."""

OF_BEFORE = {
    "key": "0" * 64,
    "state": "failed",
    "scope": "before",
    "kind": "video",
    "operation": "generate",
    "account": {"host": "another"},
    "fingerprint": "",
    "request": {"prompt": "a boat"},
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}


class Store:
    """The objects, shared by all processes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.born: dict[str, float] = {}
        self._version = 0
        if world.history.seed % 2:  # of every second ledger an earlier version wrote the first record, and no index
            self.objects[f"ledger/purchases/{OF_BEFORE['key']}.json"] = orjson.dumps(OF_BEFORE), "0"
            self.born = dict.fromkeys(self.objects, 0.0)

    def put(self, key: str, data: bytes) -> str:
        self._version += 1
        version = str(self._version)
        old = self.objects.get(key)
        self.objects[key] = data, version
        if old is None:
            self.born[key] = self.world.loop.moment
        if key.startswith("ledger/"):
            self.world.watcher.wrote(key, old[0] if old else None, data)
        return version

    def create(self, key: str, data: bytes) -> str | None:
        return None if key in self.objects else self.put(key, data)

    def replace(self, key: str, data: bytes, version: str) -> str | None:
        found = self.objects.get(key)
        return self.put(key, data) if found and found[1] == version else None

    def delete(self, key: str) -> None:
        if self.objects.pop(key, None) and key.startswith("ledger/purchases/"):
            self.world.watcher.forgot(key[17:-5])

    def fetch(self, key: str) -> tuple[bytes, str] | None:
        return self.objects.get(key)


class Place:
    """One process' way to the store."""

    proved = True  # that it keeps two writers apart is tried out elsewhere

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process, self._store = world, process, world.store

    def fault(self, verb: str):
        """What is to go wrong with this request."""
        process, world = self._process, self._world
        nth = process.counts[verb] = process.counts.get(verb, 0) + 1
        if world.calm:
            return None
        if world.is_away("store") or world.is_away(process.name):
            world.inject("store: away")
            return "away", 2.0
        found = world.faults.get((f"{process.name}.{verb}", nth))
        if found is None:
            return None
        world.inject(found.kind)
        world.note(process, f"{verb}: {found.what}")
        return found.what, found.arg

    async def _write(self, verb: str, effect, *args):
        fault = self.fault(verb)
        world = self._world
        latency = world.jitter()
        what = fault[0] if fault else ""
        if not what:
            if latency[1]:
                result = effect(*args)
                await world.pause(latency[0])
                return result
            return await world.landing(latency[0], effect, *args)
        if what in ("lost before", "503", "away"):
            await world.pause(latency[0] if what == "503" else 2.0)
            raise StoreError(f"the store can't be used right now ({what}); try again")
        if what == "412":
            await world.pause(latency[0])
            return None if verb == "replace" else effect(*args)
        if what == "slow, late":
            return await world.landing(fault[1], effect, *args)
        result = effect(*args)
        await world.pause(fault[1] if what == "slow, early" else latency[0])
        if what in ("lost after", "500"):
            raise StoreError(f"the store can't be used right now ({what}); try again")
        if what == "lost after, seen as 412" and verb in ("create", "replace"):
            return None
        return result

    async def _read(self, verb: str, effect, *args):
        fault = self.fault(verb)
        world = self._world
        if fault is None or fault[0] == "stale":
            latency = world.jitter()
            if latency[1]:
                result = effect(*args)
                await world.pause(latency[0])
                return result
            await world.pause(latency[0])
            return effect(*args)
        if fault[0] == "slow":
            result = effect(*args)
            await world.pause(fault[1])
            return result
        await world.pause(2.0)
        raise StoreError(f"the store can't be used right now ({fault[0]}); try again")

    async def create(self, key, data):
        return await self._write("create", self._store.create, key, bytes(data))

    async def replace(self, key, data, version):
        return await self._write("replace", self._store.replace, key, bytes(data), version)

    async def put(self, key, data, content_type, attributes=None):
        await self._write("put", self._store.put, key, bytes(data))

    async def delete(self, key):
        await self._write("delete", self._store.delete, key)

    async def fetch(self, key):
        return await self._read("fetch", self._store.fetch, key)

    async def read(self, key):
        found = await self._read("fetch", self._store.fetch, key)
        if found is None:
            raise StoreError(
                f"there is nothing at {key}; it was deleted or never stored", transient=False, missing=True
            )
        return found[0]

    async def size(self, key):
        found = await self._read("fetch", self._store.fetch, key)
        return found and len(found[0])

    async def stream(self, key):
        yield await self.read(key)

    async def open(self, key):
        return io.BytesIO(await self.read(key))

    async def list(self, prefix):
        fault = self.fault("list")
        await self._world.pause(self._world.jitter()[0])
        if fault and fault[0] != "stale":
            raise StoreError(f"the store can't be used right now ({fault[0]}); try again")
        horizon = self._world.loop.moment - (fault[1] if fault else -1.0)
        rows = [
            (key, len(self._store.objects[key][0]), self._store.born[key])
            for key in sorted(self._store.objects)
            if key.startswith(prefix.rpartition("/")[0]) and self._store.born[key] <= horizon
        ]
        for row in rows:
            yield row

    # In `run_transfer`, which stands for a thread: what takes time happens before and after.

    def write(self, key, body, content_type, *, replace, attributes=None):
        data = b"".join(bytes(block) for block in body)
        if not replace and key in self._store.objects:
            return False
        self._store.put(key, data)
        return True

    def blocks(self, key):
        yield self._store.objects[key][0]


async def run_transfer(work, stop, check=None):
    """A transfer, in place of one in a thread: time passes before and after it, and it can break at both places."""
    process = PROCESS.get()
    world = process.machine.world
    fault = process.place.fault("pour")
    what = fault[0] if fault else ""
    await world.pause(fault[1] if what == "slow, early" else world.jitter()[0])
    if what in ("lost before", "503", "away", "412"):
        raise StoreError(f"the store can't be used right now ({what}); try again")
    result = work()
    await world.pause(fault[1] if what == "slow, late" else world.jitter()[0])
    if what in ("lost after", "500", "lost after, seen as 412"):
        raise StoreError(f"the store can't be used right now ({what}); try again")
    return result
