"""What a purchase costs, in USD: estimated from price tables, then computed from usage.

What is not known is None, never 0: a sum with a None in it is not a sum. Prices are list prices, without the
discounts of an account; `PREFECT_MEDIA_PRICES` names a file with prices of your own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..assets import Asset
from ..figures import amount
from ..requests import ImageEditRequest, VideoExtendRequest, VideoRequest, VideoVariation
from .data import Host, Price, catalog, plain_name, price_of

if TYPE_CHECKING:
    from ..assets import Asset
    from ..requests import ImageEditRequest, ImageRequest, VideoRequest, VideoVariation

CHARACTERS_PER_TOKEN = 4
"""Of English text, as OpenAI's help pages have it."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What something will cost, and how we know; or why nobody can say."""

    usd: float | None
    basis: str


def estimate(
    request: ImageRequest | ImageEditRequest | VideoRequest | VideoVariation,
    host: Host = "openai",
    family: str | None = None,
) -> float | None:
    """What a request will cost, in USD; None where that can't be said before.

    Args:
        request: What is wanted, all its images together.
        host: Whose servers it goes to.
        family: The family whose prices hold, for a model name the catalog doesn't know; the request's own wins.
    """
    return quote(request, host, family).usd


def quote(
    request: ImageRequest | ImageEditRequest | VideoRequest | VideoVariation,
    host: Host = "openai",
    family: str | None = None,
) -> Quote:
    """The same as `estimate`, with its basis."""

    if isinstance(request, VideoVariation):
        return _quote_of_variation(request, host, family)
    name = plain_name(request.model)
    price = price_of(name, host, request.model_family or family)
    if price is None:
        return Quote(None, f"no price of {name} is known on {catalog().hosts[host].name}")
    if isinstance(request, VideoRequest):
        if request.seconds is None:
            return Quote(None, "it depends on the seconds, which are left to the model")
        usd = of_seconds(price, request.seconds, request.size)
        basis = f"{request.seconds} s at the price per second"
        return Quote(usd, basis if usd is not None else f"no price per second is known for size={request.size}")
    if isinstance(request, ImageEditRequest):
        return Quote(None, "the tokens of the pictures an edit starts from are not known before")
    quality = request.quality if request.quality not in (None, "auto") else catalog().hosts[host].default_quality
    if request.size in (None, "auto") or quality is None:
        return Quote(None, "it depends on size and quality, which are left to the model")
    each = price.per_image.get(request.size, {}).get(quality)
    if each is None:
        return Quote(None, f"no price per image is published for size={request.size} and quality={quality}")
    text = len(request.prompt) / CHARACTERS_PER_TOKEN * (price.text_in or 0) / 1e6
    return Quote(round(request.n * each + text, 6), f"{request.n} x {each} USD per image, and the prompt")


def _quote_of_variation(request: VideoVariation, host: Host, family: str | None) -> Quote:

    video = request.video
    if not isinstance(video, Asset) or not video.source or not video.seconds:
        return Quote(None, "it depends on the video it starts from, whose model and length only its Asset would tell")
    added = request.seconds if isinstance(request, VideoExtendRequest) else 0
    size = f"{video.width}x{video.height}"
    usd = of_video(video.source.model, host, video.seconds + added, size, family=family)
    if usd is None:
        return Quote(None, f"no price per second of {video.source.model} in {size} is known there")
    return Quote(usd, f"{video.seconds + added:g} s at the price per second")


def of_images(model: str, host: Host, usage: Mapping[str, Any] | None, family: str | None = None) -> float | None:
    """What a purchase of images did cost, in USD, by the tokens the provider counted; None where it is not known."""
    price = price_of(model, host, family)
    return of_tokens(price, usage) if price and usage else None


def quote_in_batch(request: ImageRequest, host: Host, family: str | None) -> Quote:
    """What a request will cost in a batch, and how we know."""
    alone, family = quote(request, host, family), request.model_family or family
    return Quote(batch_price(alone.usd, request.model, host, family), f"{alone.basis}, in a batch")


