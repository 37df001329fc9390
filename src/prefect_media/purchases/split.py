"""More images than a model makes at once: several purchases of one request, joined in order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..assets import Asset
from ..errors import MediaError
from ..requests import ImageEditRequest, ImageRequest


@dataclass(frozen=True, slots=True)
class Part:
    """One purchase of a request.

    Attributes:
        request: What to buy, with its share of the images.
        identity: What tells it from the other parts on the ledger; empty where there are no others.
    """

    request: ImageRequest | ImageEditRequest
    identity: dict[str, Any] = field(default_factory=dict[str, Any])


def split(request: ImageRequest | ImageEditRequest, most: int) -> list[Part]:
    """A request as purchases of at most `most` images each; the same ones every time."""
    if request.n <= most:
        return [Part(request)]
    counts = [min(most, request.n - start) for start in range(0, request.n, most)]
    return [
        Part(request.model_copy(update={"n": count}), {"part": number, "of": request.n})
        for number, count in enumerate(counts, 1)
    ]


async def join(purchases: Sequence[Coroutine[Any, Any, list[Asset]]]) -> list[Asset]:
    """The images of all purchases, in order; one that fails does not stop the others.

    Raises:
        errors.MediaError: What a purchase failed with, after all have ended; one that passes by itself goes before
            one that doesn't. What was made is on record, so the next run buys only what is missing.
    """
    if len(purchases) == 1:
        return await purchases[0]
    outcomes = await asyncio.gather(*purchases, return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assets = [asset for outcome in outcomes if not isinstance(outcome, BaseException) for asset in outcome]
    if not failures:
        return assets
    for failure in failures:
        if not isinstance(failure, MediaError):
            raise failure
    failed = [failure for failure in failures if isinstance(failure, MediaError)]
    worst = next((failure for failure in failed if failure.transient), failed[0])
    raise type(worst)(
        f"{len(failed)} of {len(purchases)} purchases failed, the first with: {worst.message}. The {len(assets)} "
        "images of the others are stored and on record; run the same again to buy only what is missing",
        **worst.details,
    ) from worst
