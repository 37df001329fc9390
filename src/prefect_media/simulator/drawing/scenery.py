"""Landscapes drawn from a prompt: a sky, a sun or moon, ranges of hills and something to look at.

Words of the prompt choose the mood and the subject where they name one; a hash of it chooses everything else,
so the same prompt always gives the same picture. A scene is a stack of layers that can drift apart, which is
all it takes to make it move.
"""

# pyright: reportUnknownMemberType=false
# Pillow's own types name NumPy, which is not installed.

import math
import random
from dataclasses import dataclass, field

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .palettes import Color, Mood, blend, mood_of, subject_of
from .subjects import SUBJECTS

_LONGEST_SIDE = 1600  # pixels drawn; larger pictures are scaled up, since nobody looks at hills that closely
_ROOM = 0.25  # of the width, for layers to drift into
_FINE = 2  # silhouettes are drawn this much larger and scaled down, for smooth edges


@dataclass(frozen=True)
class Layer:
    """A cut-out and where it goes.

    Attributes:
        image: RGB; kept apart from its mask, or Pillow would convert it anew for every frame.
        mask: What of it is seen; None for all.
        place: Pixels from the left and top at the beginning.
        drift: Pixels it moves until the end.
        sway: Pixels it bobs up and down on the way.
    """

    image: Image.Image = field(repr=False)
    mask: Image.Image | None = field(repr=False)
    place: tuple[float, float]
    drift: tuple[float, float]
    sway: float = 0.0


class Scene:
    """A landscape of one prompt.

    Args:
        key: What the scene is drawn from: the prompt and whatever tells pictures of the same prompt apart.
        prompt: The words that may choose mood and subject.
        size: Width and height in pixels.
    """

    def __init__(self, key: str, prompt: str, size: tuple[int, int]) -> None:
        self.size = size
        shrink = min(1.0, _LONGEST_SIDE / max(size))
        self._drawn = (max(16, round(size[0] * shrink)), max(16, round(size[1] * shrink)))
        dice = random.Random(key)
        self.mood = mood_of(prompt, dice)
        self._sky = _sky(self.mood, self._drawn, dice)
        self._layers = _layers(self.mood, subject_of(prompt, dice), self._drawn, dice)

    def frame(self, moment: float) -> Image.Image:
        """The view at a moment from 0 (beginning) to 1 (end), as RGB."""
        view = self._sky.copy()
        for layer in self._layers:
            x = layer.place[0] + layer.drift[0] * moment
            y = layer.place[1] + layer.drift[1] * moment + layer.sway * math.sin(moment * 3 * math.tau)
            view.paste(layer.image, (round(x), round(y)), layer.mask)
        return view if view.size == self.size else view.resize(self.size, Image.Resampling.LANCZOS)


def gradient(stops: list[Color], size: tuple[int, int]) -> Image.Image:
    """A smooth fade from the top colour to the bottom one, as RGB."""
    column = Image.new("RGB", (1, len(stops)))
    column.putdata(stops)
    # Sampled between the centres of the first and last stop, so that each end has its pure colour.
    box = (0.0, 0.5, 1.0, len(stops) - 0.5)
    return column.resize((1, size[1]), Image.Resampling.BILINEAR, box=box).resize(size)


def _sky(mood: Mood, size: tuple[int, int], dice: random.Random) -> Image.Image:
    width, height = size
    sky = gradient([*mood.sky, mood.sky[-1]], size)
    draw = ImageDraw.Draw(sky)
    for _ in range(140 if mood.stars else 0):
        x, y = dice.random() * width, dice.random() ** 1.5 * height * 0.7
        glow = dice.uniform(0.25, 1.0)
        radius = max(0.5, min(size) / 900 * dice.choice([0.6, 0.8, 1.0, 1.6]))
        here = sky.getpixel((int(x), int(y)))
        assert isinstance(here, tuple)
        red, green, blue = here
        color = blend((red, green, blue), (255, 255, 255), glow)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), color)
    if mood.aurora:
        for _ in range(3):
            _ribbon(sky, mood.aurora, dice)
    return sky


