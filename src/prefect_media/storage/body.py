"""What happens to a body on its way into a store: counted, hashed and checked, in bounded memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

from ..errors import DownloadCorrupt
from ..runtime.transfers import Block

HEAD_BYTES = 256 * 1024
"""How much of the beginning is kept: enough to tell what it is, and the index of a film that can be streamed."""


@runtime_checkable
class Source(Protocol):
    """Where a body comes from. It is read once, in a thread; what is known of it may come with the first block."""

    size: int | None
    """Its length in bytes as it was announced."""
    digest: tuple[str, str] | None
    """Name of an algorithm in hashlib, and what it gives for the whole of it, in hexadecimal."""

    def __iter__(self) -> Iterator[Block]:
        """Its blocks. Each is valid only until the next is asked for: they may all lie in one buffer."""
        ...

    def stop(self) -> None:
        """Make the iteration end with an error, from another thread."""
        ...

    def check(self) -> None:
        """Look whether anything still comes, from another thread, now and then."""
        ...


class Given:
    """Blocks that are at hand, as a source."""

    def __init__(self, blocks: Iterable[Block], size: int | None = None, sha256: str | None = None) -> None:
        self.size, self.digest = size, ("sha256", sha256) if sha256 else None
        self._blocks = blocks

    def __iter__(self) -> Iterator[Block]:
        return iter(self._blocks)

    def stop(self) -> None:
        pass  # the body itself stops at the next block

    def check(self) -> None:
        pass


class Body:
    """A body that is counted, hashed and checked while it passes.

    Iterating ends with an error unless it was whole, so that it is never kept otherwise; then `failed` is that error,
    for whoever only sees that an upload came to nothing. Each block is valid only until the next is asked for.

    Args:
        source: Where it comes from.
        inspect: Gets each block, and an empty one at the end; raises when the content can't be right.
    """

    def __init__(self, source: Source, inspect: Callable[[Block], None] | None = None) -> None:
        self.size, self.sha256 = 0, ""
        self.failed: Exception | None = None
        self.head = bytearray()
        self._source, self._inspect = source, inspect
        self._blocks: Iterator[Block] | None = None
        self._first = b""
        self._stopped = False

    @property
    def expected_size(self) -> int | None:
        """Its length in bytes where it is known beforehand; ask after `begin`."""
        return self._source.size

    @property
    def hash_checked(self) -> bool:
        """Whether its sender gave a hash, which it was compared with."""
        return self._source.digest is not None

    def begin(self, nbytes: int = 64) -> bytes:
        """Read the first bytes, `nbytes` at least or all that there are, without letting them pass yet."""
        self._blocks = iter(self._source)
        while len(self._first) < nbytes and (block := next(self._blocks, None)) is not None:
            self._first += block
        return self._first

    def stop(self) -> None:
        """End it with an error, from another thread."""
        self._stopped = True
        self._source.stop()

    def check(self) -> None:
        """Look whether its source still moves, from another thread."""
        self._source.check()

    def __iter__(self) -> Iterator[Block]:
        try:
            yield from self._passing()
        except Exception as error:  # kept, as a storage library may raise its own error instead
            self.failed = error
            raise

    def _passing(self) -> Iterator[Block]:
        digest = hashlib.sha256()
        promised, other = self._source.digest, None
        if promised and promised[0] != "sha256":
            other = hashlib.new(promised[0], usedforsecurity=False)
        held = b""  # a store keeps what it got in full, so the last block passes only when all is known to be right
        for block in self._all():
            if self._stopped:
                raise Stopped
            self.size += len(block)
            if self.expected_size is not None and self.size > self.expected_size:
                raise DownloadCorrupt(
                    f"the content is longer than the {self.expected_size} bytes announced; "
                    "nothing was stored, fetch it again"
                )
            if len(self.head) < HEAD_BYTES:
                self.head += block[: HEAD_BYTES - len(self.head)]
            digest.update(block)
            if other:
                other.update(block)
            if self._inspect:
                self._inspect(block)
            if held:
                yield held
                held = b""
            if self.expected_size is not None and self.size < self.expected_size:
                yield block  # at once, while it is in the processor's cache
            else:
                held = bytes(block)
        if not self.size:
            raise DownloadCorrupt("the content is empty; nothing was stored, fetch it again")
        if self.expected_size is not None and self.size < self.expected_size:
            raise DownloadCorrupt(
                f"the content broke off after {self.size} of {self.expected_size} bytes; "
                "nothing was stored, fetch it again"
            )
        self.sha256 = digest.hexdigest()
        if promised and promised[1] != (other or digest).hexdigest():
            raise DownloadCorrupt(
                f"the content does not match its {'SHA-256' if other is None else promised[0].upper()}; "
                "nothing was stored, fetch it again"
            )
        if self._inspect:
            self._inspect(b"")
        if self._stopped:
            raise Stopped
        yield held

    def _all(self) -> Iterator[Block]:
        if self._blocks is None:
            self.begin(0)
        assert self._blocks is not None
        first, self._first = self._first, b""
        if first:
            yield first
        for block in self._blocks:
            if block:
                yield block


class Stopped(Exception):
    """The body was stopped on purpose."""
