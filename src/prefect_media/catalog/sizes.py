"""Picture sizes as text: read, compared, and found for an aspect ratio."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt

GENERIC_SIZES = ("1280x720", "720x1280", "1024x1024", "1280x800", "800x1280")
"""What an aspect ratio means for a model whose sizes nobody told us."""


def parse_size(size: str) -> tuple[int, int] | None:
    """Width and height of a "WIDTHxHEIGHT"; None for "auto" and everything else."""
    match = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", size)
    return (int(match[1]), int(match[2])) if match else None


def ratio_of(text: str) -> float:
    """Width divided by height, of "16:9" or of "1280x720"."""
    across, down = (int(part) for part in re.split("[:x]", text))
    return across / down


def closest(sizes: Iterable[str], ratio: float) -> str:
    """The one of `sizes` whose shape comes closest to `ratio` (width / height)."""
    return min((size for size in sizes if size != "auto"), key=lambda size: abs(ratio_of(size) - ratio))


@dataclass(frozen=True, slots=True)
class FreeSizes:
    """Any WIDTHxHEIGHT within these limits, in pixels."""

    multiple: int
    min_ratio: float
    max_ratio: float
    min_pixels: int
    max_pixels: int
    max_edge: int

    def complaint(self, width: int, height: int) -> str | None:
        """Why this size is not possible, or None."""
        if not width or not height:
            return "an edge is 0"
        if width % self.multiple or height % self.multiple:
            return f"both edges must be multiples of {self.multiple}"
        if max(width, height) > self.max_edge:
            return f"no edge may be longer than {self.max_edge}"
        if not self.min_ratio <= width / height <= self.max_ratio:
            return "the ratio must lie between 1:3 and 3:1"
        if not self.min_pixels <= width * height <= self.max_pixels:
            return f"the area must lie between {self.min_pixels:,} and {self.max_pixels:,} pixels"
        return None

    def best(self, ratio: float, pixels: float = 1024 * 1024) -> str:
        """The size that comes closest to `ratio` (width / height), of about `pixels` pixels."""
        ratio = min(max(ratio, self.min_ratio), self.max_ratio)
        pixels = min(max(pixels, self.min_pixels), self.max_pixels, self.max_edge**2 * min(ratio, 1 / ratio))
        middle = round(sqrt(pixels / ratio) / self.multiple) * self.multiple
        candidates = [
            (w, h)
            for h in range(middle - 8 * self.multiple, middle + 9 * self.multiple, self.multiple)
            for w in (round(h * ratio / self.multiple) * self.multiple,)
            if w > 0 and h > 0 and self.complaint(w, h) is None
        ]
        width, height = min(candidates, key=lambda wh: (abs(wh[0] / wh[1] - ratio), abs(wh[1] - middle)))
        return f"{width}x{height}"

    def nearest(self, width: int, height: int) -> str:
        """A possible size much like one that is not."""
        step = self.multiple
        rounded = (max(step, round(width / step) * step), max(step, round(height / step) * step))
        if self.complaint(*rounded) is None:
            return f"{rounded[0]}x{rounded[1]}"
        return self.best(max(width, 1) / max(height, 1), width * height)
