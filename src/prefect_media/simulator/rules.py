"""What each family of models accepts, as the providers document it."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from .api_errors import ApiError, bad_value, invalid

SHUTDOWN_DATES: dict[str, str | None] = {
    "dall-e-2": "2026-05-12",
    "dall-e-3": "2026-05-12",
    "gpt-image-1": "2026-10-23",
    "gpt-image-1-mini": "2026-12-01",
    "gpt-image-1.5": "2026-12-01",
    "chatgpt-image-latest": "2026-12-01",
    "gpt-image-2": None,
    "gpt-image-2.5-flare": None,
    "gpt-image-2.5-sunburst": None,
    "gpt-image-2.6-flare": None,
    "gpt-image-2.6-sunburst": None,
    "sora-2": "2026-09-24",
    "sora-2-pro": "2026-09-24",
}
"""The models listed, with the day each is switched off by its provider. The simulator goes on serving them."""

LONGEST_PROMPT = 32_000  # characters
_SIZE = re.compile(r"^([1-9]\d{0,4})x([1-9]\d{0,4})$")


def parse_size(size: str) -> tuple[int, int] | None:
    """Width and height in pixels, or None where the text isn't a size."""
    match = _SIZE.match(size)
    return (int(match[1]), int(match[2])) if match else None


def _any_size(width: int, height: int) -> str | None:
    return None if max(width, height) <= 4096 else "sides may be 4096 pixels at most"


def _free_size(width: int, height: int) -> str | None:
    """The rules of gpt-image-2 and later."""
    if width % 16 or height % 16:
        return "width and height must both be divisible by 16"
    if max(width, height) > 3 * min(width, height):
        return "the aspect ratio must lie between 1:3 and 3:1"
    if max(width, height) > 3840 or width * height > 3840 * 2160:
        return "the largest size is 3840x2160"
    return None


_COMMON = ("prompt", "model", "n", "size", "quality", "user")
_GPT = (
    *("background", "moderation", "output_compression", "output_format", "partial_images", "stream"),
    "safety_identifier",
)
_NEWEST = ("complexity", "frame_count", "frame_duration_ms", "svg")
_STILL = ("png", "jpeg", "webp")


@dataclass(frozen=True)
class ImageFamily:
    """The rules of one generation of image models.

    Attributes:
        sizes: What is served, or a function naming what is wrong with a width and height.
        default_size: What an absent size or "auto" means.
        fields: Parameters known; None takes anything, as servers of open models do.
        qualities: Values of `quality`; None takes anything.
        most: Largest `n`.
        longest: Characters in a prompt.
        edits: Whether it edits images.
        url_by_default: Whether it answers links, and none of the newer details.
        formats: Values of `output_format`.
        fidelities: Values of `input_fidelity`.
        streams: Whether it sends drafts while it works.
        references: Most images an edit may start from.
    """

    sizes: tuple[str, ...] | Callable[[int, int], str | None]
    fields: tuple[str, ...] | None
    qualities: tuple[str, ...] | None
    default_size: str = "1024x1024"
    most: int = 10
    longest: int = LONGEST_PROMPT
    edits: bool = True
    url_by_default: bool = False
    formats: tuple[str, ...] = _STILL
    fidelities: tuple[str, ...] = ("high", "low")
    streams: bool = True
    references: int = 16

    def check_size(self, value: object, *, frames: int = 1) -> tuple[int, int]:
        """Width and height in pixels of a size that is served."""
        size = self.default_size if value is None else str(value)
        sides = parse_size(size)
        if frames > 1 and sides:
            if sides[0] % 16 or sides[1] % 16 or sides[0] * sides[1] * frames > 3840 * 2160:
                raise invalid("size", f"Invalid size '{size}': too large for {frames} frames, or not divisible by 16.")
            return sides
        if size == "auto" and not self.url_by_default:
            size = self.default_size
        if not callable(self.sizes) and size not in self.sizes:
            raise bad_value("size", size, [*self.sizes, *([] if self.url_by_default else ["auto"])])
        sides = parse_size(size)
        complaint = self.sizes(*sides) if sides and callable(self.sizes) else None
        if not sides or complaint:
            raise invalid("size", f"Invalid size '{size}': {complaint or 'expected WIDTHxHEIGHT'}.")
        return sides


