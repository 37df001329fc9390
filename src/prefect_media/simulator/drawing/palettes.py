"""The colours of a scene: moods, and the words that call for them."""

import random
import re
from dataclasses import dataclass

Color = tuple[int, int, int]


def blend(one: Color, other: Color, share: float) -> Color:
    """A colour between two; `share` of the other, from 0 to 1."""
    r, g, b = (round(a + (z - a) * share) for a, z in zip(one, other, strict=True))
    return (r, g, b)


@dataclass(frozen=True)
class Mood:
    """A time of day and its light.

    Attributes:
        sky: From the zenith to the horizon.
        sun: The sun or the moon, and its light on clouds and water.
        far, near: The farthest and the nearest hills.
    """

    sky: tuple[Color, Color, Color]
    sun: Color
    far: Color
    near: Color
    clouds: int = 4
    stars: bool = False
    crescent: bool = False
    aurora: Color | None = None


MOODS = {
    "dawn": Mood(((74, 84, 150), (222, 142, 160), (255, 212, 170)), (255, 244, 214), (176, 128, 164), (52, 38, 78)),
    "day": Mood(((48, 122, 206), (118, 184, 236), (222, 240, 246)), (255, 250, 224), (126, 172, 196), (28, 84, 78), 6),
    "dusk": Mood(((50, 36, 92), (190, 78, 110), (255, 166, 96)), (255, 226, 160), (142, 70, 112), (34, 20, 52)),
    "night": Mood(
        ((8, 12, 38), (24, 34, 84), (74, 82, 144)), (244, 242, 226), (50, 58, 116), (8, 10, 30), 1, True, True
    ),
    "aurora": Mood(
        ((6, 14, 36), (14, 44, 76), (40, 104, 116)),
        (226, 246, 236),
        (28, 66, 92),
        (4, 14, 26),
        0,
        True,
        True,
        (88, 240, 176),
    ),
    "ember": Mood(((96, 34, 62), (224, 100, 62), (255, 206, 128)), (255, 240, 190), (176, 80, 66), (62, 20, 34), 3),
    "meadow": Mood(
        ((64, 150, 176), (156, 212, 190), (240, 244, 208)), (255, 252, 220), (120, 178, 150), (26, 78, 62), 5
    ),
    "lilac": Mood(((84, 74, 156), (160, 134, 204), (244, 206, 222)), (255, 240, 244), (134, 112, 176), (44, 34, 88)),
    "winter": Mood(
        ((116, 152, 192), (182, 206, 226), (244, 246, 248)), (255, 255, 246), (176, 196, 216), (66, 92, 124), 4
    ),
}

_MOOD_WORDS = {
    "dawn": "dawn sunrise morning daybreak spring",
    "day": "day noon sunny summer blue beach",
    "dusk": "dusk sunset evening twilight golden autumn",
    "night": "night midnight moon moonlit moonlight stars starry dark neon",
    "aurora": "aurora northern arctic polar space",
    "ember": "desert dune dunes mars volcano fire lava canyon",
    "meadow": "meadow green field garden jungle valley",
    "lilac": "dream dreamy fantasy lavender purple pastel magic",
    "winter": "winter snow snowy ice frozen glacier fog foggy mist misty",
}

_SUBJECT_WORDS = {
    "pines": "forest forests tree trees pine pines wood woods jungle fox deer wolf bear",
    "city": "city skyline town street tower towers building buildings robot car neon cyberpunk office",
    "lighthouse": "lighthouse cliff storm coast",
    "boat": "boat boats ship ships sail sailing sea ocean harbour harbor lake water river beach island whale",
    "balloons": "balloon balloons fly flying sky air festival travel journey",
    "birds": "bird birds desert dune dunes mars mountain mountains canyon eagle",
}


def mood_of(prompt: str, dice: random.Random) -> Mood:
    """The mood the prompt names, else one by chance."""
    chance = dice.choice(list(MOODS))
    return MOODS[_look_up(prompt, _MOOD_WORDS) or chance]


def subject_of(prompt: str, dice: random.Random) -> str:
    """The subject the prompt names, else one by chance."""
    chance = dice.choice(list(_SUBJECT_WORDS))
    return _look_up(prompt, _SUBJECT_WORDS) or chance


def _look_up(prompt: str, vocabulary: dict[str, str]) -> str | None:
    """The entry that the earliest known word of the prompt belongs to."""
    for word in re.findall(r"[a-z]+", prompt.lower()):
        for name, words in vocabulary.items():
            if word in words.split():
                return name
    return None
