"""What was made, on pages of Prefect: a grid of pictures with their prompts and costs. It can't fail a paid step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from prefect import get_client
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.schemas.actions import ArtifactUpdate

from prefect_media.assets import Asset
from prefect_media.errors import InvalidRequest
from prefect_media.runtime.sync import run_sync
from prefect_media.settings import settings

from .context import a_kind
from .current_run import in_run, run_logger
from .gallery_page import LINKS, ON_A_PAGE, page, summary
from .generation import Generation
from .markup import markdown
from .shots import Shot, failed_shot, known_origin_of, origin_of, shot_of


async def ashow_gallery(
    shown: Asset | Generation | Iterable[Asset | Generation],
    *,
    title: str = "Gallery",
    key: str = "media-gallery",
    links: timedelta = LINKS,
) -> None:
    """Leave a page in Prefect with a card for everything that was made, and for what failed.

    A card has a picture, the prompt, model, size, length, cost and time; a click opens the image or video. What was
    made from one another stands in one row. There are 24 cards on a page, and pages link to each other. Nothing is
    raised when it can't be shown, only logged; outside of a flow run nothing happens.

    Example:
        ```python
        await ashow_gallery(manifest.assets, title="Autumn campaign", key="autumn")
        ```

    Args:
        shown: What to show, in order: assets, and what `agather` gave, failures included.
        title: Heading of the page.
        key: The artifact's key: lower-case letters, digits and dashes; equal keys become versions of one artifact.
        links: How long signed links work, 7 days at most. Links of a store with a `public_url_base` do not expire.

    Raises:
        errors.InvalidRequest: `shown` is something else.
    """
    await leave_gallery(shown, title=title, key=key, links=links)


async def leave_gallery(
    shown: Asset | Generation | Iterable[Asset | Generation],
    *,
    title: str,
    key: str,
    links: timedelta = LINKS,
    note: str = "",
) -> None:
    """The same, with a note in markdown below the heading of the first page."""
    given = [shown] if isinstance(shown, Asset | Generation) else list(shown)
    if wrong := [each for each in given if not isinstance(each, Asset | Generation)]:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"a gallery can't show {a_kind(wrong[0])}; pass assets, or what agather gave")
    if not in_run():
        run_logger().debug("The gallery is not shown: no flow run is going on here")
        return
    try:
        await _show(await _shots_of(given), title, key, links, note)
    except Exception as error:  # what it shows is paid for and stored, shown or not
        run_logger().warning("The gallery could not be shown: %s", error)


def show_gallery(
    shown: Asset | Generation | Iterable[Asset | Generation],
    *,
    title: str = "Gallery",
    key: str = "media-gallery",
    links: timedelta = LINKS,
) -> None:
    """The sync form of `ashow_gallery`. Also works where an event loop runs, which it blocks meanwhile."""
    run_sync(ashow_gallery(shown, title=title, key=key, links=links))


async def _show(shots: Sequence[Shot], title: str, key: str, links: timedelta, note: str) -> None:
    """Make one artifact per page, the last one first, so that each links to those after it; then link the first."""
    pages = [shots[start : start + ON_A_PAGE] for start in range(0, len(shots), ON_A_PAGE)] or [[]]
    first: UUID | None = None
    if len(pages) > 1:
        first = await acreate_markdown_artifact(f"# {markdown(title, 200)}", key=key, description=markdown(title, 200))
    ids: dict[int, UUID] = {0: first} if first else {}
    for number in reversed(range(1, len(pages))):
        heading = f"{title}, page {number + 1} of {len(pages)}"
        others = _links_between(number, len(pages), ids)
        text = await page(pages[number], heading, links, others, first=number * ON_A_PAGE + 1)
        ids[number] = await acreate_markdown_artifact(
            text, key=f"{key}-{number + 1}", description=markdown(heading, 200)
        )
    facts = "\n\n".join(filter(None, (note, summary(shots))))
    text = await page(pages[0], title, links, _links_between(0, len(pages), ids), facts=facts)
    if first is None:
        await acreate_markdown_artifact(text, key=key, description=markdown(title, 200))
        return
    async with get_client() as client:
        await client.update_artifact(first, ArtifactUpdate(data=text))


def _links_between(number: int, pages: int, ids: dict[int, UUID]) -> str:
    """Links to the other pages, as far as they exist; relative, so they work wherever Prefect is served."""
    if pages == 1:
        return ""
    links = [
        f"**{each + 1}**" if each == number else f"[{each + 1}](../artifact/{ids[each]})"
        for each in range(pages)
        if each == number or each in ids
    ]
    return "Page " + " ".join(links)


async def _shots_of(given: Sequence[Asset | Generation]) -> list[Shot]:
    turns = asyncio.Semaphore(settings().max_transfers)

    async def shots(each: Asset | Generation) -> list[Shot]:
        if isinstance(each, Asset):
            async with turns:
                return [await shot_of(each)]
        origin, model = origin_of(each.request), getattr(each.request, "model", None)
        made = [Shot(known_origin_of(asset) or origin, asset, model) for asset in each.assets]
        return [*made, failed_shot(origin, model, each.error)] if each.error is not None else made

    lists = await asyncio.gather(*map(shots, given))
    return [shot for several in lists for shot in several]
