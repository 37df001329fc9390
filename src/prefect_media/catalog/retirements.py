"""Which models are going away, by the catalog and by what the server itself says. No input or output here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from ..errors import ModelRetired
from ..runtime import clock
from .data import NEAR, Host, Logger, Model, catalog, plain_name

What = Literal["gone", "going", "unlisted", "date differs"]

_warned: set[tuple[str, Host]] = set()


@dataclass(frozen=True, slots=True)
class Ending:
    """Something to know about a model.

    Attributes:
        model: Its name.
        what: "gone" and "going" are of models in use, as is "unlisted" (the server no longer lists it);
            "date differs" is of any model: the server has another date than the catalog.
        ends: The day it stops working, the server's word before the catalog's.
        in_catalog: The catalog's date.
        at_server: The server's date.
        successor: What to use instead, where the catalog knows.
    """

    model: str
    what: What
    ends: date | None
    in_catalog: date | None
    at_server: date | None
    successor: str | None

    @property
    def sentence(self) -> str:
        """The same for people."""
        instead = f"; move to {self.successor}" if self.successor else ""
        match self.what:
            case "gone":
                return f"{self.model} was switched off on {self.ends}{instead}"
            case "going":
                return f"{self.model} will be switched off on {self.ends}{instead}"
            case "unlisted":
                return f"{self.model} is in use, but the server no longer lists it{instead}"
            case "date differs":
                known = self.in_catalog or "no date"
                return f"{self.model} ends on {self.at_server} by the server, the catalog has {known}"


def endings(
    used: Collection[str], live: Mapping[str, date | None], host: Host, *, today: date | None = None, near: int = NEAR
) -> list[Ending]:
    """What there is to know, the most urgent first.

    Args:
        used: Models in use.
        live: The server's models with their dates; a model without a date is said nothing of.
        host: Whose server it is; others mostly pass OpenAI's models on, and so its dates hold for them.
        today: The date to reckon from.
        near: Days before its end from which on a model in use is "going".
    """
    today = today or clock.today()
    rows: list[Ending] = []
    for name in sorted({*map(plain_name, used), *live}):
        model = catalog().models.get(name)
        planned = model.retired.get("openai" if host == "other" else host) if model else None
        announced, successor = live.get(name), model.successor if model else None
        end = announced or planned
        in_use = name in {plain_name(each) for each in used}

        what: list[What] = []
        if in_use and end and end <= today:
            what.append("gone")
        elif in_use and end and (end - today).days <= near:
            what.append("going")
        elif in_use and live and name not in live:
            what.append("unlisted")
        if announced and announced != planned and model:
            what.append("date differs")
        rows += [Ending(name, each, end, planned, announced, successor) for each in what]
    order: list[What] = ["gone", "going", "unlisted", "date differs"]
    return sorted(rows, key=lambda each: (order.index(each.what), each.ends or date.max, each.model))


def refuse_retired(model: Model, host: Host, today: date, logger: Logger) -> None:
    """Refuse a model that is gone; of one that goes soon the log tells, once per process.

    Raises:
        errors.ModelRetired: It is gone on this host.
    """
    end = model.retired.get(host)
    if end is None:
        return
    where = {"openai": "at api.openai.com", "azure": "on Azure", "other": "here"}[host]
    if today < end:
        if (end - today).days <= NEAR and (model.name, host) not in _warned:
            _warned.add((model.name, host))
            instead = f"move to {model.successor}" if model.successor else "it has no successor there"
            logger.warning("%s will be switched off %s on %s; %s", model.name, where, end, instead)
        return
    instead = (
        f"use {model.successor} instead"
        if model.successor
        else "it has no successor there; point base_url at a server that speaks the OpenAI Videos API "
        "(vLLM-Omni, SGLang, LiteLLM, ...)"
    )
    raise ModelRetired(
        f"{model.name} was switched off {where} on {end}; {instead}; nothing was sent",
        date=end.isoformat(),
        successor=model.successor,
    )
