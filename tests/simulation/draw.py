"""Draws a history from a seed.

The weights see to it that each kind of fault strikes in one history of a hundred, and that each transition of a record
is taken in one of a thousand (docs/bought-once.md).
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from .history import IMAGES, VIDEOS, Action, Fault, History
from .plots import PLOTS

REPLIES = (
    *("lost", "lost 500", "lost 502", "lost 504", "dropped", "late", "garbled"),
    *("refused", "moderated", "429", "429 wait", "503", "503 wait", "unreachable", "slow", "forbidden"),
)
"""What can happen to a paid request."""

WRITES = ("lost before", "lost after", "lost after, seen as 412", "412", "500", "503", "slow, early", "slow, late")
READS = ("lost before", "500", "503", "slow")
LOOKS = ("500", "429 wait", "dropped", "hangs", "unknown", "garbled")

FATES = {
    "fate.video": ("failed", "failed, not billed", "moderated", "expired", "stuck", "no content", "half", "half"),
    "fate.line": ("failed", "failed, not billed", "moderated", "expired", "stuck", "no content", "half"),
    "fate.batch": ("failed", "expired", "cancelled", "cancelled", "cancelled", "cancelled", "stuck"),
}
"""What a job comes to that does not simply succeed."""

PLOTTED, RARE = 0.38, 0.05
"""Shares of histories that follow a plot, and that get one more of the faults that strike seldom."""


def draw(seed: int, *, skew: float = 3600.0) -> History:
    """The history of a seed.

    Args:
        seed: Decides all of it.
        skew: How far clocks are off, in seconds, at most.
    """
    dice = Random(seed)
    traits = _world(dice, skew)
    actions = _actions(dice, traits)
    faults = [fault for _ in range(dice.choice((0, 1, 1, 2, 2, 2, 3, 4))) for fault in _breaks(dice, traits, actions)]
    if any(action.kind == "batch" for action in actions) and dice.random() < 0.8:
        faults.append(
            Fault(dice.choice(("page", "file", "file", "file")), dice.choice((1, 1, 1, 2)), dice.choice(LOOKS), 5.0)
        )
    plots = Random(f"plot {seed}")
    roll = plots.random()
    if roll < PLOTTED:
        more, actions, faults = plots.choice(PLOTS)(plots)
        traits |= more
        if plots.random() < 0.5:
            faults = [*faults, *_breaks(plots, traits, actions)]
    elif roll < PLOTTED + RARE:
        faults.append(_rare(plots, actions))
    return History(seed, traits, tuple(actions), tuple(faults))


def _world(dice: Random, skew: float) -> dict[str, Any]:
    traits: dict[str, Any] = {}
    if dice.random() < 0.5:
        traits["dialect"] = dice.choice(("billed", "billed", "sglang", "litellm"))
    if dice.random() < 0.5:
        traits["latency"] = dice.choice((0.005, 0.3, 1.5))
    if dice.random() < 0.6:
        traits["took"] = dice.choice((1.0, 5.0, 60.0, 150.0))
    if dice.random() < 0.3:
        traits["listed_after"] = dice.choice((0.4, 1.4))
    if dice.random() < 0.1:
        traits["known_after"] = dice.choice((2.0, 8.0))
    if dice.random() < 0.15:
        traits["page"] = 2
        traits["strangers"] = dice.choice((1, 3, 5))
    if skew and dice.random() < 0.35:
        traits["offsets"] = [0.0, *(dice.choice((-1.0, 1.0)) * dice.choice((20.0, 300.0, skew - 5)) for _ in range(2))]
        dice.shuffle(traits["offsets"])
    if skew and dice.random() < 0.2:
        traits["server_offset"] = dice.choice((-skew, -300.0, -60.0, 60.0, 300.0, skew))
    elif dice.random() < 0.2 and "offsets" not in traits:
        traits["date"] = False
    if dice.random() < 0.35:
        traits["budget"] = dice.choice((0.4, 0.41, 0.81, 0.012, 5.0))
    if dice.random() < 0.2:
        traits["usage"] = False
    if dice.random() < 0.07:
        traits["kept_for"] = dice.choice((0.5, 20.0, 90.0))
    return traits


def _actions(dice: Random, traits: dict[str, Any]) -> list[Action]:
    shape = dice.random()
    kinds = ("video", "video", "split") if shape < 0.55 else ("image",) if shape < 0.75 else ("image", "batch", "batch")
    pool = VIDEOS if shape < 0.55 else IMAGES
    count = dice.choice((1, 1, 2, 2, 2, 3, 4))
    only = dice.random() < 0.7
    tried = dice.choice((1, 1, 3))
    actions: list[Action] = []
    for number in range(count):
        kind = dice.choice(kinds)
        what = pool if kind == "batch" and dice.random() < 0.7 else (pool[0] if only else dice.choice(pool),)
        new = number == 0 or dice.random() < 0.6
        process = f"p{number}" if new else actions[-1].process
        actions.append(
            Action(
                name=f"a{number}",
                process=process,
                at=round(dice.choice((0.0, 0.0, dice.random(), 5 * dice.random(), 90 * dice.random())), 3),
                kind=kind,
                what=what,
                scope="b" if dice.random() < 0.12 else "a",
                resubmit=dice.random() < 0.1,
                retry_failed=dice.random() < 0.15,
                timeout=dice.choice((300.0, 300.0, 300.0, 10.0, 40.0)),
                tries=tried,
                restarts=dice.choice((0, 1, 1, 2)),
                cancel_remote=dice.random() < 0.1,
                machine=dice.randrange(3) if new else actions[-1].machine,
            )
        )
    if dice.random() < 0.08:
        actions.append(
            replace(actions[0], name=f"a{count}", process=f"p{count}", at=actions[0].at + 99.0, **_again(dice))
        )
    elif dice.random() < 0.12:
        first = actions[0]
        kind = "cancel" if pool is VIDEOS and dice.random() < 0.5 else "forget"
        at = round(first.at + dice.choice((3.0, 30.0, 100.0)) * dice.random(), 3)
        actions.append(Action(f"a{count}", f"p{count}", at, kind, first.what, first.scope, machine=first.machine))
    return actions


def _again(dice: Random) -> dict[str, Any]:
    """How the same is ordered again much later: after it failed, or in spite of a doubt."""
    return {"retry_failed": True, "resubmit": dice.random() < 0.5, "timeout": 300.0, "restarts": 0}


def _breaks(dice: Random, traits: dict[str, Any], actions: list[Action]) -> list[Fault]:
    """One thing that breaks, with what has to happen before it can."""
    process = dice.choice(actions).process
    kinds = {action.kind for action in actions}
    paid = ["post.video"] if kinds & {"video", "split"} else ["post.image"] if "image" in kinds else []
    paid += ["post.batch"] * ("batch" in kinds)
    seconds = round(dice.choice((1, 8, 35, 70)) * (0.5 + dice.random()), 2)
    roll = dice.random()
    if roll < 0.24 and paid:
        return [Fault(dice.choice(paid), dice.choice((1, 1, 1, 2, 2, 3)), dice.choice(REPLIES), seconds)]
    if roll < 0.40:
        verb = dice.choice(("create", "create", "replace", "replace", "replace", "fetch", "put", "pour"))
        what = dice.choice(READS if verb == "fetch" else WRITES)
        return [Fault(f"{process}.{verb}", dice.choice((1, 1, 2, 2, 3, 4)), what, seconds)]
    if roll < 0.45:
        return [Fault(f"kill.{process}", int(dice.choice((12, 40, 120)) * dice.random()) + 1)]
    if roll < 0.48:
        return [Fault(f"freeze.{process}", int(dice.choice((12, 40, 120)) * dice.random()) + 1, "", seconds * 2)]
    if roll < 0.52:
        action = dice.choice(actions)
        return [Fault(f"cancel.{action.name}", 1, "", round(action.at + dice.choice((1, 8, 50)) * dice.random(), 3))]
    if roll < 0.80:
        return _of_answers(dice, kinds, process, seconds)
    if roll < 0.94:
        lines = ["fate.line", "fate.batch", "fate.batch"] if "batch" in kinds else []
        where = dice.choice(lines or ["fate.video"])
        return [Fault(where, dice.choice((1, 1, 2)), dice.choice(FATES[where]))]
    if roll < 0.96:
        whose = dice.choice(("store", "provider", process))
        return [Fault(f"away.{whose}", max(1, int(seconds)), "", round(dice.choice((1, 10, 60)) * dice.random(), 2))]
    if traits.get("offsets") or traits.get("server_offset"):
        return [Fault(f"clock.m{dice.randrange(3)}", 1, dice.choice(("forward", "back")), seconds)]
    return []


def _rare(dice: Random, actions: list[Action]) -> Fault:
    """What chance strikes with too seldom: a slow read, a paid request that has to wait, a batch that is cancelled."""
    kind = actions[0].kind if actions[0].kind in ("image", "batch") else "video"
    roll = dice.random()
    if roll < 0.5:
        seconds = round(dice.choice((1, 8, 35, 70)) * (0.5 + dice.random()), 2)
        return Fault(f"{dice.choice(actions).process}.fetch", dice.choice((1, 1, 2, 2, 3)), "slow", seconds)
    if kind == "batch" and roll < 0.8:
        return Fault("fate.batch", 1, "cancelled")
    return Fault(f"post.{kind}", 1, dice.choice(("429 wait", "503 wait", "forbidden")), 5.0)


def _of_answers(dice: Random, kinds: set[str], process: str, seconds: float) -> list[Fault]:
    """An answer that costs nothing and is no good. A list is asked for only after a reply was lost."""
    nth, what = dice.choice((1, 1, 1, 2)), dice.choice(LOOKS)
    if "batch" in kinds:
        return [Fault(dice.choice(("page", "page", "file", "file", "look")), nth, what, seconds)]
    if "image" in kinds or dice.random() < 0.4:
        return [Fault("look", dice.choice((1, 2, 3)), what, seconds)]
    lost = Fault("post.video", 1, dice.choice(("lost", "lost 502", "garbled")), 1.0)
    if dice.random() < 0.25:
        return [lost, *(Fault(f"{process}.list", number, "stale", seconds) for number in (1, 2))]
    return [lost, Fault("list", nth, dice.choice((what, what, what, "429 wait", "unknown")), seconds)]
