"""A bucket of S3 (or anything that speaks it), Google Cloud Storage or Azure, as a place to store things.

obstore and boto3 are imported when a bucket is opened: a store in a folder needs neither.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, cast

from ..errors import StoreError
from ..runtime.per_loop import shared
from ..runtime.transfers import BLOCK_BYTES, connections
from .attributes import NONE, Attributes
from .base import Copied, StorageOptions
from .body import Body
from .bucket_reader import BucketReader
from .explain import explain, explain_boto3
from .login import endpoint_of, open_bucket
from .s3_copy import S3Copier

if TYPE_CHECKING:
    from obstore.store import ObjectStore


WHOLE_BYTES = 64 * 1024 * 1024
"""A body up to this size goes up in one request; a bigger one in parts, each of which is tried again by itself."""

PART_BYTES = 5 * 1024 * 1024  # the least S3 takes
PARTS_AT_ONCE = 4

AT_ONCE_BYTES = 8 * 1024 * 1024
"""A body up to this size goes up in one request all the same; it is in memory meanwhile."""

SIGNED_FOR = timedelta(minutes=15)
"""How long the right to begin an upload lasts."""

REQUESTS_AT_ONCE = 32
"""Small requests in the air at once; uploads of media have a limit of their own."""

READ_AHEAD = 256 * 1024
"""What a reader fetches at once: the index of a video usually fits."""

SIGN_DAYS = 7


class Bucket:
    """The verbs of a store, on a bucket."""

    def __init__(self, scheme: str, name: str, options: StorageOptions) -> None:
        self.scheme, self.bucket, self.options = scheme, name, options
        self.name = f"{scheme}://{name}"
        self.proved = False
        self.signs = scheme == "s3"  # the others can't always: it takes a key, and they may know a login only
        self.endpoint = endpoint_of(scheme, options)
        self.profile = options.profile or os.environ.get("AWS_PROFILE")
        with self._explain_errors():
            self.store = open_bucket(scheme, name, options, self.endpoint)
        self._encrypting = dict[str, "ObjectStore"]()
        self._copier: S3Copier | None = None

    def _store_for(self, attributes: Attributes) -> ObjectStore:
        """The store that encrypts with the key asked for: obstore takes that for a whole store only."""
        key = attributes.kms_key_id
        if key is None:
            return self.store
        if key not in self._encrypting:
            self._encrypting[key] = open_bucket(self.scheme, self.bucket, self.options, self.endpoint, key)
        return self._encrypting[key]

    def write(self, key: str, body: Body, content_type: str, *, replace: bool, attributes: Attributes = NONE) -> bool:
        size = body.expected_size
        # with attributes in parts: they are headers, which a signed URL would have to name
        if self.signs and attributes == NONE and size is not None and size <= WHOLE_BYTES:
            return self._write_whole(key, body, size, content_type, replace=replace)
        if not replace and self._has(key):
            return False
        self._write_parts(key, body, content_type, attributes)
        return True

    def _write_whole(self, key: str, body: Body, size: int, content_type: str, *, replace: bool) -> bool:
        """Upload in one request while the body arrives: no parts that could be left, and no copy in memory."""
        from obstore import sign
        from urllib3.exceptions import HTTPError

        with self._explain_errors(key):
            url = sign(self.store, "PUT", key, SIGNED_FOR)
        headers = {"Content-Type": content_type, "Content-Length": str(size)}
        if not replace:
            headers["If-None-Match"] = "*"
        try:
            # urllib3 sends anything that is like bytes, and doesn't say so
            blocks = cast(Iterator[bytes], iter(body))
            answer = connections(url).request("PUT", url, body=blocks, headers=headers, redirect=False, retries=False)
        except (HTTPError, OSError) as error:
            if body.failed:
                raise body.failed from None
            # `from None`: the original quotes the URL, which holds a signature
            raise StoreError(
                f"the upload to {self.name} broke off ({type(error).__name__}); nothing was stored, try again"
            ) from None
        if answer.status == 412 and not replace:
            return False
        if answer.status >= 300:
            message = f"status code: {answer.status} {answer.data.decode(errors='replace')}"
            raise explain(message, self.name, key, self.endpoint, self.profile)
        return True

    def _write_parts(self, key: str, body: Body, content_type: str, attributes: Attributes) -> None:
        """Upload in parts, which are taken back when the body fails."""
        try:
            with self._explain_errors(key):
                self._store_for(attributes).put(
                    key,
                    map(bytes, body),  # copies: several parts are on their way at once
                    attributes=attributes.headers(content_type),
                    tags=dict(attributes.tags) or None,
                    use_multipart=body.expected_size is None or body.expected_size > AT_ONCE_BYTES,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )
        except StoreError:
            if body.failed:
                raise body.failed from None
            raise

    def _has(self, key: str) -> bool:
        with self._explain_errors(key):
            try:
                self.store.head(key)
            except FileNotFoundError:
                return False
        return True

    async def put(self, key: str, data: bytes, content_type: str, attributes: Attributes = NONE) -> None:
        async with self._asking(key):
            await self._store_for(attributes).put_async(
                key,
                data,
                attributes=attributes.headers(content_type),
                tags=dict(attributes.tags) or None,
                use_multipart=False,
            )

    async def read(self, key: str) -> bytes:
        async with self._asking(key):
            answer = await self.store.get_async(key)
            return bytes(await answer.bytes_async())

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        with self._explain_errors(key):
            answer = await self.store.get_async(key)
            blocks = answer.stream(min_chunk_size=BLOCK_BYTES)
        while True:
            with self._explain_errors(key):
                block = await anext(blocks, None)
            if block is None:
                return
            yield bytes(block)

    def blocks(self, key: str) -> Iterator[bytes]:
        with self._explain_errors(key):
            blocks = iter(self.store.get(key).stream(min_chunk_size=BLOCK_BYTES))
        while True:
            with self._explain_errors(key):
                block = next(blocks, None)
            if block is None:
                return
            yield bytes(block)

    async def open(self, key: str) -> IO[bytes]:
        from obstore import open_reader

        with self._explain_errors(key):
            file = await asyncio.to_thread(open_reader, self.store, key)
        return io.BufferedReader(BucketReader(file, lambda: self._explain_errors(key)), READ_AHEAD)

    async def size(self, key: str) -> int | None:
        async with self._asking(key):
            try:
                return (await self.store.head_async(key))["size"]
            except FileNotFoundError:
                return None

    async def fetch_metadata(self, key: str) -> dict[str, str]:
        async with self._asking(key):
            return dict((await self.store.get_async(key, options={"head": True})).attributes)

    def copies_to(self, other: object, attributes: Attributes) -> bool:
        if not isinstance(other, Bucket) or self.scheme != other.scheme:
            return False
        if self.scheme == "s3":
            return self.endpoint == other.endpoint and _login(self.options) == _login(other.options)
        return other is self and not attributes.names  # the copies of obstore are as the originals are

    async def copy(
        self, key: str, target: Bucket, target_key: str, content_type: str, attributes: Attributes
    ) -> Copied:
        if self.scheme == "s3":
            return await target.copy_from(self.bucket, key, target_key, content_type, attributes)
        async with self._asking(key):
            size = (await self.store.head_async(key))["size"]
            await self.store.copy_async(key, target_key)
        return Copied(size, "unknown")

    async def copy_from(
        self, bucket: str, key: str, target_key: str, content_type: str, attributes: Attributes
    ) -> Copied:
        copier, run = await self._open_copier(target_key), asyncio.get_running_loop().run_in_executor
        with self._explained_boto3(f"s3://{bucket}", key):
            source = await run(copier.threads, copier.head, bucket, key)
        with self._explained_boto3(self.name, target_key):
            return await run(copier.threads, copier.copy, source, bucket, key, target_key, content_type, attributes)

    async def _open_copier(self, key: str) -> S3Copier:
        """The one copier of this bucket: boto3 takes a third of a second to make a client."""
        async with shared(("copier", self), asyncio.Lock):
            if self._copier is None:
                with self._explained_boto3(self.name, key):
                    self._copier = await asyncio.to_thread(S3Copier, self.bucket, self.options, self.endpoint)
            return self._copier

    async def sign(self, key: str, expires_in: timedelta) -> str | None:
        from obstore import sign_async

        if not timedelta(0) < expires_in <= timedelta(days=SIGN_DAYS):
            raise StoreError(
                f"a link can't be valid for {expires_in}; ask for {SIGN_DAYS} days at most", transient=False
            )
        with self._explain_errors(key):
            return await sign_async(self.store, "GET", key, expires_in)

    async def refuse_local_locks(self) -> None:
        pass  # a bucket has none

    async def delete(self, key: str) -> None:
        async with self._asking(key):
            try:
                await self.store.delete_async(key)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise

    async def list(self, prefix: str) -> AsyncIterator[tuple[str, int, float]]:
        folder, _, name = prefix.rpartition("/")
        offset = _right_before(prefix) if name else None
        pages = self.store.list(folder or None, offset=offset)  # pyright: ignore[reportUnknownMemberType]
        while True:
            with self._explain_errors(folder):
                page = await anext(pages, None)
            if page is None:
                return
            for row in page:
                if name and row["path"] > prefix and not row["path"].startswith(prefix):
                    return  # buckets list in the order of their keys
                yield row["path"], row["size"], row["last_modified"].timestamp()

    async def create(self, key: str, data: bytes) -> str | None:
        from obstore.exceptions import AlreadyExistsError

        async with self._asking(key):
            try:
                return _version(dict(await self.store.put_async(key, data, mode="create")))
            except AlreadyExistsError:
                return None

    async def replace(self, key: str, data: bytes, version: str) -> str | None:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        async with self._asking(key):
            try:
                return _version(dict(await self.store.put_async(key, data, mode=json.loads(version))))
            except (AlreadyExistsError, PreconditionError):  # the former when two writers collide (409)
                return None

    async def fetch(self, key: str) -> tuple[bytes, str] | None:
        async with self._asking(key):
            try:
                answer = await self.store.get_async(key)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None
            return bytes(await answer.bytes_async()), _version(dict(answer.meta))

    @asynccontextmanager
    async def _asking(self, key: str) -> AsyncGenerator[None]:
        """A small request, held back while many are in the air: each has a connection of its own."""
        async with shared("requests to buckets", lambda: asyncio.Semaphore(REQUESTS_AT_ONCE)):
            with self._explain_errors(key):
                yield

    @contextmanager
    def _explained_boto3(self, bucket: str, key: str) -> Generator[None]:
        from boto3.exceptions import Boto3Error  # pyright: ignore[reportMissingTypeStubs]
        from botocore.exceptions import BotoCoreError, ClientError  # pyright: ignore[reportMissingTypeStubs]

        try:
            yield
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise explain_boto3(error, bucket, key, self.endpoint, self.profile) from None

    @contextmanager
    def _explain_errors(self, key: str = "") -> Generator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            # `from None`: the original quotes headers and bodies, which can hold keys and signatures
            raise explain(str(error), self.name, key, self.endpoint, self.profile) from None


def _login(options: StorageOptions) -> StorageOptions:
    return replace(options, region=None, endpoint_url=None, path_style=None)


def _version(meta: dict[str, Any]) -> str:
    return json.dumps({name: meta[name] for name in ("e_tag", "version") if meta.get(name)})


def _right_before(prefix: str) -> str:
    """A path that comes before all that begin so, and after nearly all others that do."""
    before = chr(ord(prefix[-1]) - 1)
    return prefix[:-1] + ("." if before == "/" else before) + "~"  # a slash would be an empty part of the path
