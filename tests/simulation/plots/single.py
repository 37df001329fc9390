"""Plots about videos and images that are bought one by one."""

from __future__ import annotations

from random import Random

from ..history import IMAGES, VIDEOS, Fault
from .plot import LOST, REFUSED, Plot, buy


def pause_while_paying(dice: Random) -> Plot:
    """A buyer stands still after it paid, before that is on record; another takes over, and is told nothing."""
    actions = [buy(0, "video", VIDEOS[:1], 0.0), buy(1, "video", VIDEOS[:1], 4 * dice.random())]
    faults = [Fault("freeze.p0", 7 + dice.randrange(10), "", 30 + 60 * dice.random())]
    how = dice.choice(("dropped", "500", "hangs", "garbled"))
    faults += [Fault("list", number, how, 5.0) for number in range(1, 10)]
    return {"dialect": dice.choice(("openai", "openai", "litellm"))}, actions, faults


def forgotten_while_bought(dice: Random) -> Plot:
    """A purchase is forgotten while it is paid for, and bought anew."""
    kind, what = dice.choice((("video", VIDEOS[:1]), ("image", IMAGES[:1])))
    actions = [
        buy(0, kind, what, 0.0),
        buy(1, kind, what, dice.choice((0.0, 1 + 3 * dice.random()))),
        buy(2, kind, what, 2 + 3 * dice.random(), retry_failed=dice.random() < 0.3),
        buy(3, "forget", what, 0.5 + 3 * dice.random()),
    ]
    faults = [Fault(f"post.{kind}", 1, dice.choice(("slow", "slow", "lost", "late")), 10 + 20 * dice.random())]
    return {"latency": dice.choice((0.05, 0.3, 1.5)), "took": dice.choice((1.0, 5.0, 20.0))}, actions, faults


def forgotten_and_refused(dice: Random) -> Plot:
    """A purchase is forgotten before its answer is on record; whoever buys it anew is refused meanwhile."""
    kind, what = dice.choice((("video", VIDEOS[:1]), ("image", IMAGES[:1])))
    actions = [
        buy(0, kind, what, 0.0),
        buy(1, "forget", what, 1 + dice.random()),
        buy(2, kind, what, 4 + 2 * dice.random()),
    ]
    seconds = 10 + 20 * dice.random()
    faults = [Fault(f"post.{kind}", 2, dice.choice((*REFUSED, "moderated")), 8.0)]
    if dice.random() < 0.6:
        faults.append(Fault(f"post.{kind}", 1, "slow", seconds))
    else:
        faults += [Fault(f"post.{kind}", 1, "moderated"), Fault("p0.replace", 1, "slow, late", seconds)]
    return {"took": dice.choice((1.0, 5.0, 20.0))}, actions, faults


def refused_after_a_doubt(dice: Random) -> Plot:
    """A paid request is lost before it arrives, which a list shows; the second one is refused."""
    faults = [
        Fault("post.video", 1, "dropped", 5.0),
        Fault("post.video", 2, dice.choice((*REFUSED, "forbidden")), 5.0),
    ]
    return {"dialect": "openai"}, [buy(0, "video", VIDEOS[:1], 0.0, restarts=1)], faults


def doubt_that_is_not_written(dice: Random) -> Plot:
    """A reply is lost, which can't be put on record, and the provider can't be asked what it has."""
    faults = [Fault("post.video", 1, dice.choice(("dropped", *LOST)), 5.0)]
    faults += [Fault("p0.replace", number, dice.choice(("lost before", "503")), 5.0) for number in (1, 2)]
    faults += [Fault("list", number, dice.choice(("dropped", "500")), 5.0) for number in range(1, 10)]
    return {"dialect": "openai"}, [buy(0, "video", VIDEOS[:1], 0.0, restarts=1)], faults


def cancelled_after_it_failed(dice: Random) -> Plot:
    """A job comes to nothing, and is cancelled about when its buyer hears of it."""
    took = dice.choice((5.0, 20.0))
    actions = [
        buy(0, dice.choice(("video", "split")), VIDEOS[:1], 0.0),
        buy(1, "cancel", VIDEOS[:1], took * (0.9 + dice.random())),
    ]
    fault = Fault("fate.video", 1, dice.choice(("failed", "expired", "moderated", "failed, not billed")))
    return {"took": took}, actions, [fault]


def twins_whose_replies_are_lost(dice: Random) -> Plot:
    """The same is bought in two scopes; the first reply is lost, the second job is taken while the first searches."""
    first = buy(0, dice.choice(("video", "split")), VIDEOS[:1], dice.random())
    second = buy(1, "video", VIDEOS[:1], first.at + 4 * dice.random(), scope="b")
    faults = [
        Fault("post.video", 1, dice.choice(("dropped", *LOST)), 1.0),
        Fault("post.video", 2, "late", round(2 * dice.random(), 2)),
    ]
    return {"listed_after": dice.choice((0.0, 0.4, 1.4))}, [first, second], faults


def earlier_job_of_what_is_bought_again(dice: Random) -> Plot:
    """A job comes to nothing; while one buyer has it bought again, another still asks for the first job."""
    took = dice.choice((1.0, 5.0, 20.0))
    actions = [
        buy(0, "video", VIDEOS[:1], 0.0),
        buy(1, "split", VIDEOS[:1], dice.random()),
        buy(2, "video", VIDEOS[:1], took + 1 + 2 * dice.random(), retry_failed=True),
    ]
    faults = [
        Fault("fate.video", 1, dice.choice(("failed", "expired", "no content", "failed, not billed"))),
        Fault(dice.choice(("freeze.p1w", "freeze.p1f")), 1 + dice.randrange(4), "", took + 4 * dice.random()),
        Fault("post.video", 2, dice.choice(("slow", *LOST)), 5.0),
    ]
    return {"took": took, "budget": 5.0}, actions, faults