def batch_price(usd: float | None, model: str, host: Host, family: str | None = None) -> float | None:
    """What costs so much alone, bought in a batch."""
    price = price_of(model, host, family)
    return round(usd * price.batch, 8) if price and usd is not None else None


def of_video(
    model: str, host: Host, seconds: float | None, size: str | None, *, family: str | None = None
) -> float | None:
    """What a video did cost, in USD; None where it is not known.

    Args:
        model: Model or deployment.
        host: Whose servers made it.
        seconds: Its length.
        size: "WIDTHxHEIGHT" in pixels.
        family: The family whose prices hold, for a model name the catalog doesn't know.
    """
    price = price_of(model, host, family)
    return of_seconds(price, seconds, size) if price and seconds is not None else None


def of_tokens(price: Price, usage: Mapping[str, Any]) -> float | None:
    """Tokens in USD; None as soon as there are tokens that have no known price, or that nobody can have counted."""
    try:
        return _of_tokens(price, usage)
    except _AbsurdCount:
        return None


def _of_tokens(price: Price, usage: Mapping[str, Any]) -> float | None:
    if usage.get("svg_usage"):
        return None  # a second model wrote the SVG, at a price of its own
    into, out = _part(usage, "input_tokens_details"), _part(usage, "output_tokens_details")
    cached = _part(into, "cached_tokens_details")
    text, image = _tokens(into, "text_tokens"), _tokens(into, "image_tokens")
    if text is None and image is None:
        text = _tokens(usage, "input_tokens")  # nobody says which; most are text, and an edit says which
    written = _tokens(out, "text_tokens") or 0
    total_out = _tokens(usage, "output_tokens")
    drawn = _tokens(out, "image_tokens") if out else None
    if drawn is None and total_out is not None:
        drawn = _rest(total_out, written)
    if text is None or drawn is None:
        return None
    cached_text, cached_image = _tokens(cached, "text_tokens") or 0, _tokens(cached, "image_tokens") or 0
    counts = [
        (_rest(text, cached_text), price.text_in),
        (cached_text, price.text_cached),
        (_rest(image or 0, cached_image), price.image_in),
        (cached_image, price.image_cached),
        (drawn, price.image_out),
        (written, price.text_out),
    ]
    usd = 0.0
    for count, per_million in counts:
        if not count:
            continue
        if per_million is None:
            return None
        usd += count * per_million / 1e6
    return round(usd, 8)


def of_seconds(price: Price, seconds: float, size: str | None) -> float | None:
    """Seconds of video in USD; None where the price of that size is not known, or no film has that length."""
    each = price.per_second.get(size or "") if isinstance(price.per_second, dict) else price.per_second
    return None if each is None or amount(seconds) is None else round(seconds * each, 6)


def total(assets: Sequence[Asset]) -> float | None:
    """What assets did cost together, in USD; None as soon as the price of one is not known."""
    each = [asset.source.cost_usd if asset.source else None for asset in assets]
    return None if None in each else round(sum(usd for usd in each if usd is not None), 8)


def share(usd: float | None, count: int) -> float | None:
    """One asset's part of what was paid for all of them together."""
    return None if usd is None or not count else round(usd / count, 8)


def _part(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = usage.get(name)
    return cast(Mapping[str, Any], part) if isinstance(part, Mapping) else {}


class _AbsurdCount(ValueError):
    """Tokens that nobody can have counted: fewer than none, half a one, or not a number."""


def _tokens(part: Mapping[str, Any], name: str) -> int | None:
    """A count; None where it is left out."""
    value = part.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or amount(value) is None:
        raise _AbsurdCount(name)
    return value


def _rest(count: int, part: int) -> int:
    if part > count:
        raise _AbsurdCount(f"{part} of {count}")
    return count - part
