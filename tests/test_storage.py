"""Every verb of a store, on a real folder and on a real S3 server behind a real socket."""

import asyncio
import errno
import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
import uuid
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import boto3
import pytest

from prefect_media import storage_folder
from prefect_media.demo_servers import BucketServer
from prefect_media.errors import DownloadCorrupt, StoreError
from prefect_media.storage import Storage, StorageOptions, storage_at, storage_of

MB = 1024 * 1024
KEY, SECRET, TOKEN = "AKIAWATCHED", "secret-never-shown", "token-never-shown"


@pytest.fixture(scope="session")
def endpoint():
    with BucketServer() as server:
        yield server.url


@pytest.fixture(scope="session")
def s3(endpoint):
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=KEY, aws_secret_access_key=SECRET
    )


@pytest.fixture
def bucket(s3):
    name = f"bucket-{uuid.uuid4().hex[:8]}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def options(endpoint):
    return StorageOptions(endpoint_url=endpoint, access_key_id=KEY, secret_access_key=SECRET)


@pytest.fixture
def in_bucket(bucket, options):
    return storage_at(f"s3://{bucket}/some prefix/ü", options)


@pytest.fixture
def in_folder(tmp_path):
    return storage_at(str(tmp_path / "some folder" / "ü#%20"))


@pytest.fixture(params=["folder", "bucket"])
def store(request):
    return request.getfixturevalue(f"in_{request.param}")


@pytest.fixture
def nothing_left(request, store):
    """After the test, the store holds neither parts of uploads nor files that are no content."""
    yield
    if store.scheme == "s3":
        s3, bucket = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
        assert s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    else:
        assert not list(path_of(store).rglob(".prefect-media-part-*"))


