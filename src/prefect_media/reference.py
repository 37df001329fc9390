"""Reference images: from whatever a user has to bytes that fit the requested size."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote_to_bytes, urlsplit

from . import web
from .assets import Asset
from .errors import InvalidRequest, MediaError
from .settings import settings
from .storage import storage_of

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 50 * 1024 * 1024
"""OpenAI takes reference images below 50 MB (openai-python 3.54.0, images.edit)."""

Fit = Literal["crop", "pad", "error"]


async def load(image: Asset | str | Path | bytes) -> bytes:
    """The bytes of a reference image.

    Args:
        image: A path, an http(s) or `s3://` URL, a data URL, bytes, or an Asset.

    Raises:
        errors.InvalidRequest: It can't be read, is too large or is not an image.
    """
    if isinstance(image, bytes):
        data = image
    elif isinstance(image, Asset):
        if image.kind != "image":
            raise InvalidRequest(f"the reference has to be an image, but {image.uri} is a {image.kind}")
        data = await _from_store(image.uri)
    else:
        data = await _from_text(str(image))
    if len(data) > MAX_BYTES:
        raise InvalidRequest(f"the reference image has {len(data):,} bytes; at most {MAX_BYTES:,} are possible")
    await asyncio.to_thread(_opened, data, shown(image))
    return data


def shown(image: Asset | str | Path | bytes) -> str:
    """How to call a reference image in a message: never with the content of a data URL, a login or a signed query."""
    if isinstance(image, bytes):
        return f"{len(image):,} bytes"
    text = image.uri if isinstance(image, Asset) else str(image)
    return f"{text[:24]}..." if text.startswith("data:") else web.shown(text)


def fitted(data: bytes, size: str | None, fit: Fit) -> tuple[str, bytes, str]:
    """The image as a file of exactly the requested size: (file name, content, MIME type).

    An image that has the right size already is passed on byte for byte.

    Args:
        data: The image.
        size: "WIDTHxHEIGHT" in pixels; None leaves the size as it is.
        fit: "crop" fills the size and cuts what is over, "pad" shows all and fills the rest with black,
            "error" refuses an image of another size.

    Raises:
        errors.InvalidRequest: The size differs and `fit` is "error".
    """
    from PIL import Image, ImageOps

    picture = _opened(data, "the reference")
    upright = ImageOps.exif_transpose(picture)
    kind = picture.format or ""
    suffix = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}.get(kind)
    wanted = (int(size.split("x")[0]), int(size.split("x")[1])) if size else upright.size
    if suffix and picture.size == upright.size == wanted and picture.getexif().get(0x0112, 1) == 1:
        return f"reference.{suffix}", data, f"image/{suffix}"
    if upright.size != wanted and fit == "error":
        have = f"{upright.width}x{upright.height}"
        raise InvalidRequest(
            f'the reference image is {have} but the video is to be {size}; pass fit="crop" or fit="pad", '
            f"or resize the image. Nothing was sent"
        )
    if upright.size != wanted:
        colour = upright.convert("RGBA" if "A" in upright.getbands() else "RGB")
        method = Image.Resampling.LANCZOS
        upright = ImageOps.fit(colour, wanted, method) if fit == "crop" else ImageOps.pad(colour, wanted, method)
    out = io.BytesIO()
    upright.save(out, "PNG")
    return "reference.png", out.getvalue(), "image/png"


def _opened(data: bytes, name: str) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidRequest(
            f"the reference ({name}) is not an image that can be read: {str(error).partition('<')[0].strip()}. "
            "Give a PNG, JPEG or WebP. Nothing was sent"
        ) from None
    return picture


async def _from_text(text: str) -> bytes:
    scheme = urlsplit(text).scheme
    if scheme == "data":
        return _from_data_url(text)
    if scheme in ("http", "https"):
        return await web.fetch(text, limit=MAX_BYTES, private=settings().allow_private_urls)
    if "://" in text:
        return await _from_store(text)
    try:
        return await asyncio.to_thread(Path(text).expanduser().read_bytes)
    except OSError as error:
        raise InvalidRequest(f"the reference image {text} can't be read: {error.strerror}. Nothing was sent") from None


def _from_data_url(text: str) -> bytes:
    head, comma, body = text.partition(",")
    if not comma:
        raise InvalidRequest(
            "the reference is a data URL without content; it looks like data:image/png;base64,.... Nothing was sent"
        )
    try:
        return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        raise InvalidRequest("the reference is a data URL whose content is not base64. Nothing was sent") from None


async def _from_store(uri: str) -> bytes:
    try:
        storage, key = storage_of(uri)
        return await storage.read(key)
    except MediaError as error:
        raise InvalidRequest(f"the reference image can't be read: {error.message}. Nothing was sent") from error
