"""An image file walked from its first byte to its end mark, without decoding a pixel: its size, and what is wrong.

PNG (ISO/IEC 15948), JPEG (ITU-T T.81), WebP (RFC 9649), GIF (89a) and SVG. Of other formats nothing is known. Nothing
here raises: the file is paid for, and a part of it may still be of use.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

MOST_PIXELS = 100_000_000
"""Pixels of an image at most: decoded, they take four bytes each."""

MOST_PARTS = 1_000_000
"""Chunks, segments or blocks of a file at most, so that a file of nothing but headers takes no minutes."""

SHORT = "it breaks off before its end"


class Structure(NamedTuple):
    """Width and height in pixels, where the file says them, and what is wrong with it; None for a whole file."""

    width: int | None = None
    height: int | None = None
    fault: str | None = None


class _Broken(Exception):
    """The file is not whole; says why."""


@dataclass(slots=True)
class _Walk:
    """One way through a file; the size is known as soon as it was passed."""

    data: bytes
    size: tuple[int, int] | None = None
    has_pixels: bool = False

    def png(self) -> None:
        """Chunks: length, name, content, checksum of name and content."""
        at, view = 8, memoryview(self.data)
        for _ in range(MOST_PARTS):
            length, name = struct.unpack_from(">I4s", self.data, at)
            if not name.isalpha():
                raise _Broken(f"at byte {at:,} there should be a chunk and is none")
            (checksum,) = struct.unpack_from(">I", self.data, at + 8 + length)
            if zlib.crc32(view[at + 4 : at + 8 + length]) != checksum:
                raise _Broken(f"the checksum of its {name.decode()} chunk at byte {at:,} is wrong")
            if name == b"IHDR":
                self.size = struct.unpack_from(">II", self.data, at + 8)
            elif name == b"IDAT":
                self.has_pixels = True
            elif name == b"IEND":
                return
            at += 12 + length
        raise _Broken(f"it has more than {MOST_PARTS:,} chunks")

    def jpeg(self) -> None:
        """Segments: 0xFF, marker, length, content; after SOS pixels, up to a marker that is none of theirs."""
        at = 2
        for _ in range(MOST_PARTS):
            if self.data[at] != 0xFF:
                raise _Broken(f"at byte {at:,} there should be a marker and is none")
            match = _MARKER.search(self.data, at)
            if match is None:
                raise _Broken(SHORT)
            marker, at = match[0][1], match.end()
            if marker == 0xD9:
                return
            if marker == 0x01 or 0xD0 <= marker <= 0xD7:
                continue
            (length,) = struct.unpack_from(">H", self.data, at)
            if length < 2:
                raise _Broken(f"the segment at byte {at:,} has no length")
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                height, width = struct.unpack_from(">HH", self.data, at + 3)
                self.size = (width, height)
            at += length
            if marker == 0xDA:
                self.has_pixels = True
                after = _AFTER_PIXELS.search(self.data, at)
                if after is None:
                    raise _Broken(SHORT)
                at = after.start()
        raise _Broken(f"it has more than {MOST_PARTS:,} segments")

    def webp(self) -> None:
        """RIFF: name, length, content, filled up to an even length."""
        end = 8 + int.from_bytes(self.data[4:8], "little")
        at = 12
        for _ in range(MOST_PARTS):
            if at >= end:
                if len(self.data) < end:
                    raise _Broken(f"{SHORT}: {len(self.data):,} of {end:,} bytes are there")
                return
            name, length = struct.unpack_from("<4sI", self.data, at)
            at += 8
            if at + length > end:
                raise _Broken(f"its {name.decode('ascii', 'replace')!r} chunk at byte {at - 8:,} goes past its end")
            self.has_pixels |= name in (b"VP8 ", b"VP8L", b"ANMF")
            if self.size is None:
                self.size = _webp_size(name, self.data[at : at + min(length, 10)])
            at += length + length % 2
        raise _Broken(f"it has more than {MOST_PARTS:,} chunks")

    def gif(self) -> None:
        """Blocks: extensions and images, each with sub-blocks that an empty one ends, up to the trailer."""
        self.size = struct.unpack_from("<HH", self.data, 6)
        at = 13 + _colours(self.data[10])
        blocks = 0
        while blocks < MOST_PARTS:
            mark = self.data[at]
            if mark == 0x3B:
                return
            if mark == 0x2C:
                self.has_pixels = True
                at += 11 + _colours(self.data[at + 9])
            elif mark == 0x21:
                at += 2
            else:
                raise _Broken(f"at byte {at:,} there should be a block and is none")
            blocks += 1
            while (length := self.data[at]) and blocks < MOST_PARTS:
                at, blocks = at + 1 + length, blocks + 1
            at += 1
        raise _Broken(f"it has more than {MOST_PARTS:,} blocks")

    def svg(self) -> None:
        if not re.search(rb"</(\w+:)?svg\s*>", self.data[-4096:]):
            raise _Broken(SHORT)
        self.has_pixels = True


WALKS = {
    "image/png": _Walk.png,
    "image/jpeg": _Walk.jpeg,
    "image/webp": _Walk.webp,
    "image/gif": _Walk.gif,
    "image/svg+xml": _Walk.svg,
}

_MARKER = re.compile(rb"\xff[^\xff]", re.DOTALL)  # any number of 0xFF may stand before one
_AFTER_PIXELS = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


def structure_of(data: bytes, content_type: str | None) -> Structure:
    """Walk an image of a MIME type to its end mark; what follows that is not looked at."""
    if content_type not in WALKS:
        return Structure()
    walk = _Walk(data)
    try:
        WALKS[content_type](walk)
        fault = _oddity(walk)
    except _Broken as broken:
        fault = str(broken)
    except (struct.error, IndexError):  # the next part would lie behind the last byte
        fault = SHORT
    return Structure(*(walk.size or (None, None)), fault)


def _oddity(walk: _Walk) -> str | None:
    """What is wrong with a file that is whole."""
    if not walk.has_pixels:
        return "it has no pixels in it"
    if walk.size and walk.size[0] * walk.size[1] > MOST_PIXELS:
        size = f"{walk.size[0]}x{walk.size[1]}"
        return f"it is {size}, more than {MOST_PIXELS // 1_000_000} megapixels, which many programs refuse to open"
    return None


def _webp_size(name: bytes, content: bytes) -> tuple[int, int] | None:
    if name == b"VP8X":
        return int.from_bytes(content[4:7], "little") + 1, int.from_bytes(content[7:10], "little") + 1
    if name == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _colours(flags: int) -> int:
    """Bytes of a GIF's table of colours."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