def body(size, chunk=64 * 1024, seed=b"\0\0\0\x20ftypisom"):
    """A film's worth of bytes, in chunks that match no boundary of ours."""
    one = (seed * (chunk // len(seed) + 1))[:chunk]
    while size > 0:
        yield one[:size]
        size -= chunk


def whole(size, **kwargs):
    return b"".join(body(size, **kwargs))


class Stalled:
    """A source that sends so much and then nothing, until it is told to stop."""

    digest = size = None

    def __init__(self, nbytes):
        self.nbytes, self.flowed, self.stopped = nbytes, threading.Event(), threading.Event()

    def __iter__(self):
        yield from body(self.nbytes)
        self.flowed.set()
        assert self.stopped.wait(60)
        raise ConnectionAbortedError("stopped")

    def stop(self):
        self.stopped.set()

    def check(self):
        pass


async def keys(store, prefix=""):
    return {key: size async for key, size in store.list(prefix)}


def path_of(store, key=""):
    return Path(urllib.request.url2pathname(store.url.removeprefix("file://")), key)


def child(script, *arguments):
    """A real process of its own; it talks over its standard output."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def address(store):
    login = store.options
    return json.dumps([store.url, login.endpoint_url, login.access_key_id, login.secret_access_key])


CHILD = """
import asyncio, json, sys, time
from prefect_media.storage import Storage, StorageOptions
url, *login = json.loads(sys.argv[1])
store = Storage(url, StorageOptions(**dict(zip(["endpoint_url", "access_key_id", "secret_access_key"], login))))
"""


# Writing and reading


@pytest.mark.parametrize("size", [1, 63, 64, MB, 5 * MB, 8 * MB, 8 * MB + 1, 12_345_678])
async def test_pour_stores_what_came(store, size):
    """What is read back, counted and hashed is what was poured, whatever its size."""
    content = whole(size)
    stored = await store.pour("v/a b.mp4", body(size), content_type="video/mp4", expected_size=size)
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

    stored = await store.pour("v.mp4", at_once(), content_type="video/mp4")
    assert stored.sha256 == hashlib.sha256(await store.read("v.mp4")).hexdigest()


@pytest.mark.parametrize("size", [1000, 12 * MB])
async def test_content_type_is_kept(in_bucket, s3, bucket, size):
    """Browsers play a film only when it is served as one."""
    await in_bucket.pour("v.mp4", body(size), content_type="video/mp4")
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
        with pytest.raises(StoreError, match="There is nothing at") as caught:
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


# A body that is not whole or not what was asked for


@pytest.mark.parametrize("size", [200_000, 20 * MB])
@pytest.mark.parametrize("off", [-1, 1])
async def test_wrong_length(store, nothing_left, size, off):
    """One byte too few or too many, and nothing is there."""
    with pytest.raises(DownloadCorrupt, match="longer than" if off < 0 else "broke off"):
        await store.pour("v.mp4", body(size), content_type="video/mp4", expected_size=size + off)
    assert await keys(store) == {}


async def test_empty_body(store, nothing_left):
    with pytest.raises(DownloadCorrupt, match="empty"):
        await store.pour("v.mp4", body(0), content_type="video/mp4")
    assert await keys(store) == {}


@pytest.mark.parametrize("size", [200_000, 20 * MB])
async def test_cut_stream(store, nothing_left, size):
    """The error of a broken download comes out as it is, and the key keeps what it had."""
    await store.put("v.mp4", b"before", content_type="video/mp4")

    def cut():
        yield from body(size)
        raise ConnectionResetError("the peer went away")

    with pytest.raises(ConnectionResetError, match="the peer went away"):
        await store.pour("v.mp4", cut(), content_type="video/mp4")
    assert await store.read("v.mp4") == b"before"


@pytest.mark.parametrize("size", [300, 20 * MB])
async def test_html_instead_of_a_film(store, nothing_left, size):
    """`verify` sees the first bytes before anything is stored, and only once."""
    seen = []

    def is_film(head):
        seen.append(head)
        if b"ftyp" not in head[:12]:
            raise DownloadCorrupt("not a film")

    with pytest.raises(DownloadCorrupt, match="not a film"):
        await store.pour("v.mp4", body(size, chunk=10, seed=b"<html>"), content_type="video/mp4", verify=is_film)
    assert await keys(store) == {}
    assert len(seen) == 1 and 64 <= len(seen[0]) < 80
    await store.pour("v.mp4", body(30), content_type="video/mp4", verify=is_film)
    assert len(seen) == 2 and len(seen[1]) == 30


@pytest.mark.parametrize("size", [200_000, 30 * MB])
async def test_cancelled_pour(store, nothing_left, size):
    """A cancelled download leaves nothing behind, parts of uploads included."""
    stalled = Stalled(size)
    pouring = asyncio.create_task(store.pour("v.mp4", stalled, content_type="video/mp4"))
    await asyncio.to_thread(stalled.flowed.wait, 30)
    pouring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pouring
    assert await keys(store) == {}


async def test_pour_cancelled_by_a_scope(in_bucket, bucket, s3, caplog):
    """Prefect cancels with anyio, which cancels every further wait too; the parts are taken back nonetheless."""

    stalled = Stalled(30 * MB)
    with anyio.CancelScope() as scope:
        loop = asyncio.get_running_loop()
        stalled.flowed.set = lambda: loop.call_soon_threadsafe(scope.cancel)
        await in_bucket.pour("v.mp4", stalled, content_type="video/mp4")
    for _ in range(100):
        if not (await asyncio.to_thread(s3.list_multipart_uploads, Bucket=bucket)).get("Uploads"):
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("parts of the upload are still there")
    assert await keys(in_bucket) == {}
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("size", [200_000, 20 * MB])
async def test_two_pours_to_one_key(store, nothing_left, size):
    """Whoever is last wins, and what is there is one of the two, whole."""
    both = [whole(size, seed=seed) for seed in (b"one", b"another")]
    await asyncio.gather(
        store.pour("v.mp4", body(size, seed=b"one"), content_type="video/mp4"),
        store.pour("v.mp4", body(size, seed=b"another"), content_type="video/mp4"),
    )
    assert await store.read("v.mp4") in both


def test_memory_is_bounded(store):
    """A long film takes no more memory than a short one."""
    script = """
def body(size):
    while size > 0:
        yield bytes(65536)
        size -= 65536
def peak(reset=False):
    if sys.platform != "linux":
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    if reset:
        open("/proc/self/clear_refs", "w").write("5")
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
async def main():
    await store.pour("warm", body(1024 * 1024), content_type="video/mp4")
    before = peak(reset=True)
    await store.pour("v.mp4", body(int(sys.argv[2]) * 1024 * 1024), content_type="video/mp4")
    async for block in store.stream("v.mp4"):
        pass
    print(peak() - before)
asyncio.run(main())
"""
    growth = {size: float(child(script, address(store), size).communicate()[0]) for size in (40, 160)}
    assert growth[160] < (16 if store.scheme == "file" else 80), growth
    assert growth[160] < growth[40] + 30, growth


# Copies, links, addresses


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kinds", ["folder folder", "folder bucket", "bucket folder", "bucket bucket"])
async def test_copy(request, kinds, known):
    """Any store to any store; the hash is true whether it was given or not."""
    source, target = (request.getfixturevalue(f"in_{kind}") for kind in kinds.split())
    stored = await source.pour("a.mp4", body(12 * MB), content_type="video/mp4")
    copy = await source.copy(
        "a.mp4", target, "to/b.mp4", content_type="video/mp4", sha256=stored.sha256 if known else None
    )
    assert (copy.uri, copy.size_bytes, copy.sha256) == (target.uri("to/b.mp4"), stored.size_bytes, stored.sha256)
    assert await target.read("to/b.mp4") == await source.read("a.mp4")


async def test_copy_inside_a_bucket_moves_no_bytes(bucket, options, s3):
    """Two prefixes of one bucket: the server copies by itself and keeps the type."""
    source, target = storage_at(f"s3://{bucket}/one", options), storage_at(f"s3://{bucket}/two", options)
    await source.put("a.mp4", b"film", content_type="video/mp4")
    copy = await source.copy("a.mp4", target, "b.mp4", content_type="video/mp4", sha256="taken over")
    assert copy.sha256 == "taken over"  # nobody read the bytes
    assert s3.head_object(Bucket=bucket, Key="two/b.mp4")["ContentType"] == "video/mp4"


async def test_copy_of_something_else_than_recorded(in_folder, in_bucket, s3, bucket):
    """A source that was changed behind our back is not published."""
    await in_folder.put("a.mp4", b"changed", content_type="video/mp4")
    with pytest.raises(DownloadCorrupt, match="SHA-256"):
        await in_folder.copy("a.mp4", in_bucket, "b.mp4", content_type="video/mp4", sha256="0" * 64)
    assert await keys(in_bucket) == {}


async def test_copy_onto_itself(store):
    await store.put("a.mp4", b"film", content_type="video/mp4")
    copy = await store.copy("a.mp4", store, "a.mp4", content_type="video/mp4")
    assert copy.sha256 == hashlib.sha256(b"film").hexdigest()
    assert await store.read("a.mp4") == b"film"


async def test_sign(in_bucket, in_folder):
    """A signed link can be opened without credentials; a folder has none."""
    await in_bucket.put("v ü.mp4", b"film", content_type="video/mp4")
    link = await in_bucket.sign("v ü.mp4", timedelta(hours=1))
    with await asyncio.to_thread(urllib.request.urlopen, link) as answer:
        assert answer.read() == b"film"
        assert answer.headers["Content-Type"] == "video/mp4"
    assert SECRET not in link
    assert await in_folder.sign("v.mp4", timedelta(hours=1)) is None
    with pytest.raises(StoreError, match="7 days at most"):
        await in_bucket.sign("v.mp4", timedelta(days=8))


async def test_uris_round_trip(store):
    for key in ("a.mp4", "a b/ü#%?.mp4", "ledger/%20"):
        assert store.key_of(store.uri(key)) == key
    for foreign in ("s3://other/a", "file:///elsewhere/a", "nonsense://a", store.url, store.url + "/../a", ""):
        assert store.key_of(foreign) is None


async def test_storage_of_finds_the_narrowest_store(bucket, options, tmp_path):
    """Of nested stores the inner one answers; its credentials are the ones that fit."""
    outer, inner = storage_at(f"s3://{bucket}", options), storage_at(f"s3://{bucket}/in", options)
    assert storage_of(f"s3://{bucket}/in/a.mp4") == (inner, "a.mp4")
    assert storage_of(f"s3://{bucket}/other/a.mp4") == (outer, "other/a.mp4")
    assert storage_at(f"s3://{bucket}/in/", options) is inner


async def test_storage_of_something_never_opened(endpoint, bucket, s3, tmp_path, monkeypatch):
    """Another process reads an asset with what its own environment says."""
    s3.put_object(Bucket=bucket, Key="v/a.mp4", Body=b"film")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    store, key = storage_of(f"s3://{bucket}/v/a.mp4")
    assert (store.url, key) == (f"s3://{bucket}", "v/a.mp4")
    assert await store.read(key) == b"film"

    (tmp_path / "new" / "ü").mkdir(parents=True)
    (tmp_path / "new" / "ü" / "a b.mp4").write_bytes(b"film")
    store, key = storage_of((tmp_path / "new" / "ü" / "a b.mp4").as_uri())
    assert await store.read(key) == b"film"


def test_addresses(tmp_path, monkeypatch):
    """However a folder is written, it is one store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    url = tmp_path.as_uri() + "/media"
    for written in ("media", "./media/", "~/media", f"{tmp_path}/x/../media", url, url + "/", f"file:{url[5:]}"):
        assert Storage(written).url == url
    assert Storage("s3://bucket/").url == "s3://bucket"
    assert Storage("gs://bucket/a/").uri("b") == "gs://bucket/a/b"
    assert Storage("az://container/a").key_of("az://container/a/b/c") == "b/c"


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


COUNT = """
async def main():
    for _ in range(int(sys.argv[2])):
        while True:
            found = await store.fetch("ledger/counter")
            if await store.replace("ledger/counter", b"%d" % (int(found.data) + 1), found.version):
                break
asyncio.run(main())
"""


async def test_eight_processes_count(store, nothing_left):
    """No update is lost between processes."""
    await store.create("ledger/counter", b"0")
    counting = [child(COUNT, address(store), 10) for _ in range(8)]
    for process in counting:
        assert await asyncio.to_thread(process.wait, 60) == 0
        process.stdout.close()
    assert await store.read("ledger/counter") == b"80"


# Processes that are killed


async def test_killed_while_pouring(store):
    """The key never exists, and the next process can write it."""
    script = """
def body():
    for _ in range(20):
        yield bytes(1024 * 1024)
    print("flowing", flush=True)
    time.sleep(60)
asyncio.run(store.pour("v.mp4", body(), content_type="video/mp4"))
"""
    with child(script, address(store)) as process:
        assert await asyncio.to_thread(process.stdout.readline) == "flowing\n"
        process.send_signal(signal.SIGKILL)
    assert await keys(store) == {}
    assert await store.size("v.mp4") is None
    await store.pour("v.mp4", body(1000), content_type="video/mp4")
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
from prefect_media.storage_folder import _locked
with _locked(Path(sys.argv[2])):
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
    with storage_folder._locked(folder), pytest.raises(StoreError, match="stayed locked") as caught:
        await in_folder.replace("ledger/1", b"two", version)
    assert caught.value.transient


async def test_leftovers_of_the_dead_are_swept(tmp_path):
    """Parts of killed pours are removed after a day, and only those."""
    old, young = (tmp_path / f"{storage_folder.PART}{name}" for name in ("old", "young"))
    for part in (old, young):
        part.write_bytes(b"half a film")
    os.utime(old, (time.time() - 100_000,) * 2)
    store = Storage(str(tmp_path))
    await store.put("a", b"1", content_type="text/plain")
    assert not old.exists() and young.exists()
    assert await keys(store) == {"a": 1}


# What goes wrong, in one sentence each


async def complaint(store, transient=False):
    """The error of `check`, proved to be one sentence without secrets that survives pickling."""
    with pytest.raises(StoreError) as caught:
        await store.check()
    error = caught.value
    assert error.transient is transient, error
    said = "".join(traceback.format_exception(error)) + repr(error) + repr(error.details)
    for secret in (SECRET, TOKEN, "X-Amz", "StringToSign", "Debug source"):
        assert secret not in said
    assert pickle.loads(pickle.dumps(error)).args == error.args
    assert str(error).endswith(".") and "\n" not in str(error)
    return str(error)


async def test_check(store, nothing_left):
    await store.check()
    assert await keys(store) == {}


async def test_missing_bucket(endpoint, options):
    said = await complaint(Storage("s3://never-made", options))
    assert "s3://never-made does not exist" in said and endpoint in said
    with pytest.raises(StoreError, match="does not exist"):
        await Storage("s3://never-made", options).fetch("a")


async def test_unreachable_endpoint():
    """Not reachable is known within seconds and may pass."""
    started = time.monotonic()
    for host in ("127.0.0.1:1", "no-such-host.invalid"):
        options = StorageOptions(endpoint_url=f"http://{host}", access_key_id=KEY, secret_access_key=SECRET)
        said = await complaint(Storage("s3://bucket", options), transient=True)
        assert host in said and "can't be reached" in said
    assert time.monotonic() - started < 15


@pytest.fixture
def guarded(endpoint, bucket):
    """The same server, asking for credentials from now on; moto's own way to switch that on."""
    login = {"endpoint_url": endpoint, "region_name": "us-east-1"}
    iam = boto3.client("iam", **login, aws_access_key_id=KEY, aws_secret_access_key=SECRET)
    iam.create_user(UserName="user-" + bucket)
    key = iam.create_access_key(UserName="user-" + bucket)["AccessKey"]

    def allow(*actions):
        rights = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}}
        ask_after("inf")
        iam.put_user_policy(UserName="user-" + bucket, PolicyName="p", PolicyDocument=json.dumps(rights))
        ask_after(0)

    def ask_after(requests):
        url, headers = f"{endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, str(requests).encode(), headers, method="POST")).close()

    ask_after(0)
    yield key["AccessKeyId"], key["SecretAccessKey"], allow
    ask_after("inf")


