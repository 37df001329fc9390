"""Small pictures of media for Prefect's pages: all of one shape, as data URIs, which outlive every link."""

from __future__ import annotations

import asyncio
import io
from base64 import b64encode
from functools import lru_cache
from html import escape
from typing import IO, TYPE_CHECKING

from prefect_media.assets import Asset
from prefect_media.errors import DownloadCorrupt, StoreError
from prefect_media.media.facts import poster
from prefect_media.storage.store import storage_of

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

WIDTH, HEIGHT = 360, 240
"""Pixels. Between a square and a film: cards of one shape stand in straight rows."""

QUALITY = 78

LARGEST = 256 * 1024**2
"""Bytes of a file that is opened for its picture."""

PATIENCE = 5.0
"""Seconds that a store may take for a picture, or for a link."""


async def poster_of(asset: Asset) -> str:
    """A picture of an asset as a data URI; a drawn sign for what can't be read or decoded. Raises nothing."""
    try:
        if asset.size_bytes > LARGEST and asset.kind == "image":
            return sign(asset.content_type)
        storage, key = storage_of(asset.uri)
        async with asyncio.timeout(PATIENCE):
            with await storage.open(key) as file:
                return await asyncio.to_thread(_poster, asset.kind, file)
    except DownloadCorrupt:
        return sign(asset.content_type)
    except StoreError as error:
        return sign("deleted" if error.details.get("missing") else "not readable")
    except Exception:  # a page without one picture is better than no page
        return sign("no picture")


def sign(words: str, *, bad: bool = False) -> str:
    """A picture that says why there is none, as a data URI.

    Args:
        words: What it says, in a few words.
        bad: Whether it is about a failure.
    """
    ink, ground = ("#c0392b", "#c0392b22") if bad else ("#7a8194", "#7a819422")
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="10" fill="{ground}" stroke="{ink}" '
        f'stroke-opacity=".45" stroke-dasharray="6 5"/><text x="50%" y="50%" fill="{ink}" font-family="sans-serif" '
        f'font-size="22" text-anchor="middle" dominant-baseline="middle">{escape(words[:28])}</text></svg>'
    )
    return f"data:image/svg+xml;base64,{b64encode(drawing.encode()).decode()}"


def _poster(kind: str, file: IO[bytes]) -> str:
    from PIL import Image

    picture = Image.open(io.BytesIO(poster(kind, file)))
    framed = _frame(picture)
    if kind == "video":
        framed.paste(_play_sign(), ((WIDTH - 64) // 2, (HEIGHT - 64) // 2), _play_sign())
    out = io.BytesIO()
    framed.save(out, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{b64encode(out.getvalue()).decode()}"


def _frame(picture: Picture) -> Picture:
    """A picture on a card of the common shape, with its own colours, blurred and darker, beside it."""
    from PIL import Image, ImageFilter, ImageOps

    fitted = ImageOps.contain(picture, (WIDTH, HEIGHT))
    if fitted.width >= WIDTH - 4 and fitted.height >= HEIGHT - 4:
        return ImageOps.fit(picture, (WIDTH, HEIGHT))
    ground = ImageOps.fit(picture, (24, 16)).filter(ImageFilter.GaussianBlur(2))
    ground = ImageOps.contain(ground, (WIDTH, HEIGHT))
    ground = Image.blend(ground, Image.new("RGB", ground.size, (24, 26, 32)), 0.35)
    ground.paste(fitted, ((WIDTH - fitted.width) // 2, (HEIGHT - fitted.height) // 2))
    return ground


@lru_cache(maxsize=1)
def _play_sign() -> Picture:
    from PIL import Image, ImageDraw, ImageOps

    drawing = Image.new("RGBA", (256, 256))
    draw = ImageDraw.Draw(drawing)
    draw.ellipse((4, 4, 252, 252), fill=(0, 0, 0, 130), outline=(255, 255, 255, 230), width=10)
    draw.polygon([(100, 76), (100, 180), (188, 128)], fill=(255, 255, 255, 240))
    return ImageOps.contain(drawing, (64, 64))
