"""What an edit starts from: pictures and masks as files the provider takes, checked before anything is paid."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import InvalidRequest
from ..runtime.hashing import sha256_of
from .fit import decode_image, fit_image, upright_size
from .load import MAX_BYTES, describe, load
from .upload import Upload

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..requests import ImageEditRequest

MASK_BYTES = 4 * 1024 * 1024
"""A mask has to be smaller than 4 MB (openai-python 3.57.0, images.edit)."""


@dataclass(frozen=True, slots=True)
class EditFiles:
    """The files of an edit, and what identifies them.

    Attributes:
        uploads: Field name and file, in the order they are sent.
        hashes: SHA-256 of what the user gave, by field of the request.
    """

    uploads: list[tuple[str, Upload]] = field(default_factory=list[tuple[str, Upload]], repr=False)
    hashes: dict[str, Any] = field(default_factory=dict[str, Any])


async def prepare(request: ImageEditRequest) -> EditFiles:
    """Load, check and where need be convert the files of an edit.

    Raises:
        errors.InvalidRequest: Something can't be read, is too large, or doesn't fit together; nothing was sent.
    """
    contents = await asyncio.gather(*(load(image) for image in request.images))
    files = await asyncio.gather(*(asyncio.to_thread(_picture, data, at) for at, data in enumerate(contents, 1)))
    uploads: list[tuple[str, Upload]] = [("image[]", upload) for upload, _ in files]
    hashes: dict[str, Any] = {"images": [sha256_of(data) for data in contents]}
    first = files[0][1]
    for name in ("mask", "markup"):
        given = getattr(request, name)
        if given is None:
            continue
        data = await load(given)
        uploads.append((name, await asyncio.to_thread(_overlay, name, data, first, describe(given))))
        hashes[name] = sha256_of(data)
    return EditFiles(uploads, hashes)


def _picture(data: bytes, number: int) -> tuple[Upload, tuple[int, int]]:
    """One picture as PNG, JPEG or WebP, byte for byte where it is one already; and its upright size."""
    name, content, kind = fit_image(data, None, "error")
    if len(content) >= MAX_BYTES:
        raise InvalidRequest(
            f"picture {number} has {len(content):,} bytes as {kind}; it has to be smaller than "
            f"{MAX_BYTES:,} bytes: make it smaller, or give a JPEG; nothing was sent"
        )
    return (f"image-{number}.{name.rpartition('.')[2]}", content, kind), upright_size(decode_image(content))


def _overlay(name: str, data: bytes, size: tuple[int, int], shown: str) -> Upload:
    """A mask or markup as PNG with an alpha channel."""
    image = decode_image(data)
    if image.format != "PNG":
        raise InvalidRequest(
            f"the {name} ({shown}) is a {image.format}; only PNG is allowed: save it as PNG; nothing was sent"
        )
    if upright_size(image) != size:
        raise InvalidRequest(
            f"the {name} ({shown}) is {image.width}x{image.height}, but the first picture is {size[0]}x{size[1]}; "
            f"resize the {name}; nothing was sent"
        )
    if not ("A" in image.getbands() or "transparency" in image.info):
        raise InvalidRequest(
            f"the {name} ({shown}) has no alpha channel (its mode is {image.mode}, allowed: RGBA and LA); "
            f"make transparent what is to {'be generated again' if name == 'mask' else 'stay unmarked'}; "
            "nothing was sent"
        )
    if "A" not in image.getbands():
        image = image.convert("RGBA")
        data = _png(image)
    lowest = image.getchannel("A").getextrema()[0]
    if lowest == 255 or (name == "mask" and lowest != 0):
        raise InvalidRequest(
            f"the {name} ({shown}) has no transparent pixel (lowest alpha {lowest}, needed is 0), so "
            f"{'nothing would be generated again' if name == 'mask' else 'it would hide the picture'}; "
            "make a part of it transparent; nothing was sent"
        )
    if len(data) >= MASK_BYTES:
        raise InvalidRequest(
            f"the {name} ({shown}) has {len(data):,} bytes; it has to be smaller than {MASK_BYTES:,} bytes: "
            "save it with stronger compression, or paint it in one colour; nothing was sent"
        )
    return f"{name}.png", data, "image/png"


def _png(image: Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