async def test_credentials_that_are_refused(guarded, bucket, endpoint):
    """Unknown key, wrong secret, no right: three sentences, none of them with the key in it."""
    user, secret, _ = guarded
    for key, password, expected in (
        ("AKUNKNOWN", SECRET, "were refused"),
        (user, SECRET, "were refused"),
        (user, secret, "do not allow"),
    ):
        known = StorageOptions(endpoint_url=endpoint, access_key_id=key, secret_access_key=password)
        said = await complaint(Storage(f"s3://{bucket}", known))
        assert expected in said and f"s3://{bucket}" in said
        assert user not in said and secret not in said


async def test_rights_that_are_missing(guarded, bucket, endpoint):
    """Where signatures are really checked: all rights will do, and one too few is told."""
    user, secret, allow = guarded
    store = Storage(
        f"s3://{bucket}", StorageOptions(endpoint_url=endpoint, access_key_id=user, secret_access_key=secret)
    )
    allow("s3:PutObject", "s3:GetObject", "s3:ListBucket", "s3:DeleteObject")
    await store.check()
    await store.pour("v ü.mp4", body(12 * MB), content_type="video/mp4")
    assert await keys(store) == {"v ü.mp4": 12 * MB}
    allow("s3:PutObject", "s3:GetObject")
    assert "do not allow this" in await complaint(store)


