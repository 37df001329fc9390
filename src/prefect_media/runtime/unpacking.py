"""Bodies that arrive packed, unpacked a piece at a time: one megabyte of zeros is a kilobyte on the line.

Nothing in this file does any input or output.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE_BYTES = 64 * 1024
"""How much is unpacked at a time."""

ACCEPTED = "gzip, deflate"
"""What `Accept-Encoding` may ask for where packed answers are welcome."""

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Unpacker:
    """Unpacks a body with a `Content-Encoding`.

    Args:
        encoding: The header; empty or "identity" passes everything on as it is.

    Raises:
        ValueError: It is an encoding that nobody asked for.
    """

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        if name in ("", "identity"):
            self._window = 0
        elif name in _WINDOWS:
            self._window = _WINDOWS[name]
        else:
            raise ValueError(f"the body is compressed as {encoding[:20]!r}, which was not asked for")
        self._begin()

    @property
    def packed(self) -> bool:
        """Whether what comes out differs from what goes in."""
        return self._window != 0

    @property
    def whole(self) -> bool:
        """Whether what came so far may be all of it."""
        return not self.packed or self._zlib.eof or not self._fed

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content of the next bytes of the body, in pieces.

        Raises:
            ValueError: It is not packed as it says.
        """
        if not self.packed:
            if data:
                yield data
            return
        while data:
            if self._zlib.eof:
                self._begin()  # a body may be several packed ones in a row
            piece = self._unpack(data)
            self._fed = True
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            if piece:
                yield piece

    def _unpack(self, data: bytes) -> bytes:
        try:
            return self._zlib.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            if self._window != 15 or self._fed:
                raise ValueError(f"the body can't be decompressed: {error}") from None
        self._window = -15  # many servers send "deflate" without the header that belongs to it
        self._begin()
        return self._unpack(data)

    def _begin(self) -> None:
        self._zlib, self._fed = zlib.decompressobj(self._window or 15), False
