"""Still pictures: drawn from a prompt, or made over from the references a client sent."""

# pyright: reportUnknownMemberType=false
# Pillow's own types name NumPy, which is not installed.

import io
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from ..api_errors import ApiError, invalid
from .lettering import caption, label, put_caption, put_label
from .palettes import blend
from .scenery import Scene


@dataclass(frozen=True)
class Picture:
    """Everything that decides the bytes of one picture.

    Attributes:
        size: Width and height in pixels.
        output_format: "png", "jpeg", "webp", "gif" or "svg".
        compression: 0 to 100, for jpeg and webp; 100 is the best quality.
        number: Which of the pictures of one request it is, from 0.
        seed: The client's own, or empty.
        references: Encoded images to make over; none for a picture from the prompt alone.
        mask: Encoded image; what is transparent in it is drawn anew.
    """

    prompt: str
    model: str
    size: tuple[int, int]
    output_format: str = "png"
    compression: int = 100
    transparent: bool = False
    number: int = 0
    seed: str = ""
    references: tuple[bytes, ...] = field(default=(), repr=False)
    mask: bytes | None = field(default=None, repr=False)
    frames: int = 9
    frame_ms: int = 200


def open_picture(data: bytes, param: str) -> Image.Image:
    """The image in the bytes of a request's field, upright."""
    try:
        image = Image.open(io.BytesIO(data))
        if image.format not in ("PNG", "JPEG", "WEBP"):
            raise ValueError
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise _unreadable(param) from None
    return ImageOps.exif_transpose(image)


def _unreadable(param: str) -> ApiError:
    message = "Invalid image file or mode for image, please check your image file."
    return invalid(param, message, code="invalid_image_file")


@lru_cache(maxsize=32)
def draw(picture: Picture) -> bytes:
    """The encoded picture; the same for the same `Picture`, always."""
    image = _draw(picture)
    if picture.output_format == "gif":
        return _gif(image, picture.frames, picture.frame_ms)
    if picture.output_format == "svg":
        return _svg(image)
    return encode(image, picture.output_format, picture.compression)


def drafts(picture: Picture, count: int) -> list[bytes]:
    """What can be seen while the picture is made: first all blurred, then less and less."""
    image = _draw(picture)
    widest = max(image.size) / 24
    blurred = (image.filter(ImageFilter.GaussianBlur(widest / 2**number)) for number in range(count))
    return [encode(each, picture.output_format, picture.compression) for each in blurred]


def _draw(picture: Picture) -> Image.Image:
    scene = Scene(f"{picture.prompt}|{picture.seed}|{picture.number}", picture.prompt, picture.size)
    image = _make_over(picture, scene) if picture.references else scene.frame(0.5)
    put_caption(image, caption(picture.prompt, picture.size), frosted=bool(picture.references))
    put_label(image, label(f"{picture.model} · simulated", picture.size))
    if picture.transparent:
        image = _card(image)
    return image


def _gif(image: Image.Image, count: int, milliseconds: int) -> bytes:
    """The picture with a light that grows and fades."""
    ground = image.convert("RGB")
    frames = [ImageEnhance.Brightness(ground).enhance(0.7 + 0.6 * abs(number / count - 0.5)) for number in range(count)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return file.getvalue()


def _svg(image: Image.Image) -> bytes:
    """The picture in a few hundred tiles."""
    width, height = image.size
    side = max(1, round((width * height / 300) ** 0.5))
    across, down = -(-width // side), -(-height // side)
    small = image.convert("RGB").resize((across, down))
    tiles = "".join(
        f'<rect x="{x * side}" y="{y * side}" width="{side}" height="{side}" '
        f'fill="#{"".join(f"{part:02x}" for part in cast(tuple[int, ...], small.getpixel((x, y))))}"/>'
        for y in range(down)
        for x in range(across)
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return f"{head}{tiles}</svg>".encode()


def encode(image: Image.Image, output_format: str, compression: int = 100) -> bytes:
    """Bytes of an image in "png", "jpeg" or "webp"."""
    file = io.BytesIO()
    if output_format == "png":
        image.save(file, "PNG", compress_level=4)
    else:
        image.save(file, output_format.upper(), quality=max(1, min(92, compression)))
    return file.getvalue()


def grade(image: Image.Image, scene: Scene) -> Image.Image:
    """The image in the light of another scene: what a remix does to its source."""
    mood = scene.mood
    bright = blend(mood.sun, (255, 255, 255), 0.3)
    toned = ImageOps.colorize(image.convert("L"), blend(mood.near, (0, 0, 0), 0.3), bright, mood.sky[1])
    return Image.blend(image.convert("RGB"), toned, 0.6)


def _make_over(picture: Picture, scene: Scene) -> Image.Image:
    first, *more = (open_picture(each, "image").convert("RGBA") for each in picture.references)
    ground = Image.new("RGBA", first.size, (*scene.mood.sky[-1], 255))
    base = ImageOps.fit(Image.alpha_composite(ground, first), picture.size).convert("RGB")
    if picture.mask:
        mask = open_picture(picture.mask, "mask").convert("RGBA").getchannel("A")
        base.paste(scene.frame(0.5), (0, 0), ImageChops.invert(ImageOps.fit(mask, picture.size)))
    else:
        base = grade(base, scene)
    _inset(base, more)
    return base


def _inset(base: Image.Image, references: list[Image.Image]) -> None:
    """The further references, small, down the right side."""
    side = round(min(base.size) * 0.17)
    gap = round(side * 0.14)
    x, y = base.width - side - gap, gap
    for reference in references:
        if y + side > base.height * 0.75:
            break
        frame = Image.new("RGB", (side, side), (250, 250, 246))
        edge = max(1, side // 24)
        small = ImageOps.fit(reference, (side - 2 * edge, side - 2 * edge))
        frame.paste(small, (edge, edge), small)
        base.paste(frame, (x, y))
        y += side + gap


def _card(image: Image.Image) -> Image.Image:
    """The picture with round corners and nothing around it, as RGBA of the same size."""
    width, height = image.size
    edge = round(min(image.size) * 0.03)
    small = image.resize((max(1, width - 2 * edge), max(1, height - 2 * edge)), Image.Resampling.LANCZOS)
    mask = Image.new("L", (small.width * 2, small.height * 2), 0)
    box = (0, 0, mask.width - 1, mask.height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, min(image.size) * 0.1, 255)
    card = Image.new("RGBA", image.size, (0, 0, 0, 0))
    card.paste(small, (edge, edge), mask.reduce(2))
    return card
