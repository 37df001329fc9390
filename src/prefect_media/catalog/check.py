"""Whether a model can make what a request asks for: checked free of charge, with every complaint at once."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from datetime import date
from typing import Any

from ..errors import InvalidRequest
from ..requests import VideoRequest
from ..runtime import clock
from ..settings import settings
from .data import Family, Host, Kind, Logger, R, catalog, plain_name, rules_of
from .retirements import refuse_retired
from .rules import complaints, size_for

_default_logger = logging.getLogger("prefect_media")


def check(
    request: R,
    host: Host,
    *,
    family: str | None = None,
    partial_images: int = 0,
    taken: Collection[str] = (),
    today: date | None = None,
    logger: Logger = _default_logger,
) -> R:
    """The request as it can be sent: model name and aspect ratio resolved, everything within the rules.

    Args:
        request: What is wanted.
        host: Whose servers it goes to; models retire at different dates on different hosts.
        family: The family whose rules apply, for a model name the catalog doesn't know; the request's own wins.
        partial_images: How many previews are wanted while an image is made.
        taken: Further fields that the server takes, whatever its models are known to refuse.
        today: The date to check against; today's by default.
        logger: Where to warn.

    Raises:
        errors.ModelRetired: The model is gone on this host.
        errors.InvalidRequest: Everything else that can't work, all complaints in one message.
    """

    name = plain_name(request.model)
    if model := catalog().models.get(name):
        refuse_retired(model, host, today or clock.today(), logger)
    kind: Kind = "video" if isinstance(request, VideoRequest) else "image"
    family = request.model_family or family
    rules = rules_of(name, kind, host, family)
    if rules and taken:
        rules = replace(rules, refuses=tuple(field for field in rules.refuses if field not in taken))
    if faults := complaints(request, name, rules, host, partial_images):
        message = "; ".join(faults)
        if settings().validation == "strict":
            raise InvalidRequest(
                f"{message}; nothing was sent; if the model can do more since {catalog().checked}, "
                "set PREFECT_MEDIA_VALIDATION=warn"
            )
        if settings().validation == "warn":
            logger.warning("The catalog says this can't work; sent anyway: %s", message)
    return _resolve(request, name, rules)


def resolve(request: R, host: Host, *, family: str | None = None) -> R:
    """The request as it would be sent, whether or not it could be: what it was called when it was bought."""

    name = plain_name(request.model)
    kind: Kind = "video" if isinstance(request, VideoRequest) else "image"
    return _resolve(request, name, rules_of(name, kind, host, request.model_family or family))


def _resolve(request: R, name: str, rules: Family | None) -> R:

    changes: dict[str, Any] = {"model": name}
    if request.aspect_ratio and not request.size:
        changes |= {"size": size_for(request.aspect_ratio, rules), "aspect_ratio": None}
    return request.model_copy(update=changes)