ANSWERS = {
    "region": (301, "<Code>PermanentRedirect</Code>", "another region; set `region`", False),
    "region named": (400, "<Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>", "eu-west-1", False),
    "expired": (400, "<Code>ExpiredToken</Code>", "correct or renew", False),
    "token": (401, "<Code>InvalidToken</Code>", "correct or renew", False),
    "signature": (
        403,
        f"<Code>SignatureDoesNotMatch</Code><StringToSign>{SECRET}</StringToSign>",
        "correct or renew",
        False,
    ),
    "full": (507, "<Code>XMinioStorageFull</Code>", "full", False),
    "odd": (418, "", "refused the request", False),
    "busy": (503, "<Code>SlowDown</Code>", "try again", True),
    "broken": (500, "", "try again", True),
}


@pytest.mark.parametrize("case", ANSWERS)
async def test_answers_moto_never_gives(case):
    """A server of our own gives the answers of AWS that moto has no occasion for."""
    status, content, expected, transient = ANSWERS[case]

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = f"<Error>{content}<Message>m</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_HEAD = do_DELETE = do_POST = do_PUT

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = StorageOptions(f"http://127.0.0.1:{server.server_port}", "us-east-1", None, None, KEY, SECRET, TOKEN)
        assert expected in await complaint(Storage("s3://bucket", options), transient)
        server.shutdown()


