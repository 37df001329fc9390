"""Pictures and videos that are whole, small, and each another one."""

from __future__ import annotations

import struct
import zlib


def picture(name: str) -> bytes:
    """A PNG of one pixel with a name in it."""
    return _BEFORE + _chunk(b"tEXt", b"Title\0" + name.encode()) + _AFTER


def video(name: str) -> bytes:
    """The index of an MP4 of 4 s in 1280x720, with a name behind it."""
    return _INDEX + _box(b"free", name.encode())


def name_of(data: bytes) -> str:
    """The name in one of these."""
    if data.startswith(b"\x89PNG"):
        return data.partition(b"Title\0")[2].partition(_AFTER)[0][:-4].decode()
    return data[len(_INDEX) + 8 :].decode()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


_BEFORE = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
_AFTER = _chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + _chunk(b"IEND", b"")

_INDEX = _box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + _box(
    b"moov",
    _box(b"mvhd", bytes(12), struct.pack(">II", 1000, 4000), bytes(80)),
    _box(
        b"trak",
        _box(b"tkhd", bytes(20), struct.pack(">I", 4000), bytes(60)),
        _box(
            b"mdia",
            _box(b"hdlr", bytes(8), b"vide", bytes(13)),
            _box(
                b"minf",
                _box(
                    b"stbl",
                    _box(
                        b"stsd",
                        struct.pack(">II", 0, 1),
                        _box(b"avc1", bytes(24), struct.pack(">HH", 1280, 720), bytes(50)),
                    ),
                ),
            ),
        ),
    ),
)
