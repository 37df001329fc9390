"""Decodes the images of a JSON answer, or of a line of a batch, while it arrives, so that none is in memory as a whole.

Nothing in this file does any input or output.
"""

from __future__ import annotations

import binascii
import re
from typing import Any

import pybase64

from .limits import JSON_BYTES, MORE_IMAGES, MOST_IMAGE_BYTES, TooLarge, parse_json

_OPENS = re.compile(rb'"b64_json"\s*:\s*"')
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|([^u]))")
_LONGEST_OPENING = 64
"""Bytes searched again with each piece, because the opening may be split between two pieces."""


class NotBase64(ValueError):
    """A picture's content is not base64."""


class PictureReader:
    """Reads `{"data": [{"b64_json": ...}, ...], ...}` piece by piece.

        for piece in body:
            for picture in reader.feed(piece):
                ...                      # decoded bytes, as soon as its last byte has arrived
        answer = reader.finish()         # the rest of the JSON

    In the answer each picture is replaced by its number, an int from 0.

    Args:
        image_bytes: Most bytes of one picture.
        images: Most pictures.
    """

    def __init__(self, image_bytes: int = MOST_IMAGE_BYTES, images: int = 10 + MORE_IMAGES) -> None:
        self._image_bytes, self._images, self._size = image_bytes, images, 0
        self._rest = bytearray()
        self._encoded = bytearray()  # base64 of the current picture that is not decoded yet
        self._picture: list[bytes] | None = None  # in pieces: one growing buffer would fragment the memory
        self._count = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Read the next piece of the body, and return the pictures that it completes.

        Raises:
            NotBase64: A picture's content is not base64.
            TooLarge: A picture, the number of pictures or the JSON around them exceeds its limit.
        """
        done: list[bytes] = []
        while piece:
            piece = self._outside(piece) if self._picture is None else self._inside(piece, done)
        return done

    def finish(self) -> Any:
        """The JSON around the pictures.

        Raises:
            ValueError: It is not JSON, or incomplete.
            TooLarge: It exceeds the limits of JSON.
        """
        if self._picture is not None:
            raise ValueError("the answer broke off within a picture")
        return parse_json(self._rest)

    def _outside(self, piece: bytes) -> bytes:
        start = max(0, len(self._rest) - _LONGEST_OPENING)
        self._rest += piece
        opening = _OPENS.search(self._rest, start)
        if opening is None:
            if len(self._rest) > JSON_BYTES:
                raise TooLarge(f"the JSON is larger than {JSON_BYTES:,} bytes")
            return b""
        piece = bytes(self._rest[opening.end() :])
        del self._rest[opening.end() - 1 :]
        self._picture, self._size = [], 0
        if self._count == self._images:
            raise TooLarge(f"there are more than {self._images} images")
        return piece

    def _inside(self, piece: bytes, done: list[bytes]) -> bytes:
        assert self._picture is not None
        content, quote, piece = piece.partition(b'"')  # base64 has no quotes, so none can be escaped
        self._encoded += content
        self._decode(last=bool(quote))
        if quote:
            if any(self._picture):
                self._rest += str(self._count).encode()
                self._count += 1
                done.append(b"".join(self._picture))
            else:
                self._rest += b"null"
            self._picture = None
        return piece

    def _decode(self, *, last: bool) -> None:
        assert self._picture is not None
        kept = bytearray()
        if b"\\" in self._encoded:  # JSON may write / as \\/ and + as \\u002b
            tail = self._encoded.rfind(b"\\")
            if not last and not _ESCAPE.match(self._encoded, tail):  # split between two pieces
                kept = self._encoded[tail:]
                del self._encoded[tail:]
            self._encoded = bytearray(_ESCAPE.sub(_unescape, self._encoded))
        whole = len(self._encoded) if last else len(self._encoded) // 4 * 4
        try:
            with memoryview(self._encoded) as encoded, encoded[:whole] as part:
                decoded = pybase64.b64decode(part, validate=True)
        except binascii.Error as error:
            raise NotBase64(str(error)) from None
        self._picture.append(decoded)
        self._size += len(decoded)
        if self._size > self._image_bytes:
            raise TooLarge(f"an image is larger than {self._image_bytes:,} bytes")
        del self._encoded[:whole]
        self._encoded += kept


def _unescape(match: re.Match[bytes]) -> bytes:
    return chr(int(match[1], 16)).encode() if match[1] else match[2]


class LineReader:
    """Reads lines of JSON with pictures in them, piece by piece; an unreadable line is skipped.

        for piece in body:
            for line, pictures in reader.feed(piece):
                ...                      # as from a `PictureReader`, as soon as the line is complete
        reader.finish()                  # a last line without a line break

    Args:
        image_bytes: Most bytes of one picture; a line with a larger one is skipped.
        images: Most pictures of one line.
    """

    def __init__(self, image_bytes: int = MOST_IMAGE_BYTES, images: int = 10 + MORE_IMAGES) -> None:
        self._bounds = image_bytes, images
        self._begin()

    def feed(self, piece: bytes) -> list[tuple[Any, list[bytes]]]:
        """Read the next piece of the body, and return the lines that it completes."""
        done: list[tuple[Any, list[bytes]]] = []
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            self._take(piece[start:end])
            done += self.finish()
            start = end + 1
        self._take(piece[start:])
        return done

    def finish(self) -> list[tuple[Any, list[bytes]]]:
        """The line that was begun; empty where it is not JSON."""
        line, pictures = self._line, self._pictures
        self._begin()
        if line is None:
            return []
        try:
            return [(line.finish(), pictures)]
        except ValueError:
            return []

    def _begin(self) -> None:
        self._line: PictureReader | None = PictureReader(*self._bounds)
        self._pictures: list[bytes] = []

    def _take(self, piece: bytes) -> None:
        if self._line is not None:
            try:
                self._pictures += self._line.feed(piece)
            except (NotBase64, TooLarge):
                self._line, self._pictures = None, []  # the rest of the line is skipped
