"""Where media and the ledger live: a bucket or a folder, behind one small set of verbs.

    store = storage_at("s3://bucket/prefix")
    stored = await store.put("pictures/a.png", data, content_type="image/png")

A key exists only when its content is whole: a body that breaks off, is too short or is not what was asked for leaves
nothing behind. `create`, `replace` and `fetch` are compare-and-swap between processes and machines. Folders are served
by `folder`, buckets by `bucket`.
"""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from ..errors import DownloadCorrupt, StoreError
from ..runtime import clock
from ..runtime.hashing import asha256_of
from ..runtime.per_loop import shared
from ..runtime.transfers import Block, run_transfer
from ..settings import settings
from ..user_input import redact_url
from .address import address_of, parse_address
from .attributes import NONE, Attributes
from .base import Copied, Place, StorageOptions, Stored, Versioned
from .body import Body, Given, Source
from .places import place_at
from .probe import probe
from .s3_copy import read_elsewhere

_BAD_KEY = re.compile(r"(?:^|/)(?:[./]|\Z)|[\\\0]")
"""A part that is empty or begins with a dot, a backslash, or NUL."""


class Storage:
    """One bucket (or a prefix in it) or one folder.

    Args:
        url: `s3://bucket/prefix`, `gs://...`, `az://...`, `file:///folder` or a plain path.
        options: How to reach it, where the environment does not say.

    Keys are relative, with `/` between their parts; names that begin with a dot are ours.
    """

    def __init__(self, url: str, options: StorageOptions | None = None) -> None:
        self.options = options or StorageOptions()
        self.scheme, self._root, self._prefix = parse_address(url)
        self.url = address_of(self.scheme, self._root, self._prefix)
        self._prefix = self._prefix and self._prefix + "/"
        self._opened: Place | None = None

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return storage_at, (self.url, self.options)

    def uri(self, key: str) -> str:
        """The address of `key`, readable anywhere with `storage_of`."""
        return address_of(self.scheme, self._root, self._full(key))

    def key_of(self, uri: str) -> str | None:
        """The key behind `uri`, or None when it is not inside this store."""
        try:
            scheme, root, path = parse_address(uri)
            if scheme == "file" == self.scheme:
                key = Path(root).relative_to(self._root).as_posix()
            elif (scheme, root) == (self.scheme, self._root) and path.startswith(self._prefix):
                key = path.removeprefix(self._prefix)
            else:
                return None
            self._full(key)
        except (StoreError, ValueError):
            return None
        return key

    def public_url(self, key: str) -> str | None:
        """The link to `key` that anybody can open and that does not expire; None where there is none."""
        base = self.options.public_url_base
        self._full(key)
        return f"{base.rstrip('/')}/{quote(key)}" if base else None

    async def check(self) -> None:
        """Write, read and delete a probe, so that a store which can't be used fails before money is spent.

        Also makes sure that the store keeps two writers apart, which the ledger relies on.
        """
        place, key = await self._place(), self._probe_key()
        await place.refuse_local_locks()
        await probe(place, key, self.url)
        try:
            await place.put(key, b"probe", "text/plain")
            await place.read(key)
        finally:
            await place.delete(key)

    async def ensure_conditional(self) -> None:
        """Make sure that the store keeps two writers apart: asked before each claim, tried out once per process.

        Raises:
            StoreError: It does not, or can't be used.
        """
        place = await self._place()
        if place.proved or settings().trust_store:
            return
        async with shared(("prove", place), asyncio.Lock):
            if place.proved:
                return
            await place.refuse_local_locks()
            if self.scheme != "file":  # the kernel's word is enough for a folder
                await probe(place, self._probe_key(), self.url)
            place.proved = True

    def _probe_key(self) -> str:
        return self._prefix + f".prefect-media-probe-{clock.new_id()}"

    async def upload(
        self,
        name: Callable[[bytes], tuple[str, str]],
        source: Source,
        *,
        inspect: Callable[[Block], None] | None = None,
        replace: bool = True,
        attributes: Attributes = NONE,
    ) -> Stored:
        """Stream a body to a key that may depend on its first bytes, in bounded memory, hashing on the way.

        Args:
            name: Key and content type for a body that begins with these bytes; raises when it is not wanted.
            source: The body, read in a thread.
            inspect: Gets each block, and an empty one at the end, and raises when the content can't be right.
            replace: Whether to replace what is there, as a whole. Otherwise that is kept, and is what is returned.
            attributes: How it is to be served and kept.
        """
        place, body = await self._place(), Body(source, inspect)

        def work() -> Stored:
            key, content_type = name(body.begin())
            full = self._full(key)
            if place.write(full, body, content_type, replace=replace, attributes=attributes):
                return Stored(self.uri(key), body.size, body.sha256, bytes(body.head), body.hash_checked)
            theirs = Body(Given(place.blocks(full)))  # another process was faster
            for _ in theirs:
                pass
            checked = body.hash_checked and theirs.sha256 == body.sha256  # or it was us, and the reply was lost
            return Stored(self.uri(key), theirs.size, theirs.sha256, bytes(theirs.head), checked)

        return await run_transfer(work, body.stop, body.check)

    async def put(self, key: str, data: bytes, *, content_type: str, attributes: Attributes = NONE) -> Stored:
        """Store `data` at `key`, replacing what is there."""
        full, place = self._full(key), await self._place()
        digest = await asha256_of(data)
        await place.put(full, data, content_type, attributes)
        return Stored(self.uri(key), len(data), digest)

    async def read(self, key: str) -> bytes:
        """The whole content of `key`."""
        full = self._full(key)
        return await (await self._place()).read(full)

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        """The content of `key` piece by piece."""
        full = self._full(key)
        async for block in (await self._place()).stream(full):
            yield block

    async def open(self, key: str) -> IO[bytes]:
        """`key` as a file to read and seek in, from a thread. Of a bucket's object only what is read is fetched."""
        full = self._full(key)
        return await (await self._place()).open(full)

    async def size(self, key: str) -> int | None:
        """The size of `key` in bytes, or None when it is not there."""
        full = self._full(key)
        return await (await self._place()).size(full)

    async def fetch_metadata(self, key: str) -> dict[str, str]:
        """What `key` is served with, and what was noted with it: by header and by name. Nothing in a folder."""
        full = self._full(key)
        return await (await self._place()).fetch_metadata(full)

    async def copy(
        self,
        key: str,
        target: "Storage",
        target_key: str,
        *,
        content_type: str,
        sha256: str | None = None,
        attributes: Attributes = NONE,
        reread: bool = False,
    ) -> Stored:
        """Copy `key` to `target_key` in `target`: inside the server where it can, else streamed.

        Args:
            key: What to copy.
            target: The store to copy to.
            target_key: Where to, there.
            content_type: What it is.
            sha256: The hash on record. A streamed copy must match it; it saves reading back what the server copied.
            attributes: How the copy is to be served and kept. A copy inside the server keeps what is left out.
            reread: Whether a copy inside the server is read back and hashed all the same.
        """
        full, target_full = self._full(key), target._full(target_key)
        place, target_place = await self._place(), await target._place()
        same = place is target_place and full == target_full
        copied: Copied | None = None
        if same and attributes == NONE:
            copied = Copied(await self._size_of(key), "unknown")
        elif place.copies_to(target_place, attributes):
            try:
                copied = await place.copy(full, target_place, target_full, content_type, attributes)
            except StoreError as refusal:
                if refusal.details.get("missing"):
                    raise _missing(self.uri(key)) from None
                if refusal.transient or place is target_place:
                    raise  # else: a login may read here and write there, and still not do both in one request
        if copied is None:
            size = await self._size_of(key)
            # obstore can't read inside of a write, so what is read from one bucket for another is read elsewhere
            source = Given(read_elsewhere(place.blocks(full)), size, sha256)
            stored = await target.upload(lambda _: (target_key, content_type), source, attributes=attributes)
        else:
            size = copied.size_bytes
            known = sha256 if copied.proof != "differs" and not reread else None
            actual = known or await self._hash(target_place, target_full)
            if sha256 not in (None, actual):
                if not same:
                    await target_place.delete(target_full)
                raise DownloadCorrupt(
                    f"the copy {target.uri(target_key)} does not match its SHA-256 and was not kept; copy it again"
                )
            stored = Stored(target.uri(target_key), size, actual)
        proven = copied is not None and copied.proof == "same"
        if not proven and (landed := await target_place.size(target_full)) != size:
            raise StoreError(f"the copy {stored.uri} has {landed} bytes instead of {size}; copy it again")
        return stored

    async def _size_of(self, key: str) -> int:
        if (size := await self.size(key)) is None:
            raise _missing(self.uri(key))
        return size

    async def sign(self, key: str, expires_in: timedelta) -> str | None:
        """A link that lets anybody read `key` for that long; None for folders, which have no links."""
        full = self._full(key)
        return await (await self._place()).sign(full, expires_in)

    async def delete(self, key: str) -> None:
        """Remove `key`; nothing happens when it is not there."""
        full = self._full(key)
        await (await self._place()).delete(full)

    async def list(self, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """Keys that begin with `prefix`, with their sizes in bytes, in no promised order."""
        async for key, size, _ in self.list_dated(prefix):
            yield key, size

    async def list_dated(self, prefix: str = "") -> AsyncIterator[tuple[str, int, float]]:
        """The same, each with the Unix time of its last change by the store's clock."""
        full = self._prefix + prefix
        async for key, size, changed in (await self._place()).list(full):
            if key.startswith(full) and not key.rpartition("/")[2].startswith("."):
                yield key.removeprefix(self._prefix), size, changed

    async def create(self, key: str, data: bytes) -> str | None:
        """Store `data` at `key` unless something is there: the new version, or None when something is.

        None can also mean that our own write arrived and its reply was lost, so a record should name its writer.
        """
        full = self._full(key)
        return await (await self._place()).create(full, data)

    async def replace(self, key: str, data: bytes, version: str) -> str | None:
        """Store `data` at `key` if it still has `version`: the new version, or None when somebody changed it.

        None can also mean that our own write arrived and its reply was lost, so a record should name its writer.
        """
        full = self._full(key)
        return await (await self._place()).replace(full, data, version)

    async def fetch(self, key: str) -> Versioned | None:
        """The content of `key` and its version, or None when it is not there."""
        full = self._full(key)
        stored = await (await self._place()).fetch(full)
        return stored and Versioned(*stored)

    async def _hash(self, place: Place, full: str) -> str:
        body = Body(Given(place.blocks(full)))

        def work() -> str:
            for _ in body:
                pass
            return body.sha256

        return await run_transfer(work, body.stop)

    def _full(self, key: str) -> str:
        if _BAD_KEY.search(key):
            raise StoreError(
                f"the key {key!r} can't be stored; use names separated by single slashes that don't begin with a dot",
                transient=False,
            )
        return self._prefix + key

    async def _place(self) -> Place:
        if self._opened is None:
            async with shared(("open", self), asyncio.Lock):
                if self._opened is None:
                    # in a thread: looking for credentials may import boto3 and ask the cloud's metadata service
                    self._opened = await asyncio.to_thread(place_at, self.scheme, self._root, self.options)
        return self._opened


def _missing(uri: str) -> StoreError:
    return StoreError(f"there is nothing at {uri}; it was deleted or never stored", transient=False, missing=True)


_lock = threading.Lock()
_storages: dict[tuple[str, StorageOptions], Storage] = {}


def storage_at(url: str, options: StorageOptions | None = None) -> Storage:
    """The storage at `url`, shared by the whole process and remembered for `storage_of`."""
    storage = Storage(url, options)
    with _lock:
        return _storages.setdefault((storage.url, storage.options), storage)


def storage_of(uri: str) -> tuple[Storage, str]:
    """The storage that holds `uri`, and its key there.

    Stores opened in this process are asked first (the longest root wins, then one with options of its own);
    otherwise the bucket or folder is opened with what the environment says.
    """
    with _lock:
        storages = list(_storages.values())
    if hits := [(storage, key) for storage in storages if (key := storage.key_of(uri)) is not None]:
        return max(reversed(hits), key=lambda hit: (len(hit[0].url), hit[0].options != StorageOptions()))
    scheme, root, _ = parse_address(uri)
    parent = Path(root).parent.as_uri() if scheme == "file" else address_of(scheme, root, "")
    storage = storage_at(parent)
    if (key := storage.key_of(uri)) is None:
        raise StoreError(f"{redact_url(uri)} names no file; give the address of one", transient=False)
    return storage, key
