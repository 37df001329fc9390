"""An object of a bucket as a file, read in pieces."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obstore import ReadableFile


class BucketReader(io.RawIOBase):
    """The file. `explained` turns the errors of obstore into ours."""

    def __init__(self, file: ReadableFile, explained: Callable[[], AbstractContextManager[None]]) -> None:
        self.file, self._explain_errors = file, explained

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with self._explain_errors():
            return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def readinto(self, buffer: Any) -> int:
        with self._explain_errors():
            piece = bytes(self.file.read(len(buffer)))
        buffer[: len(piece)] = piece
        return len(piece)
