"""Many requests from a file, one a row: CSV, JSON or JSON lines. All that is wrong with any of them is said at once.

    prompt,kind,model,seconds,size,image
    a paper boat at sunrise,image,gpt-image-2,,1536x1024,
    "the boat drifts, slowly",video,wan-2.2,5,1280x720,s3://my-bucket/boat.png

Columns are the fields of the requests, and `kind` says which: "video" (the default), "image" or "edit".
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import ValidationError

from ..catalog.check import check
from ..catalog.prices import Quote, quote
from ..errors import InvalidRequest
from ..media.load import bytes_of, describe
from ..providers.connection import Connection
from ..providers.detection import dialect_name
from ..providers.dialects import get_dialect
from ..requests import ImageEditRequest, ImageRequest, VideoRequest, problems_of
from ..user_input import brief_repr, parse_json

MAX_BYTES = 64 * 1024 * 1024

KINDS: dict[str, type[ImageRequest | ImageEditRequest | VideoRequest]] = {
    "video": VideoRequest,
    "image": ImageRequest,
    "edit": ImageEditRequest,
}

TOLD = 20
"""Complaints that are told in full; of more than that only the number."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One request of a file, and where in it it stands, such as "line 3"."""

    place: str
    request: ImageRequest | ImageEditRequest | VideoRequest


async def read_shots(file: str, defaults: Mapping[str, Any] | None = None) -> list[Shot]:
    """The requests of a file.

    Args:
        file: A path, or an http(s), `s3://`, `gs://` or `az://` URL.
        defaults: Values of fields (and of `kind`) for the rows that leave them out.

    Raises:
        errors.InvalidRequest: It can't be read, or rows of it can't work; all complaints in one message.
    """
    defaults = defaults or {}
    field_names = {"kind"}.union(*(kind.model_fields for kind in KINDS.values()))
    if unknown := [name for name in defaults if name not in field_names]:
        raise InvalidRequest(f"defaults has {', '.join(unknown)}, which no request has; nothing was sent")
    data = await bytes_of(file, "the file of shots", MAX_BYTES)
    try:
        rows = list(_rows(data.decode("utf-8-sig")))
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise InvalidRequest(
            f"{describe(file)} can't be read as CSV, JSON or JSON lines in UTF-8: {error}; nothing was sent"
        ) from None
    if not rows:
        raise InvalidRequest(f"{describe(file)} has no shots in it; nothing was sent")

    shots: list[Shot] = []
    wrong: list[str] = []
    for place, row in rows:
        try:
            shots.append(Shot(place, _request(row, defaults)))
        except ValidationError as error:
            wrong.append(f"{place}: {problems_of(error)}")
        except ValueError as error:
            wrong.append(f"{place}: {error}")
    seen: dict[str, str] = {}
    for shot in shots:
        first = seen.setdefault(repr(shot.request), shot.place)
        if first != shot.place:
            wrong.append(f"{shot.place}: the same as {first}; to make another one of it, give it a variant")
    _refuse(wrong)
    return shots


def quotes_of(shots: Iterable[Shot], connection_for: Callable[[Shot], Connection]) -> list[Quote]:
    """What each shot will cost, once the catalog has nothing against it. Sends nothing.

    Args:
        shots: What is wanted.
        connection_for: Where each of them goes.

    Raises:
        errors.InvalidRequest: Some can't work; all complaints in one message.
    """
    quotes: list[Quote] = []
    wrong: list[str] = []
    for shot in shots:
        at = connection_for(shot)
        try:
            accepted = get_dialect(dialect_name(at)).takes
            request = check(shot.request, at.catalog_host, family=at.model_family, taken=accepted)
            quotes.append(quote(request, at.catalog_host, at.model_family))
        except InvalidRequest as error:
            wrong.append(f"{shot.place}: {error.complaint}")
    _refuse(wrong)
    return quotes


def _rows(text: str) -> Iterator[tuple[str, Any]]:
    """The rows of a file, each with its place in it; what kind of file it is shows in how it begins."""
    begin = text.lstrip()[:1]
    if begin == "[":
        yield from ((f"item {number}", row) for number, row in enumerate(parse_json(text), 1))
    elif begin == "{":
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    yield f"line {number}", parse_json(line)
                except json.JSONDecodeError as error:
                    raise json.JSONDecodeError(f"line {number}: {error.msg}", line, error.pos) from None
    else:
        head = text.partition("\n")[0]
        separator = next((mark for mark in (",", ";", "\t") if mark in head), ",")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for row in reader:
            cells = {name: value.strip() if isinstance(value, str) else value for name, value in row.items()}
            if filled := {name: value for name, value in cells.items() if value}:
                yield f"line {reader.line_num}", filled


def _request(row: Any, defaults: Mapping[str, Any]) -> ImageRequest | ImageEditRequest | VideoRequest:
    if not isinstance(row, dict):
        raise ValueError(f"{brief_repr(row)} is not an object with the fields of a request")
    fields = cast(dict[str | None, Any], row).copy()
    if None in fields:
        raise ValueError("more cells than the first line has columns; put text with separators into quotes")
    kind = fields.pop("kind", None) or defaults.get("kind", "video")
    if kind not in KINDS:
        raise ValueError(f"kind={brief_repr(kind)} is not possible; choose from {', '.join(KINDS)}")
    if isinstance(fields.get("extra"), str):
        fields["extra"] = parse_json(fields["extra"])
    request_type = KINDS[kind]
    return request_type.model_validate(
        {name: value for name, value in defaults.items() if name in request_type.model_fields} | fields
    )


def _refuse(wrong: list[str]) -> None:
    if wrong:
        more = [f"and {len(wrong) - TOLD} more"] if len(wrong) > TOLD else []
        lines = "\n".join(f"  {complaint}" for complaint in [*wrong[:TOLD], *more])
        raise InvalidRequest(f"{len(wrong)} of the shots can't work, so nothing was sent:\n{lines}")
