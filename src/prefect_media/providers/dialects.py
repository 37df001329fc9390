"""How each kind of server speaks the Videos API: dialects.toml, read and put to use.

`dialect_of` is the way in: what the credentials or the job say, else what the server gives away in its answer to
`GET /models`, which is free, asked once per process and server. In doubt it is OpenAI's.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache, reduce
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from ..errors import InvalidRequest, MediaError
from ..media.upload import Upload
from ..runtime.per_loop import shared
from .address import segment
from .wire import ask, beside, fields_of

if TYPE_CHECKING:
    from .connection import Connection

AUTO = "auto"
"""In place of a dialect's name: find out."""

Route = Literal["create", "look", "list", "content", "delete", "cancel", "remix", "edit", "extend"]
Method = Literal["get", "post", "delete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBy:
    """What tells a server from others; empty where nothing does."""

    host: str = ""
    owned_by: str = ""
    model_field: str = ""
    header: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One table of dialects.toml; the fields are explained there."""

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
    poll_hint: str = ""
    known_by: KnownBy = field(default_factory=KnownBy)

    def can(self, route: Route) -> bool:
        """Whether servers of this kind have an operation."""
        return route in self.routes

    def route(self, route: Route, job_id: str = "") -> tuple[Method, str]:
        """HTTP method and path of an operation.

        Raises:
            errors.InvalidRequest: Servers of this kind lack it (`unsupported` names it), or no job has that id.
        """
        if route not in self.routes:
            raise InvalidRequest(f"{self.title} can't {route} videos; nothing was sent", unsupported=route)
        method, _, path = self.routes[route].partition(" ")
        return cast(Method, method.lower()), path.replace("{id}", segment("job id", job_id)) if "{id}" in path else path

    def order(self, fields: Mapping[str, Any], extra: Mapping[str, Any], image: Upload | None) -> dict[str, Any]:
        """A new job as arguments of `wire.ask`: a JSON body, or a form with its files.

        Args:
            fields: prompt, model, seconds and size, as far as they are wanted.
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
            sent[self.reference] = _filled(self.reference_value, _data_url(image))
        sent |= beside({*sent, *(name for name, _ in uploads)}, extra)
        body = (self.body_with_reference or self.body) if image else self.body
        if body == "json":
            return {"json_body": sent}
        if self.nested == "json":
            sent = {name: _json_string(value) for name, value in sent.items()}
        return {"form": sent, "files": uploads}

    def refuse_several(self, extra: Mapping[str, Any]) -> None:
        """Refuse an order of several videos at once: all would be paid for, and one could be fetched.

        Raises:
            errors.InvalidRequest: One of the further fields asks for another number than one; nothing was sent.
        """
        for name, value in extra.items():
            if name in self.copies_within:
                self.refuse_several(_parsed(value))
            elif name in self.copies and value not in (None, 1, "1"):
                raise InvalidRequest(
                    f"extra has {name}={value!r}, and an order makes one video: leave it out, and make the others by "
                    "requests of their own with variant=1, variant=2, ... Nothing was sent"
                )

    def variation(self, fields: Mapping[str, Any], source: str | None, footage: Upload | None) -> dict[str, Any]:
        """A remix, edit or extension as arguments of `wire.ask`.

        Args:
            fields: What to do, extra fields included.
            source: The job whose video it starts from, where the path does not name it.
            footage: The video itself, in place of `source`.
        """
        if footage is None:
            return {"json_body": {**fields, **({"video": {"id": source}} if source else {})}}
        sent = {name: _json_string(value) for name, value in fields.items()} if self.nested == "json" else fields
        return {"form": {**sent}, "files": [(self.footage, footage)]}

    def understood(self, body: object) -> dict[str, Any]:
        """A job of this kind of server with OpenAI's field names; a finished one without media is a rejected one."""
        row = dict(fields_of(body))
        for theirs, ours in self.answers.items():
            if row.get(ours) is None:
                row[ours] = row.get(theirs)
        if self.media and row.get("status") == "completed" and row.get(self.media) == []:
            said = "it finished without a video, so the provider's filter took it out"
            row |= {"status": "failed", "error": row.get("error") or {"code": "moderation_blocked", "message": said}}
        row["content_url"] = next((url for name in self.content_urls if (url := _first(row.get(name)))), None)
        if self.cost:
            row["cost_usd"] = reduce(lambda part, name: fields_of(part).get(name), self.cost.split("."), body)
        return row


@lru_cache(maxsize=1)
def dialects() -> dict[str, Dialect]:
    """All dialects by name, read once."""
    tables = tomllib.loads(files("prefect_media.providers").joinpath("dialects.toml").read_text("utf-8"))["dialects"]
    found: dict[str, Dialect] = {}
    for name, own in tables.items():
        table: dict[str, Any] = {**tables[own["like"]], "note": "", **own} if "like" in own else {**own}
        table.pop("like", None)
        table["content_urls"] = tuple(table.get("content_urls", ()))
        table |= {"name": name, "known_by": KnownBy(**own.get("known_by", {}))}
        found[name] = Dialect(**table)
    return found


def dialect_named(name: str) -> Dialect:
    """A dialect by its name.

    Raises:
        errors.InvalidRequest: There is none of that name.
    """
    if name not in dialects():
        raise InvalidRequest(f"dialect={name!r} is not known; known are {', '.join(dialects())}")
    return dialects()[name]


async def taken_by(connection: Connection, extra: Mapping[str, Any]) -> Collection[str]:
    """The further fields of a request that the server takes whatever the catalog says of its model."""
    special = {name for dialect in dialects().values() for name in dialect.takes}
    if connection.catalog_host != "other" or special.isdisjoint(extra):
        return ()  # without a look at who is there
    return (await dialect_of(connection)).takes


_detected: dict[str, Dialect] = {}


async def dialect_of(connection: Connection) -> Dialect:
    """How the server of a connection speaks.

    A server that is not there, or fails, is not remembered: what it says is asked again the next time.
    """
    if connection.dialect != AUTO:
        return dialect_named(connection.dialect)
    if known := _known(connection):
        return known
    looking = shared("dialects being found out", dict[str, asyncio.Task[Dialect]])
    if (look := looking.get(connection.base_url)) is None:  # however many ask, the server is asked once
        look = looking[connection.base_url] = asyncio.create_task(_found_out(connection), context=Context())
        look.add_done_callback(lambda _: looking.pop(connection.base_url))
    return await asyncio.shield(look)


async def _found_out(connection: Connection) -> Dialect:
    try:
        answer = await ask(connection, "get", connection.url("/models"))
    except MediaError as error:
        found, sure = dialects()["openai"], error.status_code is not None and error.status_code < 500
    else:
        found, sure = _by_models(answer.body, answer.headers), True
    if sure:
        _detected[connection.base_url] = found
    return found


def spoken(connection: Connection) -> str:
    """Name of the dialect that requests of a connection have been made in; OpenAI's before there were any."""
    if connection.dialect != AUTO:
        return connection.dialect
    known = _known(connection)
    return known.name if known else "openai"


def _known(connection: Connection) -> Dialect | None:
    return _detected.get(connection.base_url) or _by_host(connection.base_url)


def _by_host(base_url: str) -> Dialect | None:
    host = f".{urlsplit(base_url).hostname or ''}"
    return next((d for d in dialects().values() if d.known_by.host and host.endswith(f".{d.known_by.host}")), None)


def _by_models(body: object, headers: Mapping[str, str]) -> Dialect:
    rows = fields_of(body).get("data")
    first = fields_of(cast(list[object], rows)[0] if isinstance(rows, list) and rows else None)
    for dialect in dialects().values():
        sign = dialect.known_by
        if sign.owned_by and str(first.get("owned_by", "")).startswith(sign.owned_by):
            return dialect
        if (sign.model_field and sign.model_field in first) or (sign.header and sign.header in headers):
            return dialect
    return dialects()["openai"]


def _first(value: object) -> str | None:
    """A text, or the first of a list of texts."""
    listed = cast(list[object], value) if isinstance(value, list) else [value]
    return listed[0] if listed and isinstance(listed[0], str) and listed[0] else None


def _filled(value: Any, data_url: str) -> Any:
    """A value of the table with the image put where it belongs."""
    if isinstance(value, str):
        return value.replace("{data_url}", data_url)
    if isinstance(value, Mapping):
        return {name: _filled(inner, data_url) for name, inner in cast(Mapping[str, Any], value).items()}
    return [_filled(inner, data_url) for inner in cast(list[Any], value)]


def _data_url(image: Upload) -> str:
    _, data, kind = image
    return f"data:{kind};base64,{b64encode(data).decode()}"


def _parsed(value: Any) -> Mapping[str, Any]:
    """A field that has fields, written as such or as a JSON string; nothing where it has none."""
    try:
        return fields_of(json.loads(value) if isinstance(value, str) else value)
    except ValueError:
        return {}


def _json_string(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value
