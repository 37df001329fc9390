"""What stands in the foreground of a scene, as silhouettes."""

# pyright: reportUnknownMemberType=false
# Pillow's own types name NumPy, which is not installed.

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import ImageDraw

from .palettes import Color, Mood, blend

Brush = ImageDraw.ImageDraw
Size = tuple[int, int]


@dataclass(frozen=True)
class Subject:
    """How to draw a subject, and how it moves.

    Attributes:
        draw: Paints it with a brush on a transparent canvas of a size; `unit` is the shorter side of the view.
        drift, rise: Share of the width and height it moves from the beginning to the end.
        sway: Share of the shorter side it bobs up and down.
        on_water: Whether it stands in a sea rather than on hills.
        sun: Where from the left the sun may stand, as shares of the width.
    """

    draw: Callable[[Brush, Size, float, Mood, random.Random], None]
    drift: float = -0.2
    rise: float = 0.0
    sway: float = 0.0
    on_water: bool = False
    sun: tuple[float, float] = (0.25, 0.75)


def _pines(brush: Brush, size: Size, unit: float, mood: Mood, dice: random.Random) -> None:
    width, height = size
    for row, share in ((0, 0.42), (1, 0.12)):
        color = blend(mood.near, mood.far, share)
        foot = height * (0.84 + 0.07 * row)
        x = -unit * 0.1
        while x < width + unit * 0.1:
            _pine(brush, x, foot + unit * 0.02, unit * dice.uniform(0.2, 0.4) * (0.75 + 0.25 * row), color)
            x += unit * dice.uniform(0.05, 0.17)
        roll = [(at, foot + unit * 0.012 * math.sin(at / unit * 4 + row)) for at in range(0, width + 16, 16)]
        brush.polygon([(0, height), *roll, (width, height)], blend(color, mood.near, 0.35))


def _pine(brush: Brush, x: float, foot: float, tall: float, color: Color) -> None:
    brush.rectangle((x - tall * 0.03, foot - tall * 0.3, x + tall * 0.03, foot), color)
    for tier in range(5):
        top = foot - tall + tall * 0.14 * tier
        half = tall * (0.07 + 0.05 * tier)
        brush.polygon([(x, top), (x - half, top + tall * 0.26), (x + half, top + tall * 0.26)], color)


def _city(brush: Brush, size: Size, unit: float, mood: Mood, dice: random.Random) -> None:
    width, height = size
    lit = blend(mood.sun, (255, 190, 90), 0.45)
    for row, share in ((0, 0.55), (1, 0.12)):
        wall = blend(mood.near, mood.far, share)
        x = -unit * 0.1
        while x < width:
            wide, tall = unit * dice.uniform(0.07, 0.14), unit * dice.uniform(0.2, 0.5) * (1 - 0.35 * row)
            top = height * 0.97 - tall
            brush.rectangle((x, top, x + wide, height), wall)
            if dice.random() < 0.3:
                brush.rectangle((x + wide * 0.46, top - unit * 0.06, x + wide * 0.54, top), wall)
            pane = unit * 0.011
            columns, rows = int(wide / (pane * 2.2)), int(tall / (pane * 3))
            for column in range(columns):
                for storey in range(rows):
                    lamp = dice.random() < 0.38
                    if lamp and top + pane * 3 * storey < height * 0.84:  # below is the caption
                        left = x + (wide - columns * pane * 2.2) / 2 + pane * (0.6 + 2.2 * column)
                        up = top + pane * (1.5 + 3 * storey)
                        brush.rectangle((left, up, left + pane, up + pane * 1.6), blend(wall, lit, 0.85))
            x += wide + unit * dice.uniform(-0.01, 0.03)


def _lighthouse(brush: Brush, size: Size, unit: float, mood: Mood, dice: random.Random) -> None:
    width, height = size
    x, foot = width * dice.uniform(0.24, 0.34), height * 0.8
    tall, half = unit * 0.42, unit * 0.04
    rock = blend(mood.near, (0, 0, 0), 0.25)
    shore = [(0.0, foot + unit * 0.12)]
    for step in range(1, 8):
        along = x * 1.9 * step / 8
        bump = unit * 0.1 * math.exp(-(((along - x) / (x * 0.55)) ** 2))
        shore.append((along, foot + unit * 0.1 - bump + unit * dice.uniform(-0.012, 0.012)))
    brush.polygon([*shore, (x * 2.3, height * 0.93), (x * 2.5, height), (0.0, float(height))], rock)
    lamp = foot - tall
    warm = blend(mood.sun, (255, 214, 120), 0.4)
    for direction in (-1, 1):
        for spread, glow in ((0.16, 26), (0.11, 40), (0.06, 64)):
            far = x + direction * unit * 1.3
            beam = [(x, lamp), (far, lamp - unit * spread), (far, lamp + unit * spread * 0.6)]
            brush.polygon(beam, (*warm, glow))  # replaces what is under it, so it is drawn before the tower
    white, red = blend(mood.near, (250, 246, 238), 0.86), blend(mood.near, (206, 60, 56), 0.85)
    for band in range(5):
        low, high = band / 5, (band + 1) / 5
        wide = [half * (1.35 - 0.5 * at) for at in (low, high)]
        corners = [
            (x - wide[0], foot - tall * 0.9 * low),
            (x + wide[0], foot - tall * 0.9 * low),
            (x + wide[1], foot - tall * 0.9 * high),
            (x - wide[1], foot - tall * 0.9 * high),
        ]
        brush.polygon(corners, red if band % 2 else white)
    brush.rectangle((x - half * 1.15, foot - tall * 0.92, x + half * 1.15, foot - tall * 0.89), rock)
    brush.rectangle((x - half * 0.6, lamp - unit * 0.025, x + half * 0.6, foot - tall * 0.92), (255, 236, 170))
    brush.polygon([(x - half, lamp - unit * 0.025), (x + half, lamp - unit * 0.025), (x, lamp - unit * 0.08)], red)