_LEVELS = ("auto", "low", "medium", "high")
_MORE_LEVELS = (*_LEVELS, "xhigh", "max")
_FIXED = ("1024x1024", "1024x1536", "1536x1024")

IMAGE_FAMILIES: list[tuple[str, ImageFamily]] = [
    (
        r"dall-e-2$",
        ImageFamily(
            ("256x256", "512x512", "1024x1024"),
            (*_COMMON, "response_format"),
            ("standard", "auto"),
            longest=1000,
            url_by_default=True,
            streams=False,
            references=1,
        ),
    ),
    (
        r"dall-e-3$",
        ImageFamily(
            ("1024x1024", "1024x1792", "1792x1024"),
            (*_COMMON, "response_format", "style"),
            ("standard", "hd", "auto"),
            most=1,
            longest=4000,
            edits=False,
            url_by_default=True,
            streams=False,
        ),
    ),
    (
        r"gpt-image-1-mini(-\d{4}-\d\d-\d\d)?$",
        ImageFamily(_FIXED, (*_COMMON, *_GPT, "input_fidelity"), _LEVELS, fidelities=("low",)),
    ),
    (
        r"gpt-image-1(\.5)?(-\d{4}-\d\d-\d\d)?$|chatgpt-image-latest$",
        ImageFamily(_FIXED, (*_COMMON, *_GPT, "input_fidelity"), _LEVELS),
    ),
    (r"gpt-image-2(-\d{4}-\d\d-\d\d)?$", ImageFamily(_free_size, (*_COMMON, *_GPT), _LEVELS)),
    (r"gpt-image-2\.5", ImageFamily(_free_size, (*_COMMON, *_GPT, "markup"), _MORE_LEVELS)),
    (
        r"gpt-image-",
        ImageFamily(_free_size, (*_COMMON, *_GPT, *_NEWEST, "markup"), _MORE_LEVELS, formats=(*_STILL, "gif", "svg")),
    ),
    (r"", ImageFamily(_any_size, None, None, formats=(*_STILL, "gif", "svg"))),
]
"""By the beginning of the model's name, the first that fits."""


def image_family(model: str) -> ImageFamily:
    return next(family for pattern, family in IMAGE_FAMILIES if re.match(pattern, model))


_SORA_SIZES = (
    *("720x1280", "1280x720", "1024x1792", "1792x1024"),
    *("1024x1024", "1280x800", "800x1280"),
)
_SORA_FIELDS = ("prompt", "model", "seconds", "size", "input_reference", "user", "quality", "safety_identifier")


@dataclass(frozen=True)
class VideoFamily:
    """The rules of one family of video models. `None` takes anything sensible, as servers of open models do."""

    sizes: tuple[str, ...] | None
    seconds: tuple[str, ...] | None
    fields: tuple[str, ...] | None

    def check_size(self, value: object) -> tuple[int, int]:
        """Width and height in pixels of a size that is served."""
        size = value if isinstance(value, str) else str(value)
        if self.sizes and size not in self.sizes:
            raise bad_value("size", size, list(self.sizes))
        sides = parse_size(size)
        if not sides or _any_size(*sides):
            raise invalid("size", f"Invalid size '{size}': expected WIDTHxHEIGHT of at most 4096 pixels a side.")
        return sides

    def check_seconds(self, value: object) -> int:
        """Whole seconds; a number on the wire is as good as text."""
        text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if self.seconds and text not in self.seconds:
            raise bad_value("seconds", value, list(self.seconds))
        if not re.fullmatch(r"[1-9]\d?", text) or int(text) > 60:
            raise invalid("seconds", f"Invalid seconds '{value}': expected a whole number from 1 to 60.")
        return int(text)


_SORA = VideoFamily(_SORA_SIZES, ("4", "8", "12"), _SORA_FIELDS)
_SORA_PRO = VideoFamily(_SORA_SIZES, ("4", "8", "10", "12", "15", "25"), _SORA_FIELDS)
_OPEN_VIDEO = VideoFamily(None, None, None)

EXTENSION_SECONDS = ("4", "8", "12", "16", "20")


def video_family(model: str) -> VideoFamily:
    if model.startswith("sora-2-pro"):
        return _SORA_PRO
    return _SORA if model.startswith("sora-2") else _OPEN_VIDEO


def reference_size_mismatch() -> ApiError:
    return invalid("input_reference", "Inpaint image must match the requested width and height")
