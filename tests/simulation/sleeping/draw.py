"""Draws a history of flow runs that sleep from a seed."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from ..draw import FATES, LOOKS, READS, REPLIES, WRITES
from ..history import IMAGES, THIRD_VIDEO, VIDEOS, Action, Fault, History
from .client import LOST

ALL_VIDEOS = (*VIDEOS, THIRD_VIDEO)

PLOTTED = 0.08
"""Share of the histories that lead to what chance seldom leads to."""


def draw(seed: int, *, skew: float = 300.0) -> History:
    """The history of a seed.

    Args:
        seed: Decides all of it.
        skew: How far clocks are off, in seconds, at most.
    """
    dice = Random(f"asleep {seed}")
    if dice.random() < PLOTTED:
        return _plotted(dice, seed)
    traits = _world(dice, skew)
    actions = _actions(dice)
    count = dice.choice((0, 1, 1, 2, 2, 3, 4))
    faults = [fault for _ in range(count) for fault in _breaks(dice, actions)]
    return History(seed, traits, tuple(actions), tuple(faults))


def _plotted(dice: Random, seed: int) -> History:
    """One flow run, one waker, and what strikes right before the flow run sleeps, or right before it is awake."""
    waker = Action("w0", "w0", 20 * dice.random(), "waker", ())
    flow = Action("f0", "f0", 1.0, "flow", VIDEOS[: dice.choice((1, 2))], timeout=dice.choice((120.0, 300.0)))
    asks = replace(flow, what=VIDEOS[:1], how=("approve",))
    traits, others = {"took": dice.choice((150.0, 1500.0))}, []
    match dice.randrange(6):
        case 0 | 1:  # resumed by hand, it dies before it has removed the record of its sleep, and sleeps for longer
            others, traits = [Action("i0", "i0", round(30 + 60 * dice.random(), 2), "nudge", ("f0",))], {"took": 1500.0}
            faults = [Fault("kill.f0r", 2 + dice.randrange(24))]
        case 2:  # a round of the waker comes between the record and the suspension
            faults = [Fault("f0.suspend", 1, "slow, late", 10 + 80 * dice.random())]
        case 3:  # the waker can't resume it
            what = dice.choice(("lost before, for good", "lost before, for good", "500 after"))
            faults = [Fault("w0.resume", 1, what)]
        case 4:  # it sleeps for an answer, and dies before the question can be seen
            flow, traits = replace(asks, timeout=3600.0), {"took": 10.0}
            faults = [Fault("f0.form", 1, "lost before, for good"), *_nobody_says_how_it_ends("f0")]
        case _:  # somebody answers at the last moment, and it is awake only after its deadline
            flow, traits = asks, {"took": 10.0, "worker_takes": 60.0}
            at = round(flow.timeout + 60 + 40 * dice.random(), 2)
            others, faults = [Action("i0", "i0", at, "answer", ("f0",))], []
    return History(seed, traits, (waker, flow, *others), tuple(faults))


def _world(dice: Random, skew: float) -> dict[str, Any]:
    traits: dict[str, Any] = {"took": dice.choice((10.0, 60.0, 150.0, 400.0, 1500.0))}
    if dice.random() < 0.4:
        traits["dialect"] = dice.choice(("billed", "sglang", "litellm", "litellm"))
    if dice.random() < 0.4:
        traits["latency"] = dice.choice((0.005, 0.3, 1.5))
    if dice.random() < 0.2:
        traits["listed_after"] = dice.choice((0.4, 1.4))
    if dice.random() < 0.1:
        traits["known_after"] = dice.choice((2.0, 8.0))
    if dice.random() < 0.2:
        traits["page"] = 2
        traits["strangers"] = dice.choice((1, 3, 5, 9))
    if skew and dice.random() < 0.25:
        traits["offsets"] = [0.0, *(dice.choice((-1.0, 1.0)) * dice.choice((5.0, 50.0, skew)) for _ in range(2))]
    if dice.random() < 0.2:
        traits["worker_takes"] = dice.choice((0.5, 60.0, 200.0))
    if dice.random() < 0.2:
        traits["crash_seen_after"] = dice.choice((0.5, 60.0, 540.0))
    if dice.random() < 0.1:
        traits["usage"] = False
    return traits


def _actions(dice: Random) -> list[Action]:
    actions = [
        Action(f"w{number}", f"w{number}", number * 13.0 * dice.random(), "waker", (), machine=number)
        for number in range(dice.choice((1, 1, 2)))
    ]
    flows = dice.choice((1, 1, 1, 2, 3))
    same = dice.random() < 0.3
    for number in range(flows):
        videos = ALL_VIDEOS[: dice.choice((1, 1, 2, 3))] if same else (ALL_VIDEOS[number], *_more(dice, number))
        images = IMAGES[: dice.choice((1, 2))] if number == 0 and dice.random() < 0.2 else ()
        how = [word for word, share in (("any", 0.2), ("approve", 0.2)) if dice.random() < share]
        actions.append(
            Action(
                f"f{number}",
                f"f{number}",
                round(1 + dice.choice((5, 60, 200)) * dice.random(), 2),
                "flow",
                (*videos, *images),
                "ab"[number % 2] if not same and dice.random() < 0.3 else "a",
                timeout=dice.choice((90.0, 300.0, 900.0, 3600.0, 3600.0)),
                machine=dice.randrange(3),
                how=tuple(how),
            )
        )
    for number in range(dice.choice((0, 0, 0, 1, 1, 2))):
        actions.append(_intervention(dice, number, flows))
    return actions


def _more(dice: Random, number: int) -> tuple[str, ...]:
    return (ALL_VIDEOS[(number + 1) % 3],) if dice.random() < 0.3 else ()


def _intervention(dice: Random, number: int, flows: int) -> Action:
    """What people and webhooks do meanwhile."""
    whose = f"f{dice.randrange(flows)}"
    at = round(10 + dice.choice((50, 200, 600, 2000)) * dice.random(), 2)
    kind = dice.choice(("hint", "hint", "answer", "answer", "nudge", "nudge", "cancel run", "delete run", "delete job"))
    if kind == "hint":
        return Action(f"h{number}", f"h{number}", at, kind, (dice.choice(ALL_VIDEOS),), machine=dice.randrange(3))
    if kind == "delete job":
        return Action(f"i{number}", f"i{number}", at, kind, (dice.choice(ALL_VIDEOS),))
    return Action(f"i{number}", f"i{number}", at, kind, (whose,))


def _breaks(dice: Random, actions: list[Action]) -> list[Fault]:
    """One thing that breaks."""
    flows = [action.name for action in actions if action.kind == "flow"]
    wakers = [action.name for action in actions if action.kind == "waker"]
    hints = [action.name for action in actions if action.kind == "hint"]
    flow = dice.choice(flows) + "r" * dice.choice((0, 0, 0, 1, 1, 2))
    waker = dice.choice((*wakers, *hints)) + "r" * dice.choice((0, 0, 1))
    anybody = dice.choice((flow, flow, waker))
    seconds = round(dice.choice((1, 8, 35, 100)) * (0.5 + dice.random()), 2)
    roll = dice.random()
    if roll < 0.22:
        return [Fault(f"kill.{flow}", int(dice.choice((40, 90, 200, 400)) * dice.random()) + 1)]
    if roll < 0.32:
        return [Fault(f"kill.{waker}", int(dice.choice((20, 60, 200, 500)) * dice.random()) + 1)]
    if roll < 0.36:
        return [Fault(f"freeze.{anybody}", int(dice.choice((20, 90, 300)) * dice.random()) + 1, "", seconds * 2)]
    if roll < 0.50:
        return [_of_prefect(dice, flow, waker, seconds)]
    if roll < 0.52:
        return _suspended_without_knowing(dice, flow)
    if roll < 0.56:
        return [
            Fault(
                "away.prefect",
                int(seconds * dice.choice((1, 5))) + 1,
                "",
                round(dice.choice((30, 100, 400)) * dice.random(), 2),
            )
        ]
    if roll < 0.74:
        verb = dice.choice(("create", "create", "replace", "fetch", "put", "delete", "delete", "list"))
        what = dice.choice(READS[:-1] if verb == "list" else READS if verb == "fetch" else WRITES)
        nth = dice.choice((1, 1, 2, 3, 4, 6)) + (dice.randrange(6) if verb in ("fetch", "create") else 0)
        return [Fault(f"{anybody}.{verb}", nth, what, seconds)]
    if roll < 0.78:
        whose = dice.choice(("store", "provider", flow))
        return [Fault(f"away.{whose}", int(seconds) + 1, "", round(dice.choice((10, 60, 400)) * dice.random(), 2))]
    if roll < 0.83:
        return [Fault("post.video", dice.choice((1, 1, 2)), dice.choice(REPLIES), seconds)]
    if roll < 0.91:
        where = dice.choice(("look", "list", "list", "page"))
        return [Fault(where, dice.choice((1, 2, 3, 5)), dice.choice(LOOKS), seconds)]
    where = dice.choice(("fate.video", "fate.video", "fate.batch", "fate.line"))
    return [Fault(where, dice.choice((1, 1, 2)), dice.choice(FATES[where]))]


def _suspended_without_knowing(dice: Random, flow: str) -> list[Fault]:
    """The answer to the suspension, or to its form, is lost, and so is everything that is said after that."""
    first = Fault(f"{flow}.{dice.choice(('suspend', 'suspend', 'form'))}", 1, dice.choice(LOST[3:]))
    return [first, *_nobody_says_how_it_ends(flow)]


def _nobody_says_how_it_ends(flow: str) -> list[Fault]:
    """Neither the process of a flow run nor its worker gets a word through to Prefect."""
    reports = [Fault(f"report.{flow.rstrip('r')}", number) for number in (1, 2)]
    return [Fault(f"{flow}.end", 1, "lost before, for good"), *reports]


def _of_prefect(dice: Random, flow: str, waker: str, seconds: float) -> Fault:
    """A request to Prefect's server that is lost on its way there or back."""
    what = dice.choice((*LOST, "slow, early", "slow, late"))
    whose, verb = dice.choice(
        ((flow, "suspend"), (flow, "suspend"), (flow, "api"), (flow, "form"), (flow, "end"), (waker, "resume"))
    )
    if dice.random() < 0.15:
        whose, verb = waker, "api"
    return Fault(f"{whose}.{verb}", dice.choice((1, 1, 2, 3)) if verb == "api" else 1, what, seconds)