def _boat(brush: Brush, size: Size, unit: float, mood: Mood, dice: random.Random) -> None:
    width, height = size
    for scale, along, down in ((1.0, dice.uniform(0.42, 0.62), 0.77), (0.38, dice.uniform(0.15, 0.3), 0.665)):
        x, y, long = width * along, height * down, unit * 0.2 * scale
        hull = blend(mood.near, (120, 44, 36), 0.35)
        sail = blend((255, 255, 255), mood.sun, 0.5)
        brush.polygon(
            [(x - long, y), (x + long, y), (x + long * 0.7, y + long * 0.3), (x - long * 0.75, y + long * 0.3)], hull
        )
        brush.rectangle((x - long * 0.03, y - long * 1.75, x + long * 0.03, y), hull)
        brush.polygon(
            [(x + long * 0.1, y - long * 1.7), (x + long * 0.1, y - long * 0.12), (x + long * 0.95, y - long * 0.12)],
            sail,
        )
        jib = blend(sail, mood.sky[1], 0.3)
        brush.polygon(
            [(x - long * 0.1, y - long * 1.5), (x - long * 0.1, y - long * 0.12), (x - long * 0.75, y - long * 0.12)],
            jib,
        )
        for ripple in range(3):
            low, half = y + long * (0.36 + 0.1 * ripple), long * (0.95 - 0.25 * ripple)
            brush.rounded_rectangle(
                (x - half, low, x + half, low + long * 0.035), long * 0.02, blend(sail, mood.sky[1], 0.5)
            )


def _balloons(brush: Brush, size: Size, unit: float, mood: Mood, dice: random.Random) -> None:
    width, height = size
    stripes: list[Color] = [(214, 72, 66), (240, 178, 66), (74, 142, 186), (122, 92, 166), (82, 158, 120)]
    for scale, along, up in ((1.0, 0.34, 0.36), (0.55, 0.66, 0.27), (0.36, 0.16, 0.22)):
        x = width * (along + dice.uniform(-0.05, 0.05))
        y, radius = height * (up + dice.uniform(-0.03, 0.03)), unit * 0.13 * scale
        main, trim = dice.sample(stripes, 2)
        cloth, band = blend(main, mood.sky[1], 0.12), blend(trim, mood.sky[1], 0.12)
        rope = blend(mood.near, (60, 40, 30), 0.5)
        for side in (-1, 1):
            line = (x + side * radius * 0.4, y + radius * 0.9, x + side * radius * 0.14, y + radius * 1.55)
            brush.line(line, rope, max(1, round(radius * 0.03)))
        brush.polygon(
            [
                (x - radius * 0.86, y + radius * 0.5),
                (x + radius * 0.86, y + radius * 0.5),
                (x + radius * 0.2, y + radius * 1.3),
                (x - radius * 0.2, y + radius * 1.3),
            ],
            cloth,
        )
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), cloth)
        for share in (0.62, 0.2):
            brush.ellipse(
                (x - radius * share, y - radius, x + radius * share, y + radius), band if share > 0.5 else cloth
            )
            foot = [
                (x - radius * share * 0.9, y + radius * 0.5),
                (x + radius * share * 0.9, y + radius * 0.5),
                (x + radius * 0.2 * share, y + radius * 1.3),
                (x - radius * 0.2 * share, y + radius * 1.3),
            ]
            brush.polygon(foot, band if share > 0.5 else cloth)
        brush.rounded_rectangle(
            (x - radius * 0.2, y + radius * 1.52, x + radius * 0.2, y + radius * 1.82), radius * 0.05, rope
        )


def _birds(brush: Brush, size: Size, unit: float, mood: Mood, dice: random.Random) -> None:
    width, height = size
    color = blend(mood.near, mood.far, 0.25)
    x, y = width * dice.uniform(0.3, 0.5), height * dice.uniform(0.2, 0.3)
    for place in range(9):
        side = 1 if place % 2 else -1
        row = (place + 1) // 2
        left, top = x - unit * 0.05 * row, y + side * unit * 0.026 * row + unit * dice.uniform(-0.006, 0.006)
        wing = unit * dice.uniform(0.016, 0.024)
        thick = max(2, round(unit * 0.004))
        brush.arc((left - wing * 2, top - wing * 0.5, left, top + wing), 200, 340, color, thick)
        brush.arc((left, top - wing * 0.5, left + wing * 2, top + wing), 200, 340, color, thick)


SUBJECTS: dict[str, Subject] = {
    "pines": Subject(_pines),
    "city": Subject(_city),
    "lighthouse": Subject(_lighthouse, drift=-0.05, on_water=True, sun=(0.5, 0.75)),
    "boat": Subject(_boat, drift=0.1, sway=0.005, on_water=True, sun=(0.22, 0.5)),
    "balloons": Subject(_balloons, drift=0.07, rise=-0.07, sway=0.008, sun=(0.5, 0.8)),
    "birds": Subject(_birds, drift=0.25, rise=-0.06, sway=0.006, sun=(0.55, 0.78)),
}
