"""Reference images made to fit: decoded within bounds, cropped or padded to the size of a video."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Literal

from ..errors import InvalidRequest
from .facts import image_facts
from .image_structure import MOST_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image


Fit = Literal["crop", "pad", "error"]


def fit_image(data: bytes, size: str | None, fit: Fit, *, alpha: bool = True) -> tuple[str, bytes, str]:
    """The image as a file of exactly the requested size: (file name, content, MIME type).

    An image that has the right size already is passed on byte for byte.

    Args:
        data: The image.
        size: "WIDTHxHEIGHT" in pixels; None leaves the size as it is.
        fit: "crop" fills the size and cuts what is over, "pad" shows all and fills the rest with black,
            "error" refuses an image of another size.
        alpha: Whether it may be transparent; otherwise what shines through is black, as with "pad".

    Raises:
        errors.InvalidRequest: The size differs and `fit` is "error".
    """
    from PIL import Image, ImageOps

    picture = decode_image(data, "the reference")
    upright = ImageOps.exif_transpose(picture)
    kind = picture.format or ""
    suffix = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}.get(kind)
    target = (int(size.split("x")[0]), int(size.split("x")[1])) if size else upright.size
    if target[0] * target[1] > MOST_PIXELS:
        raise InvalidRequest(
            f"a reference can't be fitted to size={size!r}, which is more than {MOST_PIXELS // 1_000_000} megapixels; "
            "pass a smaller size; nothing was sent"
        )
    flat = alpha or not _transparent(upright)
    if suffix and flat and picture.size == upright.size == target and picture.getexif().get(0x0112, 1) == 1:
        return f"reference.{suffix}", data, f"image/{suffix}"
    if upright.size != target and fit == "error":
        have = f"{upright.width}x{upright.height}"
        raise InvalidRequest(
            f'the reference image is {have} but the video is to be {size}; pass fit="crop" or fit="pad", '
            f"pass size={have} if the model has it, or resize the image; nothing was sent"
        )
    if upright.size != target:
        colour = upright.convert("RGBA" if "A" in upright.getbands() else "RGB")
        method = Image.Resampling.LANCZOS
        upright = ImageOps.fit(colour, target, method) if fit == "crop" else ImageOps.pad(colour, target, method)
    if not flat:
        colour = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", colour.size, "black"), colour).convert("RGB")
    out = io.BytesIO()
    upright.save(out, "PNG")
    return "reference.png", out.getvalue(), "image/png"


def _transparent(picture: Image) -> bool:
    """Whether anything shines through."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return False
    return picture.convert("RGBA").getchannel("A").getextrema()[0] != 255


def upright_size(picture: Image) -> tuple[int, int]:
    """Width and height of a picture once it is turned as its EXIF data say."""
    turned = picture.getexif().get(0x0112, 1) >= 5
    return (picture.height, picture.width) if turned else picture.size


def decode_image(data: bytes, name: str = "the reference") -> Image:
    """A picture, decoded.

    Raises:
        errors.InvalidRequest: It can't be read, or has more than 100 megapixels.
    """
    from PIL import Image

    facts = image_facts(data)  # before Pillow, which has a limit of its own
    _refuse_large(name, facts.width or 0, facts.height or 0)
    try:
        picture = Image.open(io.BytesIO(data))
        _refuse_large(name, picture.width, picture.height)
        picture.load()
    except InvalidRequest:
        raise
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        why = str(error).partition("<")[0].strip() or type(error).__name__
        raise InvalidRequest(
            f"the reference ({name}) is not an image that can be read: {why}; "
            "give a PNG, JPEG or WebP; nothing was sent"
        ) from None
    return picture


def _refuse_large(name: str, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise InvalidRequest(
            f"the reference ({name}) is {width}x{height}, more than {MOST_PIXELS // 1_000_000} megapixels; "
            "make it smaller; nothing was sent"
        )
