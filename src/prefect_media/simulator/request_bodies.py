"""Reading request bodies: JSON and multipart become the same fields."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message, Scope

from .api_errors import ApiError, bad_value, invalid, missing, unknown

_NESTED = re.compile(r"^(\w+)\[(\w*)\]$")
_LARGEST_PART = 64 * 2**20  # bytes; data URLs in form fields pass starlette's default of 1 MiB


@dataclass(frozen=True)
class Upload:
    """One file of a multipart body."""

    filename: str
    content_type: str
    data: bytes = field(repr=False)


async def read_fields(scope: Scope, raw: bytes) -> dict[str, Any] | None:
    """The body's fields by name, or None where there is no body or it can't be read."""

    async def replay() -> Message:
        return {"type": "http.request", "body": raw, "more_body": False}

    request = Request(scope, replay)
    kind = request.headers.get("content-type", "")
    if not raw:
        return None
    if kind.startswith(("multipart/form-data", "application/x-www-form-urlencoded")):
        try:
            return await _form(request)
        except Exception:  # starlette raises several kinds, all meaning a broken form
            return None
    try:
        parsed: object = json.loads(raw)
    except ValueError:
        return None
    return cast(dict[str, Any], parsed) if isinstance(parsed, dict) else None


async def _form(request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    async with request.form(max_part_size=_LARGEST_PART) as form:
        for name, part in form.multi_items():
            value: Any = part
            if isinstance(part, UploadFile):
                value = Upload(part.filename or "", part.content_type or "", await part.read())
            nested = _NESTED.match(name)
            if nested and nested[2]:  # a[b]=1
                fields.setdefault(nested[1], {})[nested[2]] = value
            elif nested:  # a[]=1
                fields.setdefault(nested[1], []).append(value)
            elif name in fields:  # a=1&a=2
                first = fields[name]
                fields[name] = [*cast(list[Any], first), value] if isinstance(first, list) else [first, value]
            else:
                fields[name] = value
    return fields


@dataclass(frozen=True)
class Body:
    """The fields of one request, read with the provider's complaints."""

    fields: dict[str, Any]

    @classmethod
    def of(cls, request: Request) -> "Body":
        fields: dict[str, Any] | None = request.state.fields
        if fields is None:
            raise ApiError(400, "We could not parse the body of your request.")
        return cls(fields)

    def get(self, name: str, default: Any = None) -> Any:
        """A field as it came; null counts as absent."""
        value = self.fields.get(name)
        return default if value is None else value

    def only(self, known: Collection[str]) -> None:
        """Refuse fields the model doesn't know."""
        for name in self.fields:
            if name not in known:
                raise unknown(name)

    def text(self, name: str, *, longest: int) -> str:
        """A required, non-empty text of at most `longest` characters."""
        value = self.fields.get(name)
        if value is None:
            raise missing(name)
        if not isinstance(value, str):
            raise invalid(name, f"Invalid type for '{name}': expected a string.", code="invalid_type")
        if not value:
            raise invalid(name, f"Invalid '{name}': empty string.", code="empty_string")
        if len(value) > longest:
            raise invalid(
                name,
                f"Invalid '{name}': string too long. Expected a string with maximum length {longest}, "
                f"but got a string with length {len(value)} instead.",
                code="string_above_max_length",
            )
        return value

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """A word out of `allowed`."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or value not in allowed:
            raise bad_value(name, value, sorted(allowed))
        return value

    def whole(self, name: str, lowest: int, highest: int, default: int) -> int:
        """A whole number; forms carry it as text."""
        value = self.fields.get(name)
        if value is None:
            return default
        if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise invalid(name, f"Invalid type for '{name}': expected an integer.", code="invalid_type")
        if value < lowest:
            message = f"Invalid '{name}': integer below minimum value. Expected a value >= {lowest}, got {value}."
            raise invalid(name, message, code="integer_below_min_value")
        if value > highest:
            message = f"Invalid '{name}': integer above maximum value. Expected a value <= {highest}, got {value}."
            raise invalid(name, message, code="integer_above_max_value")
        return value
