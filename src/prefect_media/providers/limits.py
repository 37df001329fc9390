"""How large an answer may be, so that no server can exhaust this process's memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..requests import ImageEditRequest, ImageRequest

if TYPE_CHECKING:
    import httpx2

JSON_BYTES = 16 * 1024 * 1024
"""Most bytes of JSON in an answer; images in it do not count."""

JSON_VALUES = 500_000
"""Most values in it: each takes about a hundred bytes of memory, however short its text."""

ERROR_BYTES = 1024 * 1024
"""Most bytes that are read of an error answer."""

LEAST_IMAGE_BYTES = 32 * 1024 * 1024
"""Every image may have this many bytes, whatever its size in pixels."""

SVG_BYTES = 16 * 1024 * 1024

MOST_PIXELS = 8_294_400
"""Most pixels of an image whose size the provider chooses; no model of the catalog makes more."""

PIXEL_BYTES = 5
"""Most bytes per pixel: four channels uncompressed, and a quarter more for the file format."""

MOST_IMAGE_BYTES = PIXEL_BYTES * MOST_PIXELS
"""Most bytes of an image whose size the provider chooses."""

MORE_IMAGES = 10
"""How many images more than requested are accepted: they are paid for."""


BOUND = "prefect_media.bound"
"""Extension of a response that holds its `Bound`."""


class TooLarge(ValueError):
    """An answer is larger than any honest answer to the request."""


class Bound:
    """The size limit of one answer, and how much of it was read.

    Attributes:
        limit: Most bytes in total, after decompression.
        line_limit: Most bytes of one line; None for no limit.
        cuts: Whether the rest is dropped instead of raising: for an error, the status says enough.
    """

    def __init__(self, limit: int, *, cuts: bool = False) -> None:
        self.limit, self.cuts = limit, cuts
        self.line_limit: int | None = None
        self._total = self._in_line = 0

    @property
    def full(self) -> bool:
        return self._total >= self.limit

    def take(self, piece: bytes) -> bytes:
        """Count the next piece, and return the part of it within the limit.

        Raises:
            TooLarge: A limit is exceeded.
        """
        room = self.limit - self._total
        self._total += len(piece)
        end = piece.rfind(b"\n")
        self._in_line = len(piece) - end - 1 if end >= 0 else self._in_line + len(piece)
        if room < len(piece) and not self.cuts:
            raise TooLarge(f"the answer is larger than {self.limit:,} bytes")
        if self.line_limit is not None and self._in_line > self.line_limit:
            raise TooLarge(f"a line of the answer is larger than {self.line_limit:,} bytes")
        return piece[:room]


def bound_of(response: httpx2.Response) -> Bound:
    """The limit of an answer that was not read yet."""
    bound = response.extensions[BOUND]
    assert isinstance(bound, Bound)
    return bound


def parse_json(raw: bytes | bytearray) -> Any:
    """The value of a JSON text of bounded size.

    Raises:
        TooLarge: It has more bytes, or more values, than any answer of a provider.
        ValueError: It is not JSON.
    """
    if len(raw) > JSON_BYTES:
        raise TooLarge(f"the JSON is larger than {JSON_BYTES:,} bytes")
    if sum(map(raw.count, (b",", b"[", b"{"))) > JSON_VALUES:
        raise TooLarge(f"the JSON has more than {JSON_VALUES:,} values")
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def image_bytes(request: ImageRequest | ImageEditRequest) -> int:
    """Most bytes of one image, by the requested size and format."""
    if request.output_format == "svg":
        return SVG_BYTES
    width, cross, height = (request.size or "").partition("x")
    known = bool(cross) and width.isdecimal() and height.isdecimal()
    pixels = int(width) * int(height) if known else MOST_PIXELS
    return max(LEAST_IMAGE_BYTES, min(pixels, 8 * MOST_PIXELS) * PIXEL_BYTES)


def images_at_most(request: ImageRequest | ImageEditRequest) -> int:
    """Most images in one answer."""
    return request.n + MORE_IMAGES