async def test_a_server_that_ignores_conditions():
    """On such a server two workers would buy the same film, so `check` says no."""
    kept = {}

    class Careless(BaseHTTPRequestHandler):
        def do_PUT(self):
            kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200)

        def do_GET(self):
            self.answer(200, kept[self.path])

        def do_POST(self):
            named = re.search(rb"<Key>(.*?)</Key>", self.rfile.read(int(self.headers["Content-Length"])))
            assert kept.pop("/bucket/" + named[1].decode())
            self.answer(200, b"<DeleteResult><Deleted>" + named[0] + b"</Deleted></DeleteResult>")

        def answer(self, status, content=b""):
            self.send_response(status)
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Careless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = StorageOptions(
            endpoint_url=f"http://127.0.0.1:{server.server_port}", access_key_id=KEY, secret_access_key=SECRET
        )
        assert "bought twice" in await complaint(Storage("s3://bucket", options))
        server.shutdown()
    assert kept == {}


async def test_upload_that_fails_halfway(in_bucket, bucket, s3, nothing_left_in_bucket):
    """A bucket that disappears during a pour ends the pour, though its source would go on."""

    def endless():
        for chunk in body(12 * MB):
            yield chunk
        s3.delete_bucket(Bucket=bucket)
        for chunk in body(1000 * MB):
            yield chunk

    with pytest.raises(StoreError, match="does not exist"):
        await asyncio.wait_for(in_bucket.pour("v.mp4", endless(), content_type="video/mp4"), 30)


