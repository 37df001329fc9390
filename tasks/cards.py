"""Cards of media as HTML for Prefect's artifact pages, three in a row.

The two generations of Prefect's pages let different things through, and neither lets style sheets through. So the
layout is a plain table, which both show. The classic pages keep classes, and theirs make the rows a grid that becomes
one column on a narrow page; the new pages drop classes, players and everything that is no table, text, link or
picture. Data URIs outlive every link and are shown by both. All is one block of HTML without an empty line, because
markdown ends such a block there and would read the rest as markdown.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from prefect_media.assets import Asset
from prefect_media.runtime import clock
from prefect_media.storage.store import storage_of

from .markup import html, narrow_html
from .posters import HEIGHT, PATIENCE, WIDTH, poster_of, sign
from .shots import LONGEST_PROMPT, Shot, by_lineage, role_of

IN_A_ROW = 3

SHORT_PROMPT = 72
"""Characters of a prompt on the face of a card: two or three lines."""

LONGEST_REASON = 180
"""Characters of the reason of a failure on the face of a card."""

NO_PICTURE = sign("not drawn")

_ROW = '<tr class="grid grid-cols-1 sm:grid-cols-3 gap-4 mb-4">'
_WIDTHS = ("32.9%", "34.2%", "32.9%")
"""Of the columns: the new pages give the middle one a margin on both sides, and the pictures shall be of one size."""


@dataclass(frozen=True, slots=True)
class Link:
    """Where a click leads.

    Attributes:
        url: The address.
        expires: When it stops working; None for one that does not.
    """

    url: str
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """What a card needs besides its shot: a picture as a data URI, and where a click leads."""

    poster: str = NO_PICTURE
    link: Link | None = None


async def picture_of(shot: Shot, links: timedelta, *, drawn: bool = True) -> Picture:
    """The picture and the link of a shot. Raises nothing.

    Args:
        shot: The shot.
        links: How long a signed link works.
        drawn: Whether to draw its picture, which costs some 10 ms.
    """
    if shot.asset is None:
        return Picture(sign("rejected" if shot.rejected else "failed", bad=True))
    if not drawn:
        return Picture(link=await link_to(shot.asset.uri, links))
    poster, link = await asyncio.gather(poster_of(shot.asset), link_to(shot.asset.uri, links))
    return Picture(poster, link)


async def link_to(uri: str, links: timedelta) -> Link | None:
    """The link to what a store has: one that lasts where the store has a public address, else a signed one, else none.

    Raises nothing.
    """
    try:
        storage, key = storage_of(uri)
        if url := storage.public_url(key):
            return Link(url)
        async with asyncio.timeout(PATIENCE):
            url = await storage.sign(key, links)
        return Link(url, clock.now() + links) if url else None
    except Exception:  # a card without a link is better than no card
        return None


def cards(shots: Sequence[tuple[Shot, Picture]], first: int = 1) -> str:
    """A grid of cards, and below it, folded away, all that is long: whole prompts, addresses, hashes, job ids.

    What was made from one another stands in a row of its own, everything else in rows of three.

    Args:
        shots: The shots with their pictures.
        first: Number of the first card.
    """
    pictures = {id(shot): picture for shot, picture in shots}
    ordered = by_lineage([shot for shot, _ in shots])
    numbers = {id(shot): first + index for index, shot in enumerate(shot for group in ordered for shot in group)}
    rows: list[str] = []
    singles: list[str] = []

    def end_row() -> None:
        rows.extend(_row(singles[start : start + IN_A_ROW]) for start in range(0, len(singles), IN_A_ROW))
        singles.clear()

    def card(shot: Shot, role: str) -> str:
        return _card(shot, pictures[id(shot)], f"{numbers[id(shot)]} · {role}")

    for group in ordered:
        if len(group) == 1:
            singles.append(card(group[0], role_of(group[0])))
            continue
        end_row()
        roles = [role_of(shot) for shot in group]
        pairs = list(zip(roles, [*roles[1:], ""], strict=True))
        arrows = [role if later in (role, "") else f"{role} →" for role, later in pairs]
        drawn = [card(shot, role) for shot, role in zip(group, arrows, strict=True)]
        line = " → ".join(role for role, later in pairs if role != later)
        rows.append(f'<tr class="block mb-1"><td colspan="3" class="block w-full"><b>{line}</b></td></tr>')
        rows += [_row(drawn[start : start + IN_A_ROW]) for start in range(0, len(drawn), IN_A_ROW)]
    end_row()
    details = "".join(_details(numbers[id(shot)], shot, pictures[id(shot)].link) for group in ordered for shot in group)
    return (
        f'<table class="block w-full"><tbody class="block w-full">{"".join(rows)}</tbody></table>'
        f"<details><summary>Whole prompts, addresses, hashes</summary>{details}</details>"
    )


def _row(cells: Sequence[str]) -> str:
    drawn = [
        f'<td width="{width}" valign="top" class="block w-full min-w-0 p-card p-2">{cell}</td>'
        for width, cell in zip(_WIDTHS, cells, strict=False)
    ]
    padding = [f'<td width="{width}" class="block w-full"></td>' for width in _WIDTHS[len(cells) :]]
    return f"{_ROW}{''.join(drawn + padding)}</tr>"


def _card(shot: Shot, picture: Picture, heading: str) -> str:
    asset, link = shot.asset, picture.link
    title = shot.origin.prompt or _name(asset)
    image = (
        f'<img src="{picture.poster}" alt="{html(title, SHORT_PROMPT)}" title="{html(title, 500)}" '
        f'width="{WIDTH}" height="{HEIGHT}" class="w-full rounded-lg">'
    )
    parts = [f'<a href="{html(link.url, 4000)}">{image}</a>' if link else image]
    parts.append(f'<sub class="text-sm">{heading}</sub><br>')
    parts.append(f"<b>{narrow_html(title, SHORT_PROMPT)}</b><br>")
    if shot.error:
        billed = {True: " Billed.", False: " Not billed.", None: ""}[shot.billed]
        parts.append(f"<i>{narrow_html(shot.reason or _reason(shot.error), LONGEST_REASON)}</i>{billed}<br>")
    facts = [*_facts(shot), *(f"<kbd>{narrow_html(label, 40)}</kbd>" for label in shot.origin.labels)]
    parts.append(f'<span class="text-sm">{"<br>".join(facts)}</span>')
    if asset and asset.kind == "video" and link:
        address = html(link.url, 4000)
        parts.append(
            f'<details><summary>Play</summary><video src="{address}" controls preload="none" class="w-full">'
            f'<a href="{address}">Open the video</a></video></details>'
        )
    return "".join(parts)


def _reason(error: str) -> str:
    """Why there is nothing, without the id of the job and the argument that buys it again; the details have both."""
    return re.sub(r"^job \S+ failed: ", "", error).partition("; pass ")[0]


def _facts(shot: Shot) -> list[str]:
    asset = shot.asset
    if asset is None:
        return [narrow_html(shot.model, 60)] if shot.model else []
    source = asset.source
    look = [
        f"{asset.width}×{asset.height}" if asset.width else "",
        f"{asset.seconds:g} s" if asset.seconds else "",
        f"{asset.size_bytes / 1e6:.1f} MB",
    ]
    paid = [
        f"{source.cost_usd:.3f} USD" if source and source.cost_usd is not None else "",
        f"{source.created_at:%d %b %H:%M}" if source else "",
    ]
    lines = (narrow_html(shot.model or "", 60), *(" · ".join(filter(None, each)) for each in (look, paid)))
    return [line for line in lines if line]


def _details(number: int, shot: Shot, link: Link | None) -> str:
    asset, prompt = shot.asset, shot.origin.prompt
    lines = [f"<b>{number}</b> {html(prompt, LONGEST_PROMPT) if prompt else ''}"]
    if shot.error:
        lines.append(html(shot.error, 2000))
    if asset:
        lines.append(f"<code>{html(asset.uri, 1000)}</code>")
        lines.append(f"<code>{html(asset.sha256, 64)}</code>")
        if asset.source and asset.source.job_id:
            lines.append(f"Job <code>{html(asset.source.job_id, 200)}</code> at {html(asset.source.host, 200)}")
        lines += [html(warning, 300) for warning in asset.warnings]
        lines.append(_until(link))
    return f"<p>{'<br>'.join(lines)}</p>"


def _until(link: Link | None) -> str:
    if link is None:
        return "The store has no links."
    return f"The link works until {link.expires:%d %b %Y %H:%M} UTC." if link.expires else "The link does not expire."


def _name(asset: Asset | None) -> str:
    return asset.uri.rpartition("/")[2] if asset else "no prompt"
