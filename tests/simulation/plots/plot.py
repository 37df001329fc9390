"""What plots are made of."""

from __future__ import annotations

from random import Random
from typing import Any

from ..history import Action, Fault

Plot = tuple[dict[str, Any], list[Action], list[Fault]]
"""Traits of the world, actions, faults."""

REFUSED = ("refused", "moderated", "429", "503", "unreachable")
"""What can happen to a paid request that is then free to be sent again."""

LOST = ("lost", "lost 500", "lost 502", "lost 504", "garbled")
"""What can happen to a paid request that was taken."""

UNREADABLE = ("500", "429 wait", "dropped", "hangs", "unknown", "garbled")


def buy(number: int, kind: str, what: tuple[str, ...], at: float, **more: Any) -> Action:
    return Action(f"a{number}", f"p{number}", round(at, 3), kind, what, machine=number % 3, **more)


def kill(dice: Random) -> Fault:
    return Fault("kill.p0", 2 + dice.randrange(30))
