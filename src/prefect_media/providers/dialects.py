"""How each kind of server speaks the Videos API: dialects.toml, and requests and jobs translated by it.

Nothing in this file does any input or output but reading that file; `detection.py` tells which dialect a server speaks.
"""

from __future__ import annotations

import json
import tomllib
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache, reduce
from importlib.resources import files
from typing import Any, Literal, cast

from ..errors import InvalidRequest
from ..media.upload import Upload
from .address import segment
from .wire import fields_of, validate_extra

Route = Literal["create", "look", "list", "content", "delete", "cancel", "remix", "edit", "extend"]
Method = Literal["get", "post", "delete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBy:
    """Marks by which a server of this kind is detected; empty where it has none."""

    host: str = ""
    owned_by: str = ""
    model_field: str = ""
    header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One table of dialects.toml, where the fields are explained."""

    name: str
    title: str
    source: str
    checked: date
    note: str = ""
    routes: Mapping[str, str]
    body: Literal["multipart", "json"]
    body_with_reference: Literal["multipart", "json"] | None = None
    seconds: Literal["text", "number"]
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    reference: str
    reference_value: Any = None
    footage: str = ""
    nested: Literal["brackets", "json"]
    takes: Collection[str] = ()
    answers: Mapping[str, str] = field(default_factory=dict[str, str])
    media: str = ""
    cost: str = ""
    content_urls: tuple[str, ...] = ()
    elsewhere: str = ""
    other_id: str = ""
    copies: Sequence[str] = ()
    copies_within: Sequence[str] = ()
    variations_need: str = ""
    callback: str = ""
    poll_hint: str = ""
    conflict_remedy: str = ""
    known_by: KnownBy = field(default_factory=KnownBy)

    def can(self, route: Route) -> bool:
        """Whether servers of this kind have an operation."""
        return route in self.routes

    def route(self, route: Route, job_id: str = "") -> tuple[Method, str]:
        """HTTP method and path of an operation.

        Raises:
            errors.InvalidRequest: Servers of this kind lack it (`unsupported` names it), or the id is malformed.
        """
        if route not in self.routes:
            raise InvalidRequest(f"{self.title} can't {route} videos; nothing was sent", unsupported=route)
        method, _, path = self.routes[route].partition(" ")
        return cast(Method, method.lower()), path.replace("{id}", segment("job id", job_id)) if "{id}" in path else path

    def order(self, fields: Mapping[str, Any], extra: Mapping[str, Any], image: Upload | None) -> dict[str, Any]:
        """A new job as arguments of `wire.ask`: a JSON body, or a form with its files.

        Args:
            fields: prompt, model, seconds and size; None leaves a field out.
            extra: Further fields, sent by their own names.
            image: The reference image.
        """
        sent = {self.names.get(name, name): value for name, value in fields.items() if value is not None}
        duration = self.names.get("seconds", "seconds")
        if duration in sent and self.seconds == "text":
            sent[duration] = str(sent[duration])
        uploads: list[tuple[str, Upload]] = []
        if image and self.reference_value is None:
            uploads.append((self.reference, image))
        elif image:
            sent[self.reference] = _fill_template(self.reference_value, _data_url(image))
        sent |= validate_extra({*sent, *(name for name, _ in uploads)}, extra)
        body = (self.body_with_reference or self.body) if image else self.body
        if body == "json":
            return {"json_body": sent}
        if self.nested == "json":
            sent = {name: _json_string(value) for name, value in sent.items()}
        return {"form": sent, "files": uploads}

    def refuse_several(self, extra: Mapping[str, Any]) -> None:
        """Refuse a request for several videos at once: all would be paid for, and only one could be fetched.

        Raises:
            errors.InvalidRequest: A field of `extra` asks for more or less than one video; nothing was sent.
        """
        for name, value in extra.items():
            if name in self.copies_within:
                self.refuse_several(_parse_fields(value))
            elif name in self.copies and value not in (None, 1, "1"):
                raise InvalidRequest(
                    f"extra has {name}={value!r}, and one request makes one video; leave it out, and send further "
                    "requests with variant=1, variant=2, ...; nothing was sent"
                )

    def variation(self, fields: Mapping[str, Any], source: str | None, footage: Upload | None) -> dict[str, Any]:
        """A remix, edit or extension as arguments of `wire.ask`.

        Args:
            fields: The fields of the request, those of `extra` included.
            source: Id of the job whose video it starts from; None where the path names it.
            footage: The video file, in place of `source`.
        """
        if footage is None:
            return {"json_body": {**fields, **({"video": {"id": source}} if source else {})}}
        sent = {name: _json_string(value) for name, value in fields.items()} if self.nested == "json" else fields
        return {"form": {**sent}, "files": [(self.footage, footage)]}

    def translate_job(self, body: object) -> dict[str, Any]:
        """A job of this kind of server with OpenAI's field names; one that finished without media is rejected."""
        row = dict(fields_of(body))
        for theirs, ours in self.answers.items():
            if row.get(ours) is None:
                row[ours] = row.get(theirs)
        if self.media and row.get("status") == "completed" and row.get(self.media) == []:
            message = "it finished without a video; the provider's filter removed it"
            row |= {"status": "failed", "error": row.get("error") or {"code": "moderation_blocked", "message": message}}
        row["content_url"] = next((url for name in self.content_urls if (url := _first_text(row.get(name)))), None)
        if self.cost:
            row["cost_usd"] = reduce(lambda part, name: fields_of(part).get(name), self.cost.split("."), body)
        return row


@lru_cache(maxsize=1)
def dialects() -> dict[str, Dialect]:
    """All dialects by name, read once."""
    tables = tomllib.loads(files("prefect_media.providers").joinpath("dialects.toml").read_text("utf-8"))["dialects"]
    by_name: dict[str, Dialect] = {}
    for name, own in tables.items():
        table: dict[str, Any] = {**tables[own["like"]], "note": "", **own} if "like" in own else {**own}
        table.pop("like", None)
        table["content_urls"] = tuple(table.get("content_urls", ()))
        table |= {"name": name, "known_by": KnownBy(**own.get("known_by", {}))}
        by_name[name] = Dialect(**table)
    return by_name


def get_dialect(name: str) -> Dialect:
    """A dialect by its name.

    Raises:
        errors.InvalidRequest: No table has that name.
    """
    if name not in dialects():
        raise InvalidRequest(f"dialect={name!r} is unknown; choose one of {', '.join(dialects())}")
    return dialects()[name]


def _first_text(value: object) -> str | None:
    """A text, or the first of a list of texts."""
    listed = cast(list[object], value) if isinstance(value, list) else [value]
    return listed[0] if listed and isinstance(listed[0], str) and listed[0] else None


def _fill_template(value: Any, data_url: str) -> Any:
    """A `reference_value` with the image in place of "{data_url}"."""
    if isinstance(value, str):
        return value.replace("{data_url}", data_url)
    if isinstance(value, Mapping):
        return {name: _fill_template(inner, data_url) for name, inner in cast(Mapping[str, Any], value).items()}
    return [_fill_template(inner, data_url) for inner in cast(list[Any], value)]


def _data_url(image: Upload) -> str:
    _, data, kind = image
    return f"data:{kind};base64,{b64encode(data).decode()}"


def _parse_fields(value: Any) -> Mapping[str, Any]:
    """The fields of an object, given as such or as a JSON string; empty for anything else."""
    try:
        return fields_of(json.loads(value) if isinstance(value, str) else value)
    except ValueError:
        return {}


def _json_string(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value
