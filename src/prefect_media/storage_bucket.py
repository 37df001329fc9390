"""A bucket of S3 (or anything that speaks it), Google Cloud Storage or Azure, as a place to store things."""

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any

from prefect_media.errors import StoreError
from prefect_media.storage_access import endpoint_of, explain, open_bucket

if TYPE_CHECKING:
    from obstore import ReadableFile

    from prefect_media.storage import StorageOptions

WHOLE_BYTES = 8 * 1024 * 1024
"""A body up to this size goes up in one request, which costs half of what parts cost."""

PART_BYTES = 5 * 1024 * 1024  # the least S3 takes
PARTS_AT_ONCE = 4
BLOCKS_AHEAD = 2
ABORT_SECONDS = 20.0

READ_AHEAD = 256 * 1024
"""What a reader fetches at once: the index of a video usually fits."""

SIGN_DAYS = 7


class Bucket:
    """The verbs of a store, on a bucket."""

    can_copy = True

    def __init__(self, scheme: str, name: str, options: "StorageOptions") -> None:
        self.name = f"{scheme}://{name}"
        self.endpoint = endpoint_of(scheme, options)
        self.profile = options.profile or os.environ.get("AWS_PROFILE")
        with self._explained():
            self.store = open_bucket(scheme, name, options, self.endpoint)

    async def write(self, key: str, blocks: AsyncIterator[bytes], content_type: str) -> None:
        head, size = list[bytes](), 0
        async for block in blocks:
            head.append(block)
            size += len(block)
            if size > WHOLE_BYTES:
                break
        else:
            return await self.put(key, b"".join(head), content_type)
        return await self._write_parts(key, head, blocks, content_type)

    async def _write_parts(self, key: str, head: list[bytes], blocks: AsyncIterator[bytes], content_type: str) -> None:
        """Upload in parts, and take back the parts when the body fails or the caller is cancelled.

        The upload runs in a task of its own and is never cancelled: that would leave its parts in the bucket,
        unseen and paid for. It is told to stop through its body instead, and then aborts them itself.
        """
        from obstore import put_async

        queue = asyncio.Queue[bytes | None | _Stopped]()
        room = asyncio.Semaphore(BLOCKS_AHEAD)

        async def body() -> AsyncIterator[bytes]:
            while (block := await queue.get()) is not None:
                if isinstance(block, _Stopped):
                    raise block
                room.release()
                yield block

        upload = asyncio.ensure_future(
            put_async(
                self.store,
                key,
                body(),
                attributes={"Content-Type": content_type},
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
        )

        def ended(upload: asyncio.Future[Any]) -> None:
            room.release()
            if not upload.cancelled():
                upload.exception()  # seen; when we stopped it, the reason for that is what counts

        upload.add_done_callback(ended)
        try:
            for block in head:
                queue.put_nowait(block)
            async for block in blocks:
                await room.acquire()
                if upload.done():
                    break
                queue.put_nowait(block)
            queue.put_nowait(None)
            with self._explained(key):
                await asyncio.shield(upload)
        except BaseException:
            queue.put_nowait(_Stopped())
            await asyncio.wait([upload], timeout=ABORT_SECONDS)
            raise

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        from obstore import put_async

        with self._explained(key):
            await put_async(self.store, key, data, attributes={"Content-Type": content_type}, use_multipart=False)

    async def read(self, key: str) -> bytes:
        from obstore import get_async

        with self._explained(key):
            found = await get_async(self.store, key)
            return bytes(await found.bytes_async())

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        from obstore import get_async

        with self._explained(key):
            found = await get_async(self.store, key)
            blocks = found.stream(min_chunk_size=1024 * 1024)
        while True:
            with self._explained(key):
                block = await anext(blocks, None)
            if block is None:
                return
            yield bytes(block)

    async def open(self, key: str) -> IO[bytes]:
        from obstore import open_reader

        with self._explained(key):
            return io.BufferedReader(_Reader(await asyncio.to_thread(open_reader, self.store, key)), READ_AHEAD)

    async def size(self, key: str) -> int | None:
        from obstore import head_async

        with self._explained(key):
            try:
                return (await head_async(self.store, key))["size"]
            except FileNotFoundError:
                return None

    async def copy(self, key: str, target_key: str) -> None:
        from obstore import copy_async

        with self._explained(key):
            await copy_async(self.store, key, target_key)

    async def sign(self, key: str, expires_in: timedelta) -> str | None:
        from obstore import sign_async

        if not timedelta(0) < expires_in <= timedelta(days=SIGN_DAYS):
            raise StoreError(
                f"A link can't be valid for {expires_in}; ask for {SIGN_DAYS} days at most.", transient=False
            )
        with self._explained(key):
            return await sign_async(self.store, "GET", key, expires_in)

    async def delete(self, key: str) -> None:
        from obstore import delete_async

        with self._explained(key):
            try:
                await delete_async(self.store, key)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise

    async def list(self, folder: str) -> AsyncIterator[tuple[str, int]]:
        import obstore

        pages = obstore.list(self.store, folder or None)  # pyright: ignore[reportUnknownMemberType]
        while True:
            with self._explained(folder):
                page = await anext(pages, None)
            if page is None:
                return
            for found in page:
                yield found["path"], found["size"]

    async def create(self, key: str, data: bytes) -> str | None:
        from obstore import put_async
        from obstore.exceptions import AlreadyExistsError

        with self._explained(key):
            try:
                return _version(dict(await put_async(self.store, key, data, mode="create")))
            except AlreadyExistsError:
                return None

    async def replace(self, key: str, data: bytes, version: str) -> str | None:
        from obstore import put_async
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._explained(key):
            try:
                return _version(dict(await put_async(self.store, key, data, mode=json.loads(version))))
            except (AlreadyExistsError, PreconditionError):  # the former when two writers collide (409)
                return None

    async def fetch(self, key: str) -> tuple[bytes, str] | None:
        from obstore import get_async

        with self._explained(key):
            try:
                found = await get_async(self.store, key)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None
            return bytes(await found.bytes_async()), _version(dict(found.meta))

    @contextmanager
    def _explained(self, key: str = "") -> Generator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError) as error:
            # `from None`: the original quotes headers and bodies, which can hold keys and signatures
            raise explain(str(error), self.name, key, self.endpoint, self.profile) from None


class _Reader(io.RawIOBase):
    """An object of a bucket as a file, read in pieces."""

    def __init__(self, file: "ReadableFile") -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer: Any) -> int:
        piece = bytes(self.file.read(len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)


class _Stopped(Exception):
    """Tells the upload that its body will not be whole."""


def _version(found: dict[str, Any]) -> str:
    return json.dumps({name: found[name] for name in ("e_tag", "version") if found.get(name)})
