"""The model of a request, looked up once: what a purchase needs to know of it goes along as one object."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelRetired
from ..requests import ImageEditRequest, ImageRequest, VideoRequest, VideoVariation
from .check import check, resolve
from .data import Host, Logger, R, most_at_once
from .prices import Quote, batch_price, of_images, of_video, quote, quote_in_batch

_default_logger = logging.getLogger("prefect_media")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model on the host that a request goes to.

    Attributes:
        name: Model or deployment; empty for a variation of a video, which names none.
        host: Whose servers it runs on.
        family: The family whose rules and prices apply to a name that the catalog does not know.
        retired: Why nothing can be bought from it any more; None while it can.
    """

    name: str
    host: Host
    family: str | None = None
    retired: ModelRetired | None = None

    def most_images(self, request: ImageRequest | ImageEditRequest) -> int:
        """How many images of a request one purchase can hold."""
        return most_at_once(request, self.host, self.family)

    def quote(self, request: ImageRequest | ImageEditRequest | VideoRequest | VideoVariation) -> Quote:
        """What a request will cost, and on what basis."""
        return quote(request, self.host, self.family)

    def quote_in_batch(self, request: ImageRequest) -> Quote:
        """What a request will cost in a batch, and on what basis."""
        return quote_in_batch(request, self.host, self.family)

    def cost_of_images(self, usage: Mapping[str, Any] | None) -> float | None:
        """What images did cost, in USD, by the tokens that the provider counted; None where that is unknown."""
        return of_images(self.name, self.host, usage, self.family)

    def cost_in_batch(self, usd: float | None) -> float | None:
        """What something costs in a batch, in USD, by what it costs alone."""
        return batch_price(usd, self.name, self.host, self.family)

    def cost_of_video(self, seconds: float | None, size: str | None) -> float | None:
        """What a video of this length and size costs, in USD; None where that is unknown."""
        return of_video(self.name, self.host, seconds, size, family=self.family)


def look_up(
    request: R,
    host: Host,
    *,
    family: str | None = None,
    partial_images: int = 0,
    taken: Collection[str] = (),
    logger: Logger = _default_logger,
) -> tuple[R, ModelEntry]:
    """Check a request against the catalog, and return it as it can be sent, with its model.

    A retired model is no error yet, because what was bought from it before can still be fetched: see
    `ModelEntry.retired`. Arguments are those of `check`.

    Raises:
        errors.InvalidRequest: The request can't work; all complaints in one message.
    """
    retired: ModelRetired | None = None
    try:
        checked = check(request, host, family=family, partial_images=partial_images, taken=taken, logger=logger)
    except ModelRetired as refusal:
        checked, retired = resolve(request, host, family=family), refusal
    return checked, ModelEntry(checked.model, host, request.model_family or family, retired)
