"""What each model can do, what it costs, and when it is gone: catalog.toml, read and looked things up in.

`check` is the way in for a request: it resolves the model's name and the aspect ratio, refuses a model that is
gone and everything `rules.py` knows can't work, and warns, once, of a model that is going.
"""

from __future__ import annotations

import logging
import tomllib
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from ..errors import InvalidRequest
from ..runtime import clock
from ..settings import settings
from ..user_input import brief_repr
from .sizes import FreeSizes

if TYPE_CHECKING:
    from ..requests import ImageOptions, VideoRequest

R = TypeVar("R", bound="ImageOptions | VideoRequest")
Logger = logging.Logger | logging.LoggerAdapter[Any]
Host = Literal["openai", "azure", "other"]
"""Whose servers these are: OpenAI's own, Azure's own, or anybody's who speaks the same protocol."""
Kind = Literal["image", "video"]
Status = Literal["alive", "retiring", "retired", "unknown"]

HOSTS: tuple[Host, ...] = ("openai", "azure", "other")
NEAR = 30
"""Warn this many days before retirement."""

RETIRING = 183
"""Days before the end of a model from which on it counts as retiring: providers name a date for every model."""

N_MAX = 10
"""Images in one purchase where the catalog knows no other number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What every row says of itself."""

    source: str
    checked: date
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRow(Row):
    """What is the same for all models of one host. Empty `formats` means: what the model has."""

    name: str
    formats: tuple[str, ...] = ()
    closed: bool = False
    default_quality: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Need(Row):
    """A field (or one value of it) that only works with certain output formats."""

    field: str
    value: str | None = None
    output_format: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(Row):
    """USD: tokens per million, images by size and quality, videos per second by size. None: unknown.

    `batch` is the part of it that the same costs in a batch.
    """

    name: str
    text_in: float | None = None
    text_cached: float | None = None
    image_in: float | None = None
    image_cached: float | None = None
    image_out: float | None = None
    text_out: float | None = None
    per_image: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    per_second: dict[str, float] | float | None = None
    batch: float = 0.5
    hosts: tuple[Host, ...] = HOSTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Family(Row):
    """The rules that models of one family share. An empty tuple means: the field is not taken."""

    name: str
    kind: Kind
    sizes: tuple[str, ...] = ()
    free_sizes: FreeSizes | None = None
    seconds: tuple[int, ...] = ()
    n_max: int = 1
    prompt_max: int = 32_000
    qualities: tuple[str, ...] = ()
    styles: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    preview_formats: tuple[str, ...] = ()
    moderations: tuple[str, ...] = ()
    fidelities: tuple[str, ...] = ()
    complexities: tuple[str, ...] = ()
    edit_images: int = 0
    markup: bool = False
    streams: bool = False
    safety_identifier: bool = False
    url_answers: bool = False
    gif_pixels: int | None = None
    refuses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(Row):
    """One model: its family, its price and its dates."""

    name: str
    family: Family
    price: Price | None = None
    retired: dict[Host, date] = field(default_factory=dict[Host, date])
    successor: str | None = None
    unseen: tuple[Host, ...] = ()

    def status(self, host: Host, today: date | None = None) -> Status:
        """How the model stands on a host; "retiring" when its end is less than half a year away."""
        end = self.retired.get(host)
        if end is None:
            return "unknown" if host in self.unseen else "alive"
        days = (end - (today or clock.today())).days
        if days <= 0:
            return "retired"
        return "retiring" if days < RETIRING else "alive"


@dataclass(frozen=True, slots=True)
class Catalog:
    """All of catalog.toml."""

    checked: date
    hosts: dict[Host, HostRow]
    needs: tuple[Need, ...]
    instead: dict[str, str]
    families: dict[str, Family]
    prices: dict[str, Price]
    models: dict[str, Model]


