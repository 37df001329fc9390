"""Images on the wire: `POST /images/generations`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from ..catalog import catalog
from ..errors import SubmissionInDoubt
from ..requests import ImageRequest
from .client import Connection
from .wire import Answer, ask, fields_of

FIELDS = ("size", "quality", "style", "background", "output_format", "output_compression", "moderation")


@dataclass(frozen=True, slots=True)
class Picture:
    """One image as the provider gave it: its bytes, or the URL where they wait."""

    data: bytes | None = field(repr=False)
    url: str | None
    revised_prompt: str | None


@dataclass(frozen=True, slots=True)
class Pictures:
    """The answer to one purchase of images."""

    pictures: list[Picture]
    usage: Mapping[str, Any] | None
    request_id: str | None


async def create(connection: Connection, request: ImageRequest) -> Pictures:
    """Buy images: one request, one purchase.

    Raises:
        errors.SubmissionInDoubt: The reply was lost or unreadable; images can't be asked for again.
        errors.MediaError: Anything else; then nothing was bought.
    """
    body: dict[str, Any] = {"model": request.model, "prompt": request.prompt, "n": request.n}
    body |= {name: value for name in FIELDS if (value := getattr(request, name)) is not None}
    model = catalog().models.get(request.model)
    if model and model.family.url_answers and "response_format" not in request.extra:
        body["response_format"] = "b64_json"  # the bytes come with the answer, so no link can expire
    body |= request.extra
    url = connection.images_url("generations", request.model)
    return _read(await ask(connection, "post", url, json_body=body, paid=True))


def _read(answer: Answer) -> Pictures:
    body = fields_of(answer.body)
    rows = cast(list[Mapping[str, Any]], body.get("data") or [])
    if not rows:
        raise SubmissionInDoubt("the provider answered without any image", request_id=answer.request_id)
    return Pictures([_picture(row) for row in rows], body.get("usage"), answer.request_id)


def _picture(row: Mapping[str, Any]) -> Picture:
    encoded, url = row.get("b64_json"), row.get("url")
    if not encoded and not url:
        raise SubmissionInDoubt("the provider answered with an image that has neither content nor a link")
    try:
        data = base64.b64decode(encoded, validate=True) if encoded else None
    except (binascii.Error, ValueError):
        raise SubmissionInDoubt("the provider answered with an image that is not base64") from None
    return Picture(data, url, row.get("revised_prompt"))
