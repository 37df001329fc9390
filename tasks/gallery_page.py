"""One page of a gallery as markdown: bounded in size, whatever is on it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from prefect_media.settings import settings

from .cards import Picture, cards, picture_of
from .markup import markdown
from .shots import LONGEST_PROMPT, Shot

ON_A_PAGE = 24
"""Cards on one page; with their pictures some 500 KB."""

LINKS = timedelta(days=7)
"""How long signed links work: S3 allows no longer."""

LARGEST_PAGE = 1_900_000
"""Bytes of a page; pictures that would not fit are left out."""


async def page(
    shots: Sequence[Shot], heading: str, links: timedelta, others: str = "", *, facts: str = "", first: int = 1
) -> str:
    """One page of a gallery as markdown, smaller than the largest that is possible.

    Args:
        shots: What is on it.
        heading: Its heading.
        links: How long signed links work.
        others: Links to the other pages.
        facts: What stands below the heading.
        first: Number of its first card.
    """
    drawn = await draw(shots, links)
    grid = fit_cards(shots, drawn, first) if shots else "Nothing was made."
    return "\n\n".join(filter(None, (f"# {markdown(heading, 200)}", facts, others, grid, others)))


async def draw(shots: Sequence[Shot], links: timedelta) -> list[Picture]:
    """The picture and the link of each shot, a few at a time."""
    turns = asyncio.Semaphore(settings().max_transfers)

    async def picture(shot: Shot) -> Picture:
        async with turns:
            return await picture_of(shot, links)

    return list(await asyncio.gather(*map(picture, shots)))


def fit_cards(shots: Sequence[Shot], pictures: Sequence[Picture], first: int = 1) -> str:
    """The cards of shots; pictures that would make the page too large are left out."""
    room = LARGEST_PAGE - sum(6 * min(len(shot.origin.prompt or ""), LONGEST_PROMPT) + 4_000 for shot in shots)
    fitting = list(pictures)
    for index, each in enumerate(fitting):
        room -= len(each.poster)
        if room < 0:
            fitting[index] = Picture(link=each.link)
    return cards(list(zip(shots, fitting, strict=True)), first)


def summary(shots: Sequence[Shot]) -> str:
    """What a gallery amounts to, in one line of markdown."""
    assets = [shot.asset for shot in shots if shot.asset]
    images = sum(asset.kind == "image" for asset in assets)
    films = len(assets) - images
    rejected = sum(shot.rejected for shot in shots)
    failed = len(shots) - len(assets) - rejected
    costs = [asset.source.cost_usd for asset in assets if asset.source]
    known_costs = [cost for cost in costs if cost is not None]
    unknown = f", and {len(assets) - len(known_costs)} without a known price" if len(known_costs) < len(assets) else ""
    counts = [
        _count(images, "image"),
        _count(films, "video"),
        f"{failed} failed" if failed else "",
        f"{rejected} rejected" if rejected else "",
        f"{sum(known_costs):.2f} USD{unknown}" if known_costs else "",
    ]
    return " · ".join(filter(None, counts))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}" if number else ""
