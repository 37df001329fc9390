"""What happens to a body on its way into a store: counted, hashed and checked, in bounded memory."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from prefect_media.errors import DownloadCorrupt

BLOCK_BYTES = 1024 * 1024
"""How much is hashed and written at a time; bigger chunks pass as they are."""

VERIFY_BYTES = 64
"""How much of the body `verify` gets to see at least, unless the body is shorter."""


class Body:
    """A stream of bytes that is counted, hashed and checked while it passes."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        expected_size: int | None,
        expected_sha256: str | None,
        verify: Callable[[bytes], None] | None,
    ) -> None:
        self.chunks, self.verify = chunks, verify
        self.expected_size, self.expected_sha256 = expected_size, expected_sha256
        self.size, self.sha256 = 0, ""

    async def blocks(self) -> AsyncGenerator[bytes]:
        """The body in blocks; ends with an error unless it was whole, so that it is never kept."""
        loop, digest = asyncio.get_running_loop(), hashlib.sha256()
        hashing: asyncio.Future[None] | None = None
        async with aclosing(self._gathered()) as gathered:
            async for block in gathered:
                if hashing:
                    await hashing  # one block behind, never more
                hashing = loop.run_in_executor(None, digest.update, block)
                yield block
        if hashing:
            await hashing
        self.sha256 = digest.hexdigest()
        if self.expected_sha256 not in (None, self.sha256):
            raise DownloadCorrupt("The content does not match its SHA-256; nothing was stored, fetch it again.")

    async def _gathered(self) -> AsyncGenerator[bytes]:
        waiting, held = list[bytes](), 0
        async for chunk in self.chunks:
            if not chunk:
                continue
            waiting.append(chunk)
            self.size, held = self.size + len(chunk), held + len(chunk)
            if self.expected_size is not None and self.size > self.expected_size:
                raise DownloadCorrupt(
                    f"The content is longer than the {self.expected_size} bytes announced; "
                    "nothing was stored, fetch it again."
                )
            if self.size >= VERIFY_BYTES:
                self._verify(waiting)
            if held >= BLOCK_BYTES:
                yield b"".join(waiting)
                waiting, held = [], 0
        if not self.size:
            raise DownloadCorrupt("The content is empty; nothing was stored, fetch it again.")
        if self.expected_size is not None and self.size < self.expected_size:
            raise DownloadCorrupt(
                f"The content broke off after {self.size} of {self.expected_size} bytes; "
                "nothing was stored, fetch it again."
            )
        self._verify(waiting)
        if waiting:
            yield b"".join(waiting)

    def _verify(self, waiting: list[bytes]) -> None:
        verify, self.verify = self.verify, None
        if verify:
            verify(b"".join(waiting))


async def sha256_of(blocks: AsyncIterator[bytes]) -> str:
    digest = hashlib.sha256()
    async for block in blocks:
        await asyncio.to_thread(digest.update, block)
    return digest.hexdigest()
