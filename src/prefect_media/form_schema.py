"""JSON schemas that Prefect's two generations of pages draw as short forms, and what such a form sends.

Both pages draw `anyOf` as tabs, one per entry, and an entry without properties as nothing: so tabs fold away what few
users need. Both draw null as the sentence 'Property is type "None"', so no schema here names it. Prefect's server
accepts null for a plain field that has no default; for any other, the tab "JSON" accepts it, and all else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any, cast

from .runtime import clock
from .user_input import brief_repr

Schema = dict[str, Any]

JSON_TAB: Schema = {"title": "JSON"}
"""A tab with an editor that takes anything, null included."""

SOON = timedelta(days=30)
"""A model that ends within this time is not suggested."""

CHOICES: dict[str, tuple[str, ...]] = {
    "quality": ("auto", "low", "medium", "high", "xhigh", "max"),
    "background": ("auto", "opaque", "transparent"),
    "output_format": ("png", "jpeg", "webp", "gif", "svg"),
    "complexity": ("low", "medium", "high"),
    "style": ("vivid", "natural"),
    "moderation": ("auto", "low"),
    "input_fidelity": ("low", "high"),
}
"""What the form offers for fields that take any text, since other servers have other words."""

LAST = ("model_family", "variant", "extra")
"""What the fewest users need stands at the end."""


def empty_tab(title: str) -> Schema:
    """A tab with nothing in it: shown first, it folds the other tabs away."""
    return {"title": title, "type": "object", "properties": {}, "maxProperties": 0}


def block_picker(title: str, slug: str) -> Schema:
    """A list of the saved blocks of one type. The classic pages know the type of a tab by a name of their own."""
    return {"title": title, "type": "object", "properties": {}, "block_type_slug": slug, "blockTypeSlug": slug}


def simplify(schema: Schema) -> None:
    """Make the schema of an object a form without nulls, and without its example in Python. Changes it in place."""
    schema["description"] = schema.get("description", "").partition("\n\n")[0]
    fields = cast(Mapping[str, Schema], schema["properties"])
    schema["properties"] = _in_order({name: _plain(field) for name, field in fields.items()})


def fold(schema: Schema, first: Iterable[str], models: str | None) -> None:
    """Make the schema of a request a short form: the fields that matter first, the others under `options`.

    Requests take every field flat, too; the schema says nothing of that, and does not forbid it.

    Args:
        schema: The schema of the request; changed in place.
        first: Names of the fields that are not folded away, in order.
        models: What its models make, "image" or "video", for suggestions.
    """
    simplify(schema)
    fields = cast(dict[str, Schema], schema["properties"])
    for name, choices in CHOICES.items():
        if name in fields:
            fields[name]["enum"] = list(choices)
    if "model" in fields and models and (names := suggested_models(models)):
        text = {name: fields["model"].pop(name) for name in ("type", "minLength")}
        fields["model"]["anyOf"] = [{"title": "Any name", **text}, {"title": "Suggestions", **text, "enum": names}]
    shown = {name: fields.pop(name) for name in first}
    fields |= {name: fields.pop(name) for name in LAST if name in fields}
    for field in fields.values():
        field.pop("default", None)  # or opening the tab would fill all of them in
    words = ", ".join(name.replace("_", " ") for name in fields)
    for name, field in shown.items():
        if "enum" in field and name not in schema["required"]:
            choice = {word: field.pop(word) for word in ("type", "enum")}
            field["anyOf"] = [{"title": "Choose", **choice}, {**JSON_TAB, "not": {"type": "string"}}]  # null is allowed
    shown["options"] = {
        "title": "Options",
        "description": f"Rarely needed: {words}.",
        "anyOf": [empty_tab("As usual"), {"title": "Choose", "type": "object", "properties": _in_order(fields)}],
    }
    schema["properties"] = _in_order(shown)
    schema.pop("additionalProperties", None)


def unfold(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request with those of its `options` beside them; these count where a field is given twice."""
    if "options" not in fields:
        return fields
    options: Any = fields["options"] or {}
    if not isinstance(options, dict):
        raise ValueError(f"options={brief_repr(options)} is not an object; pass fields of the request in it")
    return {name: value for name, value in fields.items() if name != "options"} | cast(dict[str, Any], options)


def _in_order(fields: Mapping[str, Schema]) -> dict[str, Schema]:
    """Fields with their positions: a database may keep the keys of an object in another order."""
    return {name: {**field, "position": position} for position, (name, field) in enumerate(fields.items())}


def _plain(field: Schema) -> Schema:
    """The schema of one field without null, and with an editor in place of a model of ours."""
    plain = {name: value for name, value in field.items() if name != "anyOf"}
    branches = [branch for branch in field.get("anyOf", ()) if branch != {"type": "null"}]
    texts = [branch for branch in branches if "$ref" not in branch]
    if len(texts) < len(branches):
        texts = [*({"title": "Text", **text} for text in texts), {"title": "JSON", "type": "object"}]
    if "items" in plain:
        plain["items"] = _plain(plain["items"])
    if "const" in plain:
        plain["enum"] = [plain.pop("const")]  # or the pages draw a text that could be edited
    if plain.get("default", ...) is None:
        del plain["default"]
    if len(texts) == 1:
        return {**texts[0], **plain}
    return {**plain, "anyOf": texts} if texts else plain


def suggested_models(kind: str) -> list[str]:
    """Models of the catalog that go on for a while at a host of their own, the newest first.

    Args:
        kind: What they make, "image" or "video".
    """
    horizon = clock.today() + SOON
    return [
        name
        for name, made, hosts in reversed(_models())
        if made == kind and any(end is None or end > horizon for end in hosts)
    ]


@lru_cache(maxsize=1)
def _models() -> tuple[tuple[str, str, tuple[date | None, ...]], ...]:
    """Each model of the catalog, what it makes, and when it ends at each host that has it."""
    data = tomllib.loads(files("prefect_media.catalog").joinpath("catalog.toml").read_text("utf-8"))

    def kind(family: str) -> str:
        row = data["families"][family]
        return kind(row["like"]) if "like" in row else row["kind"]

    return tuple(
        (
            name,
            kind(row["family"]),
            tuple(
                row.get("retired", {}).get(host) for host in ("openai", "azure") if host not in row.get("unseen", ())
            ),
        )
        for name, row in data["models"].items()
    )
