"""What each model can do, and when it is gone. The facts are in catalog.toml; here they are applied.

A model the catalog doesn't know (an Azure deployment's own name, a model of another server) passes with the
checks that hold everywhere; only a host whose models are all known refuses an unknown name.
"""

import logging
import re
import tomllib
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib.resources import files
from math import sqrt
from typing import Any, Literal, cast

from .errors import InvalidRequest, ModelRetired
from .requests import ImageRequest, VideoRequest
from .settings import settings

logger = logging.getLogger(__name__)

Host = Literal["openai", "azure", "other"]
"""Whose servers these are: OpenAI's own, Azure's own, or anybody's who speaks the same protocol."""

VIDEO_ONLY_EXTRAS = ("seed", "negative_prompt", "generate_audio")
"""Fields that other video models know and no model of this catalog takes."""

GENERIC_SIZES = ["1280x720", "720x1280", "1024x1024", "1280x800", "800x1280"]
"""What an aspect ratio means for a model the catalog doesn't know."""


@dataclass(frozen=True, slots=True)
class FreeSizes:
    """Any WIDTHxHEIGHT within these limits, in pixels."""

    multiple: int
    min_ratio: float
    max_ratio: float
    min_pixels: int
    max_pixels: int
    max_edge: int

    def complaint(self, width: int, height: int) -> str | None:
        """Why this size is not possible, or None."""
        if width % self.multiple or height % self.multiple:
            return f"both edges must be multiples of {self.multiple}"
        if max(width, height) > self.max_edge:
            return f"no edge may be longer than {self.max_edge}"
        if not self.min_ratio <= width / height <= self.max_ratio:
            return "the ratio must lie between 1:3 and 3:1"
        if not self.min_pixels <= width * height <= self.max_pixels:
            return f"the area must lie between {self.min_pixels:,} and {self.max_pixels:,} pixels"
        return None

    def best(self, ratio: float) -> str:
        """The size of about one megapixel that comes closest to `ratio` (width / height)."""
        height = round(sqrt(1024 * 1024 / ratio) / self.multiple) * self.multiple
        candidates = [
            (w, h)
            for h in range(height - 8 * self.multiple, height + 9 * self.multiple, self.multiple)
            for w in (round(h * ratio / self.multiple) * self.multiple,)
            if self.complaint(w, h) is None
        ]
        width, height = min(candidates, key=lambda wh: (abs(wh[0] / wh[1] - ratio), abs(wh[1] - height)))
        return f"{width}x{height}"


@dataclass(frozen=True, slots=True)
class Family:
    """The rules that models of one family share. An empty tuple means: the field is not taken."""

    name: str
    kind: Literal["image", "video"]
    source: str
    sizes: tuple[str, ...] = ()
    free_sizes: FreeSizes | None = None
    seconds: tuple[int, ...] = ()
    n_max: int = 1
    qualities: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    moderations: tuple[str, ...] = ()
    url_answers: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """One model: its family and its dates."""

    name: str
    family: Family
    retired: dict[Host, date]
    successor: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """All of catalog.toml."""

    checked: date
    families: dict[str, Family]
    models: dict[str, Model]


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    """The catalog as shipped, read once."""
    data = tomllib.loads(files("prefect_media").joinpath("catalog.toml").read_text("utf-8"))
    families = {name: _family(name, row) for name, row in data["families"].items()}
    models = {
        name: Model(name, families[row["family"]], row.get("retired", {}), row.get("successor"), row["source"])
        for name, row in data["models"].items()
    }
    return Catalog(data["checked"], families, models)


def _family(name: str, row: dict[str, Any]) -> Family:
    fields: dict[str, Any] = {}
    for field, value in row.items():
        if field == "free_sizes":
            fields[field] = FreeSizes(**value)
        else:
            fields[field] = tuple(cast(list[Any], value)) if isinstance(value, list) else value
    return Family(name=name, **fields)


def plain_name(model: str) -> str:
    """The model's name without an `openai/` prefix, where the rest is a model of the catalog."""
    rest = model.removeprefix("openai/")
    return rest if rest in catalog().models else model


def check(
    request: ImageRequest | VideoRequest, host: Host, *, family: str | None = None, today: date | None = None
) -> ImageRequest | VideoRequest:
    """The request as it can be sent: model name and aspect ratio resolved, everything within the rules.

    Args:
        request: What is wanted.
        host: Whose servers it goes to; models retire at different dates on different hosts.
        family: The family whose rules apply, for a model name the catalog doesn't know.
        today: The date to check against; today's by default.

    Raises:
        errors.ModelRetired: The model is gone on this host.
        errors.InvalidRequest: Everything else that can't work, all complaints in one message.
    """
    name = plain_name(request.model)
    model = catalog().models.get(name)
    if model is not None:
        _check_alive(model, host, today or date.today())
    rules = _rules(request, name, model, host, family)
    complaints = _complaints(request, name, rules)
    if complaints:
        message = "; ".join(complaints)
        if settings().validation == "strict":
            raise InvalidRequest(
                f"{message}. Nothing was sent. If the model has learned more since {catalog().checked}, "
                "set PREFECT_MEDIA_VALIDATION=warn"
            )
        if settings().validation == "warn":
            logger.warning("The catalog says this can't work, sent all the same: %s", message)
    changes: dict[str, Any] = {"model": name}
    if request.aspect_ratio and not request.size:
        changes |= {"size": _size_for(request.aspect_ratio, rules), "aspect_ratio": None}
    return request.model_copy(update=changes)