@pytest.fixture
def nothing_left_in_bucket(s3, bucket):
    yield
    assert bucket not in {found["Name"] for found in s3.list_buckets()["Buckets"]}


@pytest.fixture
def no_login(monkeypatch, tmp_path):
    """A machine on which nobody is logged in to AWS."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


async def test_logins(no_login, endpoint, bucket, monkeypatch):
    """Nothing found, half a login, an unknown profile; then the ways of boto3 that work."""
    url, options = f"s3://{bucket}", StorageOptions(endpoint_url=endpoint)
    assert "No AWS credentials were found" in await complaint(Storage(url + "/1", options))
    half = StorageOptions(endpoint_url=endpoint, access_key_id=KEY)
    assert "Only half" in await complaint(Storage(url, half))
    nobody = StorageOptions(endpoint_url=endpoint, profile="nobody")
    assert "profile nobody" in await complaint(Storage(url, nobody))

    (no_login / "credentials").write_text(
        f"[films]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\nregion = eu-west-1\n"
    )
    await Storage(url, StorageOptions(endpoint_url=endpoint, profile="films")).check()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    store = Storage(url)
    await store.check()
    assert "%2Feu-central-1%2Fs3%2F" in await store.sign("a", timedelta(minutes=1))


async def test_a_login_that_expired(no_login, endpoint, bucket):
    """Single sign-on and helper programs fail when they are asked, not when they are set up."""
    (no_login / "config").write_text("[profile helper]\ncredential_process = false\n")
    said = await complaint(Storage(f"s3://{bucket}", StorageOptions(endpoint_url=endpoint, profile="helper")))
    assert "profile helper" in said and "log in again" in said


async def test_given_credentials_are_not_mixed_with_the_environment(bucket, options, monkeypatch):
    """A session token of somebody else's login must not go with our keys."""
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    link = await Storage(f"s3://{bucket}/mixed", StorageOptions(**_fields(options), region="us-east-2")).sign(
        "a", timedelta(minutes=1)
    )
    assert "Security-Token" not in link and TOKEN not in link


def _fields(options):
    return {name: getattr(options, name) for name in ("endpoint_url", "access_key_id", "secret_access_key")}


@pytest.mark.parametrize(
    ("endpoint_url", "path_style", "expected"),
    [
        (None, None, "https://s3.eu-west-1.amazonaws.com/films/a?"),
        (None, False, "https://films.s3.eu-west-1.amazonaws.com/a?"),
        ("https://minio:9000/", None, "https://minio:9000/films/a?"),
        ("https://minio:9000", False, "https://films.minio:9000/a?"),
    ],
)
async def test_how_the_bucket_is_named(no_login, endpoint_url, path_style, expected):
    options = StorageOptions(endpoint_url, "eu-west-1", path_style, None, KEY, SECRET)
    assert (await Storage("s3://films", options).sign("a", timedelta(minutes=1))).startswith(expected)


