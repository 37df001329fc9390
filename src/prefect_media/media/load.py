"""Reference images and footage: from whatever a user has to bytes that the server can use."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from ..assets import Asset
from ..errors import InvalidRequest, StoreError
from ..promise import Promise, refuse_promise
from ..settings import settings
from ..storage.address import parse_address
from ..storage.store import storage_of
from ..user_input import fault_of, redact_url
from .facts import SUFFIXES, sniff, video_facts
from .safe_fetch import fetch

if TYPE_CHECKING:
    pass
from .fit import decode_image

MAX_BYTES = 50 * 1024 * 1024
"""OpenAI takes reference images below 50 MB (openai-python 3.57.0, images.edit)."""


MOST_FOOTAGE = 200 * 1024 * 1024
"""Bytes of a video that is sent along at most: it is in memory for as long as it takes to send it."""


Given = Asset | str | Path | bytes | Promise


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
    await asyncio.to_thread(decode_image, data, describe(image))
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
    kind = sniff(data[:64]) or ""
    facts = await asyncio.to_thread(video_facts, io.BytesIO(data)) if kind.startswith("video/") else None
    if not facts or not facts.codec:
        raise InvalidRequest(f"{describe(video)} is not a video that can be read; give an MP4; nothing was sent")
    return f"video.{SUFFIXES[kind]}", data, kind


async def bytes_of(given: Given, what: str, limit: int) -> bytes:
    """The content of whatever a user has.

    Args:
        given: A path, an http(s) or `s3://` URL, a data URL, bytes, or an Asset.
        what: How to call it in a complaint.
        limit: Bytes it may have at most.

    Raises:
        errors.InvalidRequest: It can't be read (then `missing` is true), or is too large.
    """
    if isinstance(given, Promise):
        refuse_promise(given)
    if isinstance(given, bytes):
        data = given
    else:
        data = await _from_text(given.uri if isinstance(given, Asset) else str(given), what, limit)
    if len(data) > limit:
        raise InvalidRequest(f"{what} has {len(data):,} bytes; at most {limit:,} are allowed; nothing was sent")
    return data


def describe(image: Given) -> str:
    """How to call a reference image in a message: never with the content of a data URL, a login or a signed query."""
    if isinstance(image, bytes):
        return f"{len(image):,} bytes"
    text = image.uri if isinstance(image, Asset) else str(image)
    return f"{text[:24]}..." if text.startswith("data:") else redact_url(text)


async def _from_text(text: str, what: str, limit: int) -> bytes:
    if not text:
        raise InvalidRequest(f"{what} is empty; leave the field out, or give a path, a URL or bytes; nothing was sent")
    if fault := fault_of(text):
        raise InvalidRequest(f"{what} {describe(text)} is neither a path nor a URL: {fault}; nothing was sent")
    scheme = text.partition(":")[0].lower() if text.startswith("data:") else urlsplit(text).scheme
    if scheme == "data":
        return _from_data_url(text, what)
    if scheme in ("http", "https"):
        return await fetch(text, limit=limit, private=settings().allow_private_urls, what=what)
    if "://" in text and scheme != "file":
        return await _from_store(text, what, limit)
    try:
        path = Path(parse_address(text)[1]) if scheme == "file" else Path(text).expanduser()
        return await asyncio.to_thread(_from_file, path, limit)
    except _NoFile as special:
        raise InvalidRequest(f"{what} {describe(text)} is {special}; give a regular file; nothing was sent") from None
    except (OSError, RuntimeError, StoreError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidRequest(f"{what} {describe(text)} can't be read: {why}; nothing was sent", missing=True) from None


class _NoFile(Exception):
    """A path that leads to something else than a file; says to what."""


_SPECIAL = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _from_file(path: Path, limit: int) -> bytes:
    if kind := _SPECIAL.get(stat.S_IFMT(path.stat().st_mode)):
        raise _NoFile(kind)
    # Also where it became a pipe meanwhile, opening it waits for nobody.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0))) as file:
        return file.read(limit + 1)


def _from_data_url(text: str, what: str) -> bytes:
    head, comma, body = text.partition(",")
    if not comma:
        raise InvalidRequest(
            f"{what} is a data URL without content; it looks like data:image/png;base64,...; nothing was sent"
        )
    try:
        return base64.b64decode(body, validate=True) if head.endswith(";base64") else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{what} is a data URL whose content is not base64; nothing was sent") from None


async def _from_store(uri: str, what: str, limit: int) -> bytes:
    try:
        storage, key = storage_of(uri)
        size = await storage.size(key)
        if size is not None and size > limit:
            raise InvalidRequest(f"{what} has {size:,} bytes; at most {limit:,} are allowed; nothing was sent")
        return await storage.read(key)
    except StoreError as error:
        raise InvalidRequest(f"{what} can't be read: {error.message}; nothing was sent", missing=True) from error