def _check_alive(model: Model, host: Host, today: date) -> None:
    gone = model.retired.get(host)
    if gone is None or today < gone:
        return
    where = {"openai": "at api.openai.com", "azure": "on Azure", "other": "here"}[host]
    instead = (
        f"use {model.successor} instead"
        if model.successor
        else "it has no successor there; point base_url at a server that speaks the OpenAI Videos API "
        "(vLLM-Omni, SGLang, LiteLLM, ...)"
    )
    raise ModelRetired(
        f"{model.name} was switched off {where} on {gone}; {instead}. Nothing was sent",
        date=gone.isoformat(),
        successor=model.successor,
    )


def _rules(
    request: ImageRequest | VideoRequest, name: str, model: Model | None, host: Host, family: str | None
) -> Family | None:
    kind = "image" if isinstance(request, ImageRequest) else "video"
    if model is None and family is not None:
        if family not in catalog().families:
            raise InvalidRequest(
                f"model_family={family!r} is not in the catalog; it knows {', '.join(catalog().families)}"
            )
        rules = catalog().families[family]
    else:
        rules = model.family if model else None
    if rules is not None and rules.kind != kind:
        raise InvalidRequest(f"{name} makes {rules.kind}s, not {kind}s. Nothing was sent")
    if rules is None and host == "openai" and settings().validation == "strict":
        alive = [m.name for m in catalog().models.values() if m.family.kind == kind and "openai" not in m.retired]
        known = ", ".join(alive) or "no video model since 2026-09-24"
        raise InvalidRequest(
            f"model={request.model!r} is not a model of api.openai.com; it serves {known}. Nothing was sent. "
            "If it is newer than this package, set PREFECT_MEDIA_VALIDATION=warn"
        )
    return rules


def _complaints(request: ImageRequest | VideoRequest, name: str, rules: Family | None) -> list[str]:
    said: list[str] = []
    if request.size and request.aspect_ratio:
        said.append(f"size={request.size!r} and aspect_ratio={request.aspect_ratio!r} exclude each other; give one")
    if rules is None:
        return said

    if complaint := _size_complaint(request.size, rules):
        said.append(f"{name} can't make size={request.size!r}: {complaint}")
    for field in VIDEO_ONLY_EXTRAS:
        if field in request.extra:
            said.append(f"{name} does not take {field} (given: {request.extra[field]!r}); leave it out")

    if isinstance(request, VideoRequest):
        if request.seconds is not None and request.seconds not in rules.seconds:
            said.append(f"{name} can't make seconds={request.seconds}; possible are {_listed(rules.seconds)}")
        return said

    if request.n > rules.n_max:
        said.append(f"{name} can't make n={request.n} images at once; possible are 1 to {rules.n_max}")
    choices = {
        "quality": rules.qualities,
        "style": rules.styles,
        "background": rules.backgrounds,
        "output_format": rules.formats,
        "moderation": rules.moderations,
    }
    for field, allowed in choices.items():
        value = getattr(request, field)
        if value is None or value in allowed:
            continue
        if allowed:
            said.append(f"{name} can't make {field}={value!r}; possible are {_listed(allowed)}")
        else:
            said.append(f"{name} does not take {field} (given: {value!r}); leave it out")
    output_format = request.output_format or "png"
    if request.output_compression is not None and output_format not in ("jpeg", "webp"):
        said.append(
            f"output_compression={request.output_compression} needs output_format jpeg or webp, not {output_format}"
        )
    if request.background == "transparent" and output_format == "jpeg":
        said.append("background='transparent' needs output_format png or webp, not jpeg")
    return said


def _size_complaint(size: str | None, rules: Family) -> str | None:
    if size is None or size in rules.sizes:
        return None
    if rules.free_sizes and (match := re.fullmatch(r"(\d+)x(\d+)", size)):
        width, height = int(match[1]), int(match[2])
        return rules.free_sizes.complaint(width, height) if width and height else "an edge is 0"
    return f"possible are {_listed(rules.sizes)}"


def _size_for(aspect_ratio: str, rules: Family | None) -> str:
    across, down = (int(part) for part in aspect_ratio.split(":"))
    ratio = across / down
    if rules and rules.free_sizes:
        return rules.free_sizes.best(ratio)
    sizes = [size for size in (rules.sizes if rules else GENERIC_SIZES) if size != "auto"]
    return min(sizes, key=lambda size: abs(_ratio(size) - ratio))


def _ratio(size: str) -> float:
    width, height = (int(part) for part in size.split("x"))
    return width / height


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(str(value) for value in values)