@lru_cache(maxsize=1)
def catalog() -> Catalog:
    """The catalog as shipped, read once."""
    data = tomllib.loads(files("prefect_media.catalog").joinpath("catalog.toml").read_text("utf-8"))
    prices = {name: _price(name, row) for name, row in data["prices"].items()}
    families: dict[str, Family] = {}
    for name, row in data["families"].items():
        values = _frozen(row)
        like = values.pop("like", None)
        families[name] = (
            replace(families[like], **{"name": name, "note": "", **values}) if like else Family(name=name, **values)
        )
    models: dict[str, Model] = {}
    for name, row in data["models"].items():
        values = _frozen(row)
        family, price = families[values.pop("family")], prices.get(values.pop("price", ""))
        models[name] = Model(name=name, family=family, price=price, **values)
    hosts = {name: HostRow(**_frozen(row)) for name, row in data["hosts"].items()}
    needs = tuple(Need(**_frozen(row)) for row in data["needs"])
    return Catalog(data["checked"], cast(dict[Host, HostRow], hosts), needs, data["instead"], families, prices, models)


def _frozen(row: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in row.items():
        values[name] = tuple(cast(list[Any], value)) if isinstance(value, list) else value
    if limits := row.get("free_sizes"):
        values["free_sizes"] = FreeSizes(**limits)
    return values


def _price(name: str, row: dict[str, Any]) -> Price:
    return Price(name=name, **_frozen(row))


@lru_cache(maxsize=8)
def own_prices(path: str) -> dict[str, Price]:
    """Prices of your own, by model name, from a TOML file with `[prices."MODEL"]` rows like the catalog's.

    Raises:
        errors.InvalidRequest: The file can't be read.
    """
    try:
        rows = tomllib.loads(Path(path).expanduser().read_text("utf-8"))["prices"]
        defaults = {"source": path, "checked": clock.today()}
        return {name: _price(name, {**defaults, **row}) for name, row in rows.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(
            f"PREFECT_MEDIA_PRICES={path} can't be read as a price list: {error!r}; it is a TOML file with rows such "
            'as [prices."my-model"] and per_second = 0.05 in it'
        ) from None


def price_of(model: str, host: Host, family: str | None = None) -> Price | None:
    """What a model costs on a host; None where that is not known.

    Args:
        model: Model or deployment; one the catalog doesn't know costs what the model does that `family` names.
        host: Whose servers it runs on.
        family: Name of a model or family of the catalog.
    """
    if (path := settings().prices) and (own := own_prices(path).get(plain_name(model))):
        return own
    entry = catalog().models.get(plain_name(model)) or catalog().models.get(family or "")
    price = entry.price if entry else catalog().prices.get(family or "")
    return price if price and host in price.hosts else None


def plain_name(model: str) -> str:
    """The model's name without an `openai/` prefix, where the rest is a model of the catalog."""
    rest = model.removeprefix("openai/")
    return rest if rest in catalog().models else model


def rules_of(name: str, kind: Kind, host: Host, family: str | None = None) -> Family | None:
    """The rules of a model; None where nobody told us.

    Raises:
        errors.InvalidRequest: The family is unknown, the model makes something else, or the host is known not to
            serve it.
    """
    data = catalog()
    model = data.models.get(name)
    rules = model.family if model else None
    if model is None and family is not None:
        family_model = data.models.get(family)
        rules = family_model.family if family_model else data.families.get(family)
        if rules is None:
            raise InvalidRequest(
                f"model_family={brief_repr(family)} is not in the catalog; it knows {', '.join(data.families)}; "
                "leave it out for a model of another kind; nothing was sent"
            )
    if rules is not None and rules.kind != kind:
        alive = [m.name for m in data.models.values() if m.family.kind == kind and m.status(host) != "retired"]
        others = ", ".join(alive) or "on other servers: give their base_url"
        raise InvalidRequest(
            f"model={brief_repr(name)} makes {rules.kind}s, not {kind}s; the models for {kind}s are {others}; "
            "nothing was sent"
        )
    if rules is None and data.hosts[host].closed and settings().validation == "strict":
        alive = [m.name for m in data.models.values() if m.family.kind == kind and host not in m.retired]
        names = ", ".join(alive) or "no video model since 2026-09-24"
        raise InvalidRequest(
            f"model={brief_repr(name)} is not a model of {data.hosts[host].name}; it serves {names}; nothing was sent; "
            "if it is newer than this package, set PREFECT_MEDIA_VALIDATION=warn"
        )
    return rules


def most_at_once(request: ImageOptions, host: Host, family: str | None = None) -> int:
    """How many images of a request one purchase can hold."""
    if request.output_format == "svg":
        return 1
    rules = rules_of(plain_name(request.model), "image", host, request.model_family or family)
    return rules.n_max if rules else N_MAX
