"""Compare-and-swap between processes, and processes that are killed in the middle of it."""

import asyncio
import signal
import time

import pytest
from stores import address, body, child, count_together, keys, path_of, upload

from prefect_media.errors import StoreError
from prefect_media.storage import folder as storage_folder

# Compare-and-swap


async def test_create_and_replace(store, nothing_left):
    first = await store.create("ledger/1", b"one")
    assert first
    assert await store.create("ledger/1", b"other") is None
    second = await store.replace("ledger/1", b"two", first)
    assert second and second != first
    assert await store.replace("ledger/1", b"three", first) is None
    found = await store.fetch("ledger/1")
    assert (found.data, found.version) == (b"two", second)
    assert await store.replace("ledger/never", b"x", first) is None
    assert await store.fetch("ledger/never") is None
    assert await keys(store) == {"ledger/1": 3}


async def test_one_creator_wins(store):
    versions = await asyncio.gather(*(store.create("ledger/1", b"%d" % i) for i in range(20)))
    assert sum(version is not None for version in versions) == 1


async def test_eight_processes_count(store, nothing_left):
    """No update is lost between processes."""
    await store.create("ledger/counter", b"0")
    await count_together(store)
    assert await store.read("ledger/counter") == b"80"


# Processes that are killed


async def test_killed_while_uploading(store):
    """The key never exists, and the next process can write it."""
    script = """
def body():
    for _ in range(20):
        yield bytes(1024 * 1024)
    print("flowing", flush=True)
    time.sleep(60)
asyncio.run(upload("v.mp4", body()))
"""
    with child(script, address(store)) as process:
        assert await asyncio.to_thread(process.stdout.readline) == "flowing\n"
        process.send_signal(signal.SIGKILL)
    assert await keys(store) == {}
    assert await store.size("v.mp4") is None
    await upload(store, "v.mp4", body(1000))
    assert await keys(store) == {"v.mp4": 1000}


async def test_killed_while_replacing(store):
    """Whenever it hits, the record is one of the values written, whole, and the next writer gets through."""
    script = """
async def main():
    version = (await store.fetch("ledger/1")).version
    print("writing", flush=True)
    for turn in range(10**9):
        version = await store.replace("ledger/1", bytes([turn % 256]) * 1_000_000, version)
asyncio.run(main())
"""
    await store.create("ledger/1", bytes(1_000_000))
    for attempt in range(3):
        with child(script, address(store)) as process:
            assert await asyncio.to_thread(process.stdout.readline) == "writing\n"
            await asyncio.sleep(0.1 + attempt * 0.033)
            process.send_signal(signal.SIGKILL)
        found = await store.fetch("ledger/1")
        assert len(found.data) == 1_000_000 and len(set(found.data)) == 1
        assert await keys(store) == {"ledger/1": 1_000_000}
        started = time.monotonic()
        while not await store.replace("ledger/1", bytes([attempt]) * 1_000_000, found.version):
            found = await store.fetch("ledger/1")  # the server finished the last request of the dead
        assert time.monotonic() - started < 5


async def test_killed_while_holding_the_lock(in_folder):
    """A lock ends with its holder, however that ends."""
    script = """
import time
from pathlib import Path
from prefect_media.storage.folder import _lock
with _lock(Path(sys.argv[2])):
    print("locked", flush=True)
    time.sleep(60)
"""
    version = await in_folder.create("ledger/1", b"one")
    folder = path_of(in_folder, "ledger")
    with child(script, address(in_folder), folder) as process:
        assert await asyncio.to_thread(process.stdout.readline) == "locked\n"
        replacing = asyncio.create_task(in_folder.replace("ledger/1", b"two", version))
        await asyncio.sleep(0.3)
        assert not replacing.done()
        process.send_signal(signal.SIGKILL)
        assert await asyncio.wait_for(replacing, 5)
    assert await in_folder.read("ledger/1") == b"two"


async def test_a_lock_that_hangs_is_reported(in_folder, monkeypatch):
    monkeypatch.setattr(storage_folder, "LOCK_SECONDS", 0.2)
    version = await in_folder.create("ledger/1", b"one")
    folder = path_of(in_folder, "ledger")
    with storage_folder._lock(folder), pytest.raises(StoreError, match="stayed locked") as caught:
        await in_folder.replace("ledger/1", b"two", version)
    assert caught.value.transient