def _ribbon(sky: Image.Image, color: Color, dice: random.Random) -> None:
    width, height = sky.size
    small = (max(8, width // 8), max(8, height // 8))  # northern lights are soft; a small mask blurs for nothing
    mask = Image.new("L", small, 0)
    draw = ImageDraw.Draw(mask)
    base, swing, turns, start = dice.uniform(0.2, 0.45), dice.uniform(0.04, 0.1), dice.uniform(1, 2), dice.random()
    for x in range(small[0]):
        bend = math.sin((x / small[0] * turns + start) * math.tau)
        foot = (base + swing * bend) * small[1]
        for step in range(10):
            top = foot - small[1] * 0.28 * (step + 1) / 10
            draw.line((x, top, x, top + small[1] * 0.03), fill=int(130 * (1 - step / 10)))
    soft = mask.filter(ImageFilter.GaussianBlur(2)).resize(sky.size, Image.Resampling.BICUBIC)
    sky.paste(Image.new("RGB", sky.size, color), (0, 0), soft)


def _layers(mood: Mood, subject: str, size: tuple[int, int], dice: random.Random) -> list[Layer]:
    width, height = size
    unit = min(width, height)
    paint = SUBJECTS[subject]
    layers = [_sun(mood, size, paint.sun, dice)]
    layers += [_cloud(mood, size, dice) for _ in range(mood.clouds)]
    horizon = dice.uniform(0.5, 0.56)
    ranges = 2 if paint.on_water else 4
    for depth in range(ranges):
        nearness = depth / max(1, ranges - 1) * (0.45 if paint.on_water else 1.0)
        top = horizon + (0.02 if paint.on_water else 0.095) * depth
        rough = unit / height * (0.16 - 0.07 * nearness)
        color = blend(mood.far, mood.near, nearness)
        layers += _hills(color, mood, size, top, rough, nearness, dice)
    if paint.on_water:
        layers.append(_water(mood, size, horizon + 0.08, dice))
    foreground = Image.new("RGBA", (round(width * (1 + _ROOM)) * _FINE, height * _FINE), (0, 0, 0, 0))
    paint.draw(ImageDraw.Draw(foreground), foreground.size, unit * _FINE, mood, dice)
    drawn = foreground.reduce(_FINE)
    box = drawn.getbbox() or (0, 0, 1, 1)  # without empty margins there is less to paste in every frame
    drawn = drawn.crop(box)
    drift = (paint.drift * width, paint.rise * height)
    layers.append(Layer(drawn.convert("RGB"), drawn.getchannel("A"), box[:2], drift, paint.sway * unit))
    return layers


def _sun(mood: Mood, size: tuple[int, int], where: tuple[float, float], dice: random.Random) -> Layer:
    width, height = size
    radius = min(size) * dice.uniform(0.055, 0.085)
    reach = round(radius * 7)
    glow = ImageChops.invert(Image.radial_gradient("L")).resize((reach * 2, reach * 2), Image.Resampling.BICUBIC)
    glow = glow.point([int((max(0, level - 75) / 180) ** 2.2 * 190) for level in range(256)])
    disc = Image.new("L", (reach * 4, reach * 4), 0)
    middle, edge = reach * 2, radius * 2
    ImageDraw.Draw(disc).ellipse((middle - edge, middle - edge, middle + edge, middle + edge), 255)
    if mood.crescent:
        shift = edge * 0.45
        box = (middle - edge + shift, middle - edge - shift / 2, middle + edge + shift, middle + edge - shift / 2)
        ImageDraw.Draw(disc).ellipse(box, 0)
    alpha = ImageChops.lighter(glow, disc.reduce(2))
    x, y = width * dice.uniform(*where), height * dice.uniform(0.28, 0.4)
    light = Image.new("RGB", alpha.size, mood.sun)
    return Layer(light, alpha, (x - reach, y - reach), (width * 0.03, -height * 0.09))


def _cloud(mood: Mood, size: tuple[int, int], dice: random.Random) -> Layer:
    width, height = size
    long = min(size) * dice.uniform(0.25, 0.5)
    canvas = (round(long * 1.2), max(4, round(long * 0.36)))
    mask = Image.new("L", canvas, 0)
    draw = ImageDraw.Draw(mask)
    for _ in range(9):
        along = dice.uniform(-0.42, 0.42)
        puff = long * 0.09 * (1.1 - abs(along) * 1.6) * dice.uniform(0.7, 1.3)
        x, y = canvas[0] / 2 + along * long, canvas[1] * 0.72 - puff * dice.uniform(0.2, 0.9)
        draw.ellipse((x - puff * 1.9, y - puff * 0.8, x + puff * 1.9, y + puff * 0.8), dice.randint(90, 150))
    image = gradient([blend(mood.sun, (255, 255, 255), 0.4), mood.sky[-1]], canvas)
    soft = mask.filter(ImageFilter.GaussianBlur(long * 0.018))
    place = (dice.uniform(-0.1, 0.85) * width, dice.uniform(0.06, 0.36) * height)
    return Layer(image, soft, place, (width * dice.uniform(0.05, 0.14), 0))


def _hills(
    color: Color,
    mood: Mood,
    size: tuple[int, int],
    top: float,
    rough: float,
    nearness: float,
    dice: random.Random,
) -> list[Layer]:
    width, height = round(size[0] * (1 + _ROOM)), size[1]
    waves = [
        (dice.uniform(0.6, 1.4) * 2**octave, dice.random() * math.tau, rough * 0.55**octave) for octave in range(5)
    ]
    stretch = size[0] / max(size)  # upright pictures show less of the same ridge, not a steeper one
    ridge: list[tuple[float, float]] = []
    for step in range(0, width + 8, 4):
        along = step / size[0] * stretch * 1.6
        rise = sum(tall * math.sin(along * often * math.tau / 1.6 + phase) for often, phase, tall in waves)
        ridge.append((step * _FINE, (top - rise * 0.5) * height * _FINE))
    highest = int(min(y for _, y in ridge))
    lift = highest // _FINE
    mask = Image.new("L", (width * _FINE, (height - lift) * _FINE), 0)
    outline = [(x, y - lift * _FINE) for x, y in ridge]
    ImageDraw.Draw(mask).polygon([*outline, (width * _FINE, mask.height), (0, mask.height)], 255)
    mist = blend(color, mood.sky[-1], 0.5 * (1 - nearness) + 0.08)
    image = gradient([color, blend(color, mist, 0.8), mist], (width, height - lift))
    drift = (-size[0] * (0.02 + 0.14 * nearness), 0.0)
    solid = min(image.height, math.ceil(max(y for _, y in outline) / _FINE))
    ridge_box, body_box = (0, 0, width, solid), (0, solid, width, image.height)
    return [  # below the ridge all is opaque, and pasted at a fraction of the cost
        Layer(image.crop(ridge_box), mask.reduce(_FINE).crop(ridge_box), (0, lift), drift),
        Layer(image.crop(body_box), None, (0, lift + solid), drift),
    ]


def _water(mood: Mood, size: tuple[int, int], top: float, dice: random.Random) -> Layer:
    width, height = size
    depth = round(height * (1 - top)) + 1
    wide = round(width * (1 + _ROOM))
    surface = gradient(
        [blend(mood.sky[-1], mood.far, 0.25), blend(mood.sky[1], mood.near, 0.35), mood.near], (wide, depth)
    )
    sparkle = Image.new("L", (wide * _FINE, depth * _FINE), 0)
    draw = ImageDraw.Draw(sparkle)
    for _ in range(170):
        nearness = dice.random() ** 1.6
        x, y = dice.random() * sparkle.width, nearness * sparkle.height
        long, thick = width * _FINE * (0.01 + 0.05 * nearness), max(1.0, height * _FINE * 0.0022 * (0.5 + nearness))
        draw.rounded_rectangle((x, y, x + long, y + thick), thick / 2, dice.randint(40, 120))
    surface.paste(Image.new("RGB", surface.size, mood.sun), (0, 0), sparkle.reduce(_FINE))
    return Layer(surface, None, (0, height - depth), (-width * 0.1, 0))
