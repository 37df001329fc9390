"""How large an answer may be: no server makes this process take more memory than what was asked for needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..requests import ImageEditRequest, ImageRequest

if TYPE_CHECKING:
    import httpx2

JSON_BYTES = 16 * 1024 * 1024
"""JSON at most, pictures in it not counted."""

JSON_VALUES = 500_000
"""Values in it at most: each takes some hundred bytes, however short it is written."""

ERROR_BYTES = 1024 * 1024
"""What is read of an error answer at most; the rest is left."""

LEAST_IMAGE_BYTES = 32 * 1024 * 1024
"""Every image may be this large, whatever was asked for."""

SVG_BYTES = 16 * 1024 * 1024

MOST_PIXELS = 8_294_400
"""Pixels of an image whose size the provider chooses: no model here makes more."""

PIXEL_BYTES = 5
"""Bytes of a pixel at most: four channels as they are, and a quarter more for what is around them."""

MOST_IMAGE_BYTES = PIXEL_BYTES * MOST_PIXELS
"""Bytes of an image whose size the provider chooses."""

MORE_IMAGES = 10
"""Images beyond those that were asked for which are still taken: they are paid for."""


BOUND = "prefect_media.bound"
"""Extension of a response: its `Bound`."""


class TooLarge(ValueError):
    """An answer is larger than what was asked for can be."""


class Bound:
    """How much of an answer may come.

    Attributes:
        limit: Bytes in all, unpacked.
        line_limit: Bytes of one line; None does not count them.
        cuts: Whether what is too much is left out in silence: of an error the status says enough.
    """

    def __init__(self, limit: int, *, cuts: bool = False) -> None:
        self.limit, self.cuts = limit, cuts
        self.line_limit: int | None = None
        self._came = self._in_line = 0

    @property
    def full(self) -> bool:
        return self._came >= self.limit

    def take(self, piece: bytes) -> bytes:
        """As much of the next piece as may come.

        Raises:
            TooLarge: It is too much.
        """
        room = self.limit - self._came
        self._came += len(piece)
        end = piece.rfind(b"\n")
        self._in_line = len(piece) - end - 1 if end >= 0 else self._in_line + len(piece)
        if room < len(piece) and not self.cuts:
            raise TooLarge(f"the answer is larger than {self.limit:,} bytes")
        if self.line_limit is not None and self._in_line > self.line_limit:
            raise TooLarge(f"a line of the answer is larger than {self.line_limit:,} bytes")
        return piece[:room]


def bound_of(response: httpx2.Response) -> Bound:
    """The bound of an answer that is not read yet."""
    bound = response.extensions[BOUND]
    assert isinstance(bound, Bound)
    return bound


def parse_json(raw: bytes | bytearray) -> Any:
    """The value of a JSON text of bounded size.

    Raises:
        TooLarge: It is longer, or has more values in it, than any answer of a provider.
        ValueError: It is not JSON.
    """
    if len(raw) > JSON_BYTES:
        raise TooLarge(f"the JSON is larger than {JSON_BYTES:,} bytes")
    if sum(map(raw.count, (b",", b"[", b"{"))) > JSON_VALUES:
        raise TooLarge(f"the JSON has more than {JSON_VALUES:,} values in it")
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def image_bytes(request: ImageRequest | ImageEditRequest) -> int:
    """Bytes of one image at most, by the size and format that were asked for."""
    if request.output_format == "svg":
        return SVG_BYTES
    width, cross, height = (request.size or "").partition("x")
    known = bool(cross) and width.isdecimal() and height.isdecimal()
    pixels = int(width) * int(height) if known else MOST_PIXELS
    return max(LEAST_IMAGE_BYTES, min(pixels, 8 * MOST_PIXELS) * PIXEL_BYTES)


def images_at_most(request: ImageRequest | ImageEditRequest) -> int:
    """Images in one answer at most."""
    return request.n + MORE_IMAGES
