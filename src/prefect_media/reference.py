"""Reference images and footage: from whatever a user has to bytes that the server can use."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote_to_bytes, urlsplit

from . import media, reach, web
from .assets import Asset
from .errors import InvalidRequest, StoreError
from .settings import settings
from .storage import storage_of

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 50 * 1024 * 1024
"""OpenAI takes reference images below 50 MB (openai-python 3.57.0, images.edit)."""

MOST_FOOTAGE = 200 * 1024 * 1024
"""Bytes of a video that is sent along at most: it is in memory for as long as it takes to send it."""

Fit = Literal["crop", "pad", "error"]
Given = Asset | str | Path | bytes


async def load(image: Given) -> bytes:
    """The bytes of a reference image.

    Args:
        image: A path, an http(s) or `s3://` URL, a data URL, bytes, or an Asset.

    Raises:
        errors.InvalidRequest: It can't be read (then `missing` is true), is too large or is not an image.
    """
    if isinstance(image, Asset) and image.kind != "image":
        raise InvalidRequest(f"the reference has to be an image, but {image.uri} is a {image.kind}")
    data = await bytes_of(image, "the reference image", MAX_BYTES)
    await asyncio.to_thread(_opened, data, shown(image))
    return data


async def load_video(video: Given) -> tuple[str, bytes, str]:
    """Footage to send along: (file name, content, MIME type).

    Args:
        video: A path, an http(s) or `s3://` URL, a data URL, bytes, or an Asset.

    Raises:
        errors.InvalidRequest: It can't be read (then `missing` is true), is too large or is not a video.
    """
    if isinstance(video, Asset) and video.kind != "video":
        raise InvalidRequest(f"a video is needed, but {video.uri} is an {video.kind}")
    data = await bytes_of(video, "the video", MOST_FOOTAGE)
    kind = media.sniff(data[:64]) or ""
    facts = await asyncio.to_thread(media.video_facts, io.BytesIO(data)) if kind.startswith("video/") else None
    if not facts or not facts.codec:
        raise InvalidRequest(f"{shown(video)} is not a video that can be read; give an MP4. Nothing was sent")
    return f"video.{media.SUFFIXES[kind]}", data, kind


async def bytes_of(given: Given, what: str, limit: int) -> bytes:
    """The content of whatever a user has.

    Args:
        given: A path, an http(s) or `s3://` URL, a data URL, bytes, or an Asset.
        what: How to call it in a complaint.
        limit: Bytes it may have at most.

    Raises:
        errors.InvalidRequest: It can't be read (then `missing` is true), or is too large.
    """
    if isinstance(given, bytes):
        data = given
    else:
        data = await _from_text(given.uri if isinstance(given, Asset) else str(given), what, limit)
    if len(data) > limit:
        raise InvalidRequest(f"{what} has {len(data):,} bytes; at most {limit:,} are possible. Nothing was sent")
    return data


def shown(image: Given) -> str:
    """How to call a reference image in a message: never with the content of a data URL, a login or a signed query."""
    if isinstance(image, bytes):
        return f"{len(image):,} bytes"
    text = image.uri if isinstance(image, Asset) else str(image)
    return f"{text[:24]}..." if text.startswith("data:") else reach.shown(text)


def fitted(data: bytes, size: str | None, fit: Fit, *, alpha: bool = True) -> tuple[str, bytes, str]:
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

    picture = _opened(data, "the reference")
    upright = ImageOps.exif_transpose(picture)
    kind = picture.format or ""
    suffix = {"PNG": "png", "JPEG": "jpeg", "WEBP": "webp"}.get(kind)
    wanted = (int(size.split("x")[0]), int(size.split("x")[1])) if size else upright.size
    flat = alpha or not _transparent(upright)
    if suffix and flat and picture.size == upright.size == wanted and picture.getexif().get(0x0112, 1) == 1:
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


async def _from_text(text: str, what: str, limit: int) -> bytes:
    if not text:
        raise InvalidRequest(f"{what} is empty; leave the field out, or give a path, a URL or bytes. Nothing was sent")
    scheme = urlsplit(text).scheme
    if scheme == "data":
        return _from_data_url(text, what)
    if scheme in ("http", "https"):
        return await web.fetch(text, limit=limit, private=settings().allow_private_urls, what=what)
    if "://" in text:
        return await _from_store(text, what, limit)
    try:
        return await asyncio.to_thread(_from_file, Path(text).expanduser(), limit)
    except OSError as error:
        why = error.strerror or str(error)
        raise InvalidRequest(f"{what} {text} can't be read: {why}. Nothing was sent", missing=True) from None


def _from_file(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit + 1)


def _from_data_url(text: str, what: str) -> bytes:
    head, comma, body = text.partition(",")
    if not comma:
        raise InvalidRequest(
            f"{what} is a data URL without content; it looks like data:image/png;base64,.... Nothing was sent"
        )
    try:
        return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{what} is a data URL whose content is not base64. Nothing was sent") from None


async def _from_store(uri: str, what: str, limit: int) -> bytes:
    try:
        storage, key = storage_of(uri)
        size = await storage.size(key)
        if size is not None and size > limit:
            raise InvalidRequest(f"{what} has {size:,} bytes; at most {limit:,} are possible. Nothing was sent")
        return await storage.read(key)
    except StoreError as error:
        raise InvalidRequest(
            f"{what} can't be read: {error.message.rstrip('.')}. Nothing was sent", missing=True
        ) from error
