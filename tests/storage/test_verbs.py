"""Reading and writing, verb by verb, on a real folder and on a real S3 server behind a real socket."""

import asyncio
import hashlib
import os

import pytest
from stores import MB, body, keys, upload, whole

from prefect_media.errors import StoreError
from prefect_media.storage.store import storage_at


@pytest.mark.parametrize("size", [1, 63, 64, MB, 5 * MB, 8 * MB, 8 * MB + 1, 12_345_678])
async def test_pour_stores_what_came(store, size):
    """What is read back, counted and hashed is what was poured, whatever its size."""
    content = whole(size)
    stored = await upload(store, "v/a b.mp4", body(size), size=size)
    assert stored.uri == store.uri("v/a b.mp4")
    assert (stored.size_bytes, stored.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert await store.read("v/a b.mp4") == content
    assert await store.size("v/a b.mp4") == size
    assert b"".join([block async for block in store.stream("v/a b.mp4")]) == content


async def test_pour_of_few_large_chunks(store):
    """A source that yields everything at once is stored as well as one that trickles."""
    content = whole(20 * MB)

    def at_once():
        yield b""
        yield content

    stored = await upload(store, "v.mp4", at_once())
    assert stored.sha256 == hashlib.sha256(await store.read("v.mp4")).hexdigest()


@pytest.mark.parametrize("size", [1000, 12 * MB])
async def test_content_type_is_kept(in_bucket, s3, bucket, size):
    """Browsers play a film only when it is served as one."""
    await upload(in_bucket, "v.mp4", body(size))
    assert s3.head_object(Bucket=bucket, Key="some prefix/ü/v.mp4")["ContentType"] == "video/mp4"


async def test_put_replaces(store):
    await store.put("a.json", b"old", content_type="application/json")
    stored = await store.put("a.json", b"new", content_type="application/json")
    assert await store.read("a.json") == b"new"
    assert (stored.size_bytes, stored.sha256) == (3, hashlib.sha256(b"new").hexdigest())


async def test_reading_what_is_not_there(store):
    """Missing content is told apart from a broken store, and trying again is no use."""
    assert await store.size("nope") is None
    assert await store.fetch("nope") is None
    await store.delete("nope")
    for reading in (
        store.read("nope"),
        anext(store.stream("nope")),
        store.copy("nope", store, "b", content_type="a/b"),
    ):
        with pytest.raises(StoreError, match="there is nothing at") as caught:
            await reading
        assert caught.value.missing
        assert not caught.value.transient


@pytest.mark.parametrize("size", [10, 3 * MB])
async def test_open_seeks_and_reads(store, size):
    data = os.urandom(size)
    await store.put("a/b.bin", data, content_type="application/octet-stream")

    def read(file):
        with file:
            start = file.read(5)
            file.seek(-5, os.SEEK_END)
            end = file.read()
            file.seek(0)
            return start, end, file.read()

    assert await asyncio.to_thread(read, await store.open("a/b.bin")) == (data[:5], data[-5:], data)
    with pytest.raises(StoreError):
        await store.open("a/nothing.bin")


async def test_delete(store):
    await store.put("a", b"1", content_type="text/plain")
    await store.delete("a")
    assert await store.size("a") is None


async def test_list_is_by_prefix_of_the_name(store):
    for key in ("ledger/run-1", "ledger/run-12", "ledger/run-2", "ledger2/x", "v/a.mp4"):
        await store.put(key, b"12", content_type="text/plain")
    assert await keys(store, "ledger/run-1") == {"ledger/run-1": 2, "ledger/run-12": 2}
    assert set(await keys(store, "ledger")) == {"ledger/run-1", "ledger/run-12", "ledger/run-2", "ledger2/x"}
    assert len(await keys(store)) == 5
    assert await keys(store, "nothing/here") == {}


@pytest.mark.parametrize("letter", ["0", "a", "A", "~", "."])
async def test_list_of_one_letter(store, letter):
    """The letter after a slash may be the one that follows it in ASCII."""
    for key in ("l/0a", "l/0b", "l/1", "l/A0", "l/a", "l/ab", "l/~x"):
        await store.put(key, b"12", content_type="text/plain")
    wanted = {"0": {"l/0a", "l/0b"}, "A": {"l/A0"}, "a": {"l/a", "l/ab"}, "~": {"l/~x"}, ".": set()}
    assert set(await keys(store, f"l/{letter}")) == wanted[letter]


async def test_list_of_more_than_one_page(store):
    await asyncio.gather(*(store.put(f"l/{i:03}", b"", content_type="text/plain") for i in range(120)))
    assert len(await keys(store, "l/")) == 120


async def test_list_leaves_out_other_prefixes(bucket, options):
    """Two stores in one bucket don't see each other, though one's name begins the other's."""
    one, other = storage_at(f"s3://{bucket}/films", options), storage_at(f"s3://{bucket}/films2", options)
    await other.put("a", b"1", content_type="text/plain")
    assert await keys(one) == {}
    assert one.key_of(other.uri("a")) is None


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".hidden", "a\\b", "a\0b"])
async def test_keys_that_could_leave_the_store(store, key):
    with pytest.raises(StoreError, match="can't be stored"):
        await store.put(key, b"1", content_type="text/plain")
