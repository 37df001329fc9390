"""The error in the body of an answer, whatever its shape: OpenAI's object, FastAPI's `detail`, plain text, HTML.

Nothing in this file does any input or output.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from ..cleaning import LONGEST, Cleaner

MODERATION_CODES = {
    "moderation_blocked",
    "content_policy_violation",
    "contentFilter",
    "content_filter",
    "sentinel_block",
    "ResponsibleAIPolicyViolation",
}

LONGEST_MESSAGE = 100_000
"""Longest message, in characters, that is searched for the error of a provider behind a gateway."""

_OBJECT = re.compile(r"""\{\s*["']error["']""")


def error_fields(body: object, text: str, cleaner: Cleaner) -> Mapping[str, Any]:
    """The fields of an error, without secrets: `message`, `code` and the like, as far as the body has them.

    Args:
        body: The JSON body of the answer; None where it is not JSON.
        text: The body as text, where it is not a JSON object.
        cleaner: Removes the secrets that were sent with the request.
    """
    try:
        body = cleaner.json(body)
    except ValueError:
        body = None  # nested too deeply to be an error, and to be cleaned of secrets
    if isinstance(body, Mapping):
        row = cast(Mapping[str, Any], body)
        if isinstance(row.get("error"), Mapping):
            row = cast(Mapping[str, Any], row["error"])
        if "message" in row:
            return _unwrap(row)
        if detail := row.get("detail") or row.get("error"):
            return {**row, "message": detail if isinstance(detail, str) else json.dumps(detail)}
        return row
    text = re.sub(r"<[^<>]*>|\s+", " ", cleaner.excerpt(text, LONGEST)).strip()
    return {"message": text} if text else {}


def _unwrap(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The error of the provider, where a gateway (LiteLLM) put it into its own message or fields."""
    inside = _error_in(row["message"]) or row.get("provider_specific_fields")
    if not isinstance(inside, Mapping):
        return row
    return {**row, **{name: value for name, value in cast(Mapping[str, Any], inside).items() if value is not None}}


def _error_in(message: object) -> Mapping[str, Any] | None:
    """The `error` of an object that is part of a message, written as JSON or as a Python literal."""
    if not isinstance(message, str) or len(message) > LONGEST_MESSAGE or (start := _OBJECT.search(message)) is None:
        return None
    body: object = None
    try:
        body, _ = json.JSONDecoder().raw_decode(message, start.start())
    except (ValueError, RecursionError):
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            body = ast.literal_eval(message[start.start() : message.rfind("}") + 1])
    error = cast(Mapping[str, Any], body).get("error") if isinstance(body, Mapping) else None
    return cast(Mapping[str, Any], error) if isinstance(error, Mapping) else None


def moderation_details(fields: Mapping[str, Any], message: str, code: str | None) -> dict[str, Any] | None:
    """Stage and categories of a rejection by moderation; None where the error is another one."""
    inner = _row(fields.get("innererror") or fields.get("inner_error"))
    codes = {code, *(string_of(value) for value in (fields.get("type"), inner.get("code")))}
    if not codes & {*MODERATION_CODES, "image_generation_user_error"} and "ContentPolicyViolationError" not in message:
        return None
    details = _row(fields.get("moderation_details"))
    filters = _row(inner.get("content_filter_result") or inner.get("content_filter_results"))
    listed = details.get("categories")
    categories = [str(name) for name in cast(list[object], listed)] if isinstance(listed, list) else []
    categories = categories or [name for name, result in filters.items() if _row(result).get("filtered") is True]
    if not categories and (match := re.search(r"safety_violations=\[([^\]]*)\]", message)):
        categories = [word.strip() for word in match[1].split(",") if word.strip()]
    return {"stage": string_of(details.get("moderation_stage")), "categories": tuple(categories)}


def _row(value: object) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {}


def string_of(value: object) -> str | None:
    """A value as text; None stays None."""
    return None if value is None else str(value)
