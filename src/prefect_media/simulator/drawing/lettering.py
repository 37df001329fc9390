"""Words on pictures: the prompt as a caption, and the label that says it is all a simulation."""

# pyright: reportUnknownMemberType=false
# Pillow's own types name NumPy, which is not installed.

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

_MOST_LINES = 4


def caption(text: str, size: tuple[int, int]) -> Image.Image:
    """The text in white on a soft dark fade, as an RGBA strip for the bottom of a picture of `size`."""
    width, height = size
    font = _font(max(11.0, min(height * 0.045, width * 0.052)))
    margin = width * 0.05
    lines = _wrap(" ".join(text.split()), font, width - 2 * margin)
    pitch = font.size * 1.28
    bottom = max(font.size * 0.9, height * 0.045)
    block = pitch * len(lines)
    strip = Image.new("RGBA", (width, min(height, round(block + bottom + font.size * 2.4))), (8, 8, 20, 0))
    fade = Image.linear_gradient("L").point([round((level / 255) ** 0.8 * 178) for level in range(256)])
    strip.putalpha(fade.resize(strip.size, Image.Resampling.BICUBIC))
    brush = ImageDraw.Draw(strip)
    y = strip.height - bottom - block
    for line in lines:
        brush.text((margin, y), line, (255, 255, 255, 255), font)
        y += pitch
    return strip


def label(text: str, size: tuple[int, int]) -> Image.Image:
    """A small plate for a top corner, as RGBA with its margins."""
    font = _font(max(8.0, min(size) * 0.022))
    left, top, right, bottom = font.getbbox(text)
    pad, margin = font.size * 0.7, min(size) * 0.035
    wide, tall = right - left + 2 * pad, font.size * 1.15 + pad
    plate = Image.new("RGBA", (round(wide + 2 * margin) * 2, round(tall + 2 * margin) * 2), (0, 0, 0, 0))
    box = (margin * 2, margin * 2, (margin + wide) * 2, (margin + tall) * 2)
    ImageDraw.Draw(plate).rounded_rectangle(box, tall, (8, 8, 20, 96))
    plate = plate.reduce(2)
    middle = margin + (tall - (bottom + top)) / 2
    ImageDraw.Draw(plate).text((margin + pad - left, middle), text, (255, 255, 255, 225), font)
    return plate


def put_caption(picture: Image.Image, strip: Image.Image, *, frosted: bool = False, share: float = 1.0) -> None:
    """Paste a caption on the bottom of an RGB picture.

    Args:
        picture: Drawn on.
        strip: What `caption` gave.
        frosted: Whether to blur what is under it, as it may hold a caption already.
        share: Opacity, from 0 to 1.
    """
    top = picture.height - strip.height
    if frosted:
        under = picture.crop((0, top, *picture.size))
        blurred = under.reduce(32).resize(under.size, Image.Resampling.BILINEAR)
        picture.paste(blurred, (0, top), _frost(under.size, share))
    shown = _fade(strip, share)
    picture.paste(shown, (0, top), shown)


def put_label(picture: Image.Image, plate: Image.Image, *, right: bool = False, share: float = 1.0) -> None:
    """Paste a label into a top corner of an RGB picture."""
    shown = _fade(plate, share)
    picture.paste(shown, (picture.width - plate.width if right else 0, 0), shown)


@lru_cache(maxsize=16)
def _frost(size: tuple[int, int], share: float) -> Image.Image:
    fade = Image.linear_gradient("L").point([min(255, round(level * 2.4 * share)) for level in range(256)])
    return fade.resize(size)


def _fade(strip: Image.Image, share: float) -> Image.Image:
    """The strip at `share` of its opacity, from 0 to 1."""
    if share >= 1:
        return strip
    copy = strip.copy()
    copy.putalpha(strip.getchannel("A").point([round(level * share) for level in range(256)]))
    return copy


def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow without FreeType has only a tiny bitmap font
    return font


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    lines: list[str] = []
    rest = text[:600]
    while rest and len(lines) < _MOST_LINES:
        line = _fitting(rest, font, width)
        lines.append(line)
        rest = rest[len(line) :].lstrip()
    if rest:
        last = lines[-1]
        while last and font.getlength(last + "…") > width:
            last = last[:-1]
        lines[-1] = last.rstrip() + "…"
    return lines


def _fitting(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """As much of the beginning as fits, broken between words where there are any."""
    if font.getlength(text) <= width:
        return text
    end = len(text)
    while end > 1 and font.getlength(text[:end]) > width:
        end -= 1
    space = text.rfind(" ", 0, end + 1)
    return text[: space if space > 0 else end]
