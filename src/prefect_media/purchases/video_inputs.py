"""What a video starts from: a reference image or footage, part of what is bought, and found again without the original.

It enters the purchase by the hash of its content. So the same request finds its purchase wherever the file lies, and
a note in the store tells the hash once the file is gone; the image as it was sent is kept there, too.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any, cast

from ..assets import Asset
from ..catalog.data import plain_name, rules_of
from ..catalog.sizes import closest
from ..errors import InvalidRequest
from ..media.fit import decode_image, fit_image, upright_size
from ..media.load import load, load_video
from ..media.upload import Upload
from ..providers import videos
from ..providers.connection import Connection
from ..providers.detection import dialect_of
from ..providers.dialects import Route
from ..requests import VideoRequest, VideoVariation
from ..runtime.hashing import asha256_of, sha256_of
from ..storage.store import Storage
from ..user_input import parse_json


@dataclass(frozen=True, slots=True)
class Material:
    """What a video starts from.

    Attributes:
        identity: The fields of the normalised request that it stands for.
        upload: The file to send; None where there is none, or its content is gone.
        uri: Where it lies, or is going to.
        key: Where in the store it is to be kept; None where it need not be.
        note: Where in the store its hash is to be noted, for when the original is gone; None where it can't go.
        gone: Why the original can't be read.
        size: The size to send where the request names none: that of the model which is closest to the image's shape.
    """

    identity: dict[str, str] = field(default_factory=dict[str, str])
    upload: Upload | None = field(default=None, repr=False)
    uri: str | None = None
    key: str | None = None
    note: str | None = None
    gone: InvalidRequest | None = None
    size: str | None = None

    def explain(self, refusal: InvalidRequest, request: VideoRequest | VideoVariation) -> InvalidRequest:
        """A server's refusal, with what to do where it may be about the size of the image."""
        size_is_settled = not isinstance(request, VideoRequest) or request.size or self.upload is None
        if size_is_settled or not re.search(r"size|width|height|resolution", refusal.message, re.IGNORECASE):
            return refusal
        what, _, rest = refusal.message.partition(";")
        hint = "pass size=WIDTHxHEIGHT, and the reference is fitted to it"
        return type(refusal)(f"{what}; {hint};{rest}", **refusal.details)

    async def ready(self, storage: Storage) -> Upload | None:
        """What to send, put where it is found again. To be called before anything is paid.

        Raises:
            errors.InvalidRequest: The original is gone, and was not kept.
            errors.StoreError: It can't be kept.
        """
        if self.upload is None:
            if self.gone is not None:
                raise self.gone
            return None
        _, data, kind = self.upload
        if self.gone is None and self.key and await storage.size(self.key) != len(data):
            await storage.put(self.key, data, content_type=kind)
        if self.gone is None and self.note:
            text = json.dumps({**self.identity, "key": self.key}).encode()
            await storage.put(self.note, text, content_type="application/json")
        return self.upload


async def material_of(
    connection: Connection, request: VideoRequest | VideoVariation, storage: Storage, scope: str
) -> Material:
    """Load and check what a request starts from, or find what is known of it.

    Raises:
        errors.InvalidRequest: It can't be read and was not bought with before, is no image or video, or is not
            possible here; nothing was sent.
    """
    sizes = ()
    if isinstance(request, VideoRequest):
        given = request.image
        if given is None:
            return Material()
        sizes = _sizes_to_choose_from(connection, request)
    else:
        given = await _footage(connection, request)
        if given is None:
            return Material({"video": videos.source_of_variation(connection, request)})
    # A picture in the request itself can't get lost.
    lasting = isinstance(given, bytes) or (isinstance(given, str) and given.startswith("data:"))
    note = None if lasting else _note(connection, request, given, scope)
    try:
        if isinstance(request, VideoRequest):
            return await _image(request, given, storage, note, sizes)
        upload = await load_video(given)
    except InvalidRequest as error:
        if note and error.details.get("missing") and (material := await _read_note(storage, note, error, sizes)):
            return material
        raise
    uri = given.uri if isinstance(given, Asset) else None
    return Material({"footage": await asha256_of(upload[1])}, upload, uri, note=note)


def _sizes_to_choose_from(connection: Connection, request: VideoRequest) -> tuple[str, ...]:
    """The model's sizes where the request names none: servers refuse a reference of another size than the video."""
    if request.size:
        return ()
    family = request.model_family or connection.model_family
    rules = rules_of(plain_name(request.model), "video", connection.catalog_host, family)
    return rules.sizes if rules else ()


async def _image(
    request: VideoRequest,
    given: Asset | str | bytes | Any,
    storage: Storage,
    note: str | None,
    sizes: tuple[str, ...],
) -> Material:
    data = await load(given)
    size = await asyncio.to_thread(_closest, data, sizes)
    upload = await asyncio.to_thread(fit_image, data, request.size or size, request.fit, alpha=False)
    key = f"references/{await asha256_of(upload[1])}.{upload[0].rpartition('.')[2]}"
    return Material({"image": await asha256_of(data)}, upload, storage.uri(key), key, note, size=size)


def _closest(data: bytes, sizes: tuple[str, ...]) -> str | None:
    """The size whose shape is closest to that of an image."""
    if not sizes:
        return None
    width, height = upright_size(decode_image(data))
    return f"{width}x{height}" if f"{width}x{height}" in sizes else closest(sizes, width / height)


async def _footage(connection: Connection, request: VideoVariation) -> Asset | str | None:
    """What has to be sent along; None where the server knows the video by its id."""
    given = request.footage_for(connection.host)
    if given is None or request.operation == "remix":
        return None
    dialect = await dialect_of(connection)
    if dialect.footage and dialect.can(cast(Route, request.operation)):
        return given
    if request.source_job_id:
        return None  # the server may know it all the same; if not, it is said whose it is
    if isinstance(given, str):
        raise videos.no_footage(connection, request, dialect)
    return None


def _note(connection: Connection, request: VideoRequest | VideoVariation, given: Any, scope: str) -> str:
    """Where the hash of a file is noted, by everything that is known without it."""
    identity = request.model_dump(mode="json", exclude={"image" if isinstance(request, VideoRequest) else "video"})
    identity |= {"given": given.uri if isinstance(given, Asset) else str(given), "operation": request.operation}
    identity |= {"scope": scope, "account": connection.account}
    return f"references/notes/{sha256_of(json.dumps(identity, sort_keys=True))}.json"


async def _read_note(storage: Storage, note: str, gone: InvalidRequest, sizes: tuple[str, ...] = ()) -> Material | None:
    """What was noted of a file that can't be read any more."""
    stored = await storage.fetch(note)
    if stored is None:
        return None
    try:
        hashes: dict[str, Any] = parse_json(stored.data)
        key = hashes.pop("key", None)
    except (ValueError, AttributeError, TypeError):
        return None  # damaged: then it is as if there were none
    if not isinstance(key, str | None) or not hashes or not all(isinstance(value, str) for value in hashes.values()):
        return None
    if key is None or await storage.size(key) is None:
        return Material(hashes, gone=gone)
    suffix = key.rpartition(".")[2]
    data = await storage.read(key)
    upload = (f"reference.{suffix}", data, f"image/{suffix}")
    return Material(hashes, upload, storage.uri(key), key, note, gone, await asyncio.to_thread(_closest, data, sizes))