def takeover_that_is_given_up(dice: Random) -> Plot:
    """Who pays stands still, and whoever takes over is not told that the store took that; the first wakes up."""
    actions = [buy(0, "video", VIDEOS[:1], 1 + dice.random()), buy(1, "video", VIDEOS[:1], dice.random())]
    faults = [
        Fault("freeze.p1", 12 + dice.randrange(16), "", 30 + 60 * dice.random()),
        Fault("p0.replace", 1, "lost after", 10.0),
    ]
    return {}, actions, faults


def doubt_about_a_forgotten_answer(dice: Random) -> Plot:
    """A purchase is forgotten while it is paid for and bought anew; that is in doubt when the first answer comes."""
    actions = [
        buy(0, "video", VIDEOS[:1], 0.0),
        buy(1, "forget", VIDEOS[:1], 1 + dice.random()),
        buy(2, "video", VIDEOS[:1], 3 + 2 * dice.random()),
    ]
    if dice.random() < 0.4:  # the first answer is a refusal that is written late
        faults = [Fault("post.video", 1, "moderated"), Fault("post.video", 2, "dropped", 5.0)]
        faults.append(Fault("p0.replace", 1, "slow, late", 3 + 6 * dice.random()))
        return {"latency": 0.05}, actions, faults
    faults = [
        Fault("post.video", 1, "slow", 15 + 20 * dice.random()),
        Fault("post.video", 2, dice.choice(("late", *LOST)), 5.0),
    ]
    if dice.random() < 0.5:
        faults += [Fault("list", number, dice.choice(("garbled", "unknown")), 5.0) for number in range(1, 10)]
    return {"latency": 0.05}, actions, faults


def doubt_about_a_forgotten_failure(dice: Random) -> Plot:
    """A job is forgotten while it is made, and bought anew; that is in doubt when the first job comes to nothing."""
    actions = [
        buy(0, "video", VIDEOS[:1], 0.0),
        buy(1, "forget", VIDEOS[:1], 4 + 2 * dice.random()),
        buy(2, "video", VIDEOS[:1], 7 + 2 * dice.random()),
    ]
    faults = [
        Fault("post.video", 2, dice.choice(("dropped", *LOST)), 1.0),
        Fault("fate.video", 1, dice.choice(("failed", "moderated", "failed, not billed"))),
    ]
    dialect = "sglang"
    if dice.random() < 0.4:  # the list can't be read just now
        dialect = "openai"
        faults += [Fault("list", number, dice.choice(("500", "dropped")), 5.0) for number in range(1, 6)]
    return {"latency": 0.05, "took": 20.0, "dialect": dialect}, actions, faults


def retried_and_forgotten(dice: Random) -> Plot:
    """A video fails and is bought again; that is forgotten and refused late, when the next one was refused too."""
    actions = [
        buy(0, "video", VIDEOS[:1], 0.0),
        buy(1, "video", VIDEOS[:1], 8.0, retry_failed=True),
        buy(2, "forget", VIDEOS[:1], 9 + 2 * dice.random()),
        buy(3, "video", VIDEOS[:1], 12 + 2 * dice.random()),
    ]
    faults = [
        Fault("fate.video", 1, "failed"),
        Fault("post.video", 2, dice.choice(("refused", "429", "503"))),
        Fault("p1.replace", dice.choice((2, 3)), "slow, late", 10 + 20 * dice.random()),
        Fault("post.video", 3, dice.choice(("refused", "429", "503"))),
    ]
    return {"latency": 0.05, "took": 5.0}, actions, faults


def forgotten_while_it_is_looked_for(dice: Random) -> Plot:
    """The reply to a job is lost; it is forgotten while it is looked for, and bought anew meanwhile."""
    at = 2 + 2 * dice.random()
    actions = [
        buy(0, "video", VIDEOS[:1], 0.0),
        buy(1, "video", VIDEOS[:1], 0.0),
        buy(2, "video", VIDEOS[:1], at + 0.5 + dice.random()),
        buy(3, "forget", VIDEOS[:1], at),
    ]
    faults = [
        Fault("post.video", 1, dice.choice(("lost", "lost 500", "garbled")), 5.0),
        Fault("post.video", 2, dice.choice((*REFUSED, "forbidden", "slow")), 5.0),
    ]
    return {"latency": dice.choice((0.05, 0.3)), "took": dice.choice((1.0, 5.0))}, actions, faults


def outage_between_looks(dice: Random) -> Plot:
    """A job is not known in some looks, but for an outage between them never three times in a row."""
    known_not, away = dice.choice((1, 2)), dice.choice((1, 2, 5))
    faults = [Fault("look", number, "unknown") for number in range(1, known_not + 1)]
    faults += [
        Fault("look", known_not + number, dice.choice(("500", "dropped", "429 wait")), 1.0)
        for number in range(1, away + 1)
    ]
    faults += [Fault("look", known_not + away + number, "unknown") for number in range(1, dice.choice((2, 3)))]
    return {"dialect": "litellm", "took": 60.0}, [buy(0, "video", VIDEOS[:1], 0.0)], faults