async def test_other_clouds_without_a_login(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("AZURE_", "GOOGLE_")):
            monkeypatch.delenv(name)
    assert "No credentials for az://container" in await complaint(Storage("az://container"))
    assert "takes no endpoint" in await complaint(
        Storage("gs://bucket", StorageOptions(endpoint_url="http://localhost:1"))
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ftp://user:secret-never-shown@host/a", "ftp://host/a can't be opened"),
        ("s3://key:secret-never-shown@bucket/a", "names no bucket"),
        ("https://bucket.s3.amazonaws.com/a?X-Amz-Signature=secret-never-shown", "can't be opened"),
        ("s3://", "names no bucket"),
        ("s3://two words", "names no bucket"),
        ("file://host/share", "another machine"),
        ("~nobody-of-that-name/a", "home folder"),
        ("", "is empty"),
    ],
)
def test_addresses_that_name_no_place(url, expected):
    with pytest.raises(StoreError, match=re.escape(expected)) as caught:
        Storage(url)
    assert SECRET not in str(caught.value) and not caught.value.transient


@pytest.mark.parametrize(
    "endpoint_url", ["minio:9000", "ftp://minio", "http://", f"http://user:{SECRET}@minio", "http://a b", "http://h:x"]
)
async def test_endpoints_that_are_none(endpoint_url):
    options = StorageOptions(endpoint_url=endpoint_url, access_key_id=KEY, secret_access_key=SECRET)
    assert "is no address of a server" in await complaint(Storage("s3://bucket", options))


async def test_path_is_a_file(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for path in ("file", "file/below"):
        assert "a file stands where a folder is needed" in await complaint(Storage(str(tmp_path / path)))


async def test_folder_without_permission(tmp_path):
    """Also as root, who may write everywhere: as somebody else then."""
    (tmp_path / "closed").mkdir(mode=0o555)
    store, root = Storage(str(tmp_path / "closed")), os.geteuid() == 0
    await store.size("a")
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match="This user may not use") as caught:
            await store.put("a", b"1", content_type="text/plain")
    finally:
        if root:
            os.seteuid(0)
    assert not caught.value.transient


def test_disk_full(tmp_path):
    """The kernel's own word for a full device."""
    with pytest.raises(OSError) as caught, Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"film")
    error = storage_folder.explain(caught.value, tmp_path / "v.mp4")
    assert "no room left" in str(error) and not error.transient
    assert "try again" in str(storage_folder.explain(OSError(errno.EIO, "Input/output error"), tmp_path))


async def test_pour_that_meets_a_limit(in_folder):
    """A quota that is hit halfway leaves nothing behind."""
    script = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
def body():
    for _ in range(20):
        yield bytes(1024 * 1024)
try:
    asyncio.run(store.pour("v.mp4", body(), content_type="video/mp4"))
except Exception as error:
    print(error)
"""
    with child(script, address(in_folder)) as process:
        assert "no room left" in await asyncio.to_thread(process.stdout.read)
    root = path_of(in_folder)
    assert [path for path in root.rglob("*") if path.is_file()] == []


# Keeping secrets, starting fast


def test_secrets_are_not_shown(options):
    known = StorageOptions(access_key_id=KEY, secret_access_key=SECRET, session_token=TOKEN)
    for shown in (repr(known), str(known), repr(Storage("s3://bucket", known)), repr([Storage("s3://b", known)])):
        assert SECRET not in shown and TOKEN not in shown and KEY not in shown


def test_a_storage_can_be_sent_to_another_process(store):
    assert pickle.loads(pickle.dumps(store)) is store


def test_imports_nothing_heavy(tmp_path):
    """Importing the module, and using a folder, loads no storage library and no Prefect."""
    script = """
import sys, asyncio
from prefect_media.storage import storage_at
asyncio.run(storage_at(sys.argv[1]).check())
print({"obstore", "boto3", "botocore", "prefect", "openai"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, "store"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "set()\n"


def test_boto3_is_not_needed_with_given_keys(bucket, options, in_bucket):
    script = "asyncio.run(store.check()); print({'boto3', 'botocore'} & set(sys.modules))"
    assert child(script, address(in_bucket)).communicate()[0] == "set()\n"
