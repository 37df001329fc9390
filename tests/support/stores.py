"""What the tests of stores share: bodies, stores by their address, processes of their own."""

import asyncio
import json
import pickle
import subprocess
import sys
import threading
import traceback
import urllib.request
from pathlib import Path

import pytest

from prefect_media.errors import StoreError
from prefect_media.storage.body import Given, Source

MB = 1024 * 1024
KEY, SECRET, TOKEN = "AKIAWATCHED", "secret-never-shown", "token-never-shown"


def body(size, chunk=64 * 1024, seed=b"\0\0\0\x20ftypisom"):
    """A film's worth of bytes, in chunks that match no boundary of ours."""
    one = (seed * (chunk // len(seed) + 1))[:chunk]
    while size > 0:
        yield one[:size]
        size -= chunk


def whole(size, **kwargs):
    return b"".join(body(size, **kwargs))


async def upload(store, key, chunks, size=None, verify=None):
    """Upload a film to `key`, from chunks or from a source; `verify` is given its first bytes."""

    def name(head):
        if verify:
            verify(head)
        return key, "video/mp4"

    source = chunks if isinstance(chunks, Source) else Given(chunks, size)
    return await store.upload(name, source)


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
from prefect_media.storage.body import Given
from prefect_media.storage.store import Storage, StorageOptions
url, *login = json.loads(sys.argv[1])
store = Storage(url, StorageOptions(**dict(zip(["endpoint_url", "access_key_id", "secret_access_key"], login))))
def upload(key, chunks):
    return store.upload(lambda head: (key, "video/mp4"), Given(chunks))
"""


COUNT = """
import os

async def count(times):
    for _ in range(times):
        while True:
            counter = await store.fetch("ledger/counter")
            if await store.replace("ledger/counter", b"%d" % (int(counter.data) + 1), counter.version):
                break

children = []
for _ in range(8):  # all that is slow is imported, and nothing has been started yet
    pid = os.fork()
    if not pid:
        try:
            asyncio.run(count(10))
            os._exit(0)
        finally:
            os._exit(1)
    children.append(pid)
sys.exit(any([os.waitpid(pid, 0)[1] for pid in children]))
"""


async def count_together(store):
    """Eight processes at once, each of which adds ten to a counter in the store, one by one."""
    with child(COUNT, address(store)) as process:
        assert await asyncio.to_thread(process.wait, 100) == 0


async def complaint(store, transient=False):
    """The error of `check`, proved to be one sentence without secrets that survives pickling."""
    with pytest.raises(StoreError) as caught:
        await store.check()
    error = caught.value
    assert error.transient is transient, error
    text = "".join(traceback.format_exception(error)) + repr(error) + repr(error.details)
    for secret in (SECRET, TOKEN, "X-Amz", "StringToSign", "Debug source"):
        assert secret not in text
    assert pickle.loads(pickle.dumps(error)).args == error.args
    assert "\n" not in str(error)
    return str(error)
