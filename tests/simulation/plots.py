"""Plots: what chance alone leads to in less than one history of a thousand. Each is a few decisions, with some chance.

A plot takes the place of what buyers do and what breaks; the rest of the history stays drawn by chance.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from .history import IMAGES, VIDEOS, Action, Fault

Plot = tuple[dict[str, Any], list[Action], list[Fault]]
"""Traits of the world, actions, faults."""

REFUSED = ("refused", "moderated", "429", "503", "unreachable")
"""What can happen to a paid request that is then free to be sent again."""

LOST = ("lost", "lost 500", "lost 502", "lost 504", "garbled")
"""What can happen to a paid request that was taken."""

UNREADABLE = ("500", "429 wait", "dropped", "hangs", "unknown", "garbled")


def _buy(number: int, kind: str, what: tuple[str, ...], at: float, **more: Any) -> Action:
    return Action(f"a{number}", f"p{number}", round(at, 3), kind, what, machine=number % 3, **more)


def _kill(dice: Random) -> Fault:
    return Fault("kill.p0", 2 + dice.randrange(30))


def _batch_that_nobody_finds(dice: Random) -> Plot:
    """The reply to a batch is lost, or its buyer killed, and the lists in which it would be found are unreadable."""
    how, first = dice.choice(UNREADABLE), dice.choice((1, 2, 2))
    faults = [Fault("page", number, how, 5.0) for number in range(first, first + dice.choice((1, 3, 9)))]
    faults.append(Fault("post.batch", 1, dice.choice(("dropped", *LOST)), 6.0) if first == 2 else _kill(dice))
    if dice.random() < 0.3:
        faults.append(Fault("p1.replace", 1, dice.choice(("lost after", "500")), 2.0))
    actions = [_buy(0, "batch", IMAGES, 0.0, restarts=1), _buy(1, "batch", IMAGES, 60 + 60 * dice.random())]
    return {}, actions, faults


def _batch_after_a_doubt(dice: Random) -> Plot:
    """The reply to an image is lost or very slow, and it is bought in a batch in spite of that."""
    what = dice.choice((IMAGES, IMAGES[:1]))
    actions = [
        _buy(0, "image", IMAGES[:1], dice.random()),
        _buy(1, "batch", what, dice.choice((0.0, 10.0, 50.0)) * dice.random(), resubmit=dice.random() < 0.8),
    ]
    faults = [
        dice.choice(
            (
                Fault("p0.replace", 1, "slow, late", 5 + 40 * dice.random()),
                Fault("post.image", 1, dice.choice(LOST), 5.0),
                Fault("freeze.p0", 10 + dice.randrange(12), "", 20 + 80 * dice.random()),
            )
        )
    ]
    if dice.random() < 0.6:
        faults.append(
            dice.choice(
                (
                    Fault("post.batch", 1, dice.choice((*REFUSED, *LOST)), 5.0),
                    Fault("fate.batch", 1, dice.choice(("failed", "expired", "cancelled"))),
                    Fault("fate.line", 1, dice.choice(("failed", "moderated", "no content"))),
                    Fault("file", 1, dice.choice(UNREADABLE), 5.0),
                    Fault("cancel.a1", 1, "", actions[1].at + 30 * dice.random()),
                )
            )
        )
    return {}, actions, faults


def _batch_that_dies_after_a_doubt(dice: Random) -> Plot:
    """Images are bought in a batch in spite of a doubt; it is killed before it is ordered, and ordered again."""
    actions = [
        _buy(0, "image", IMAGES[:1], 0.0),
        _buy(1, "batch", IMAGES[:1], 60.0, resubmit=True),
        _buy(2, "batch", IMAGES[:1], 90.0, resubmit=dice.random() < 0.2),
    ]
    return {}, actions, [Fault("post.image", 1, dice.choice(LOST), 5.0), Fault("kill.p1", 20 + dice.randrange(40))]


def _batch_of_something_failed(dice: Random) -> Plot:
    """An image fails for good, alone or in a batch, and is bought again, in a batch or alone."""
    later = dice.choice((1.0, 100.0, 160.0)) + 5 * dice.random()
    again = _buy(1, "batch", IMAGES, later, retry_failed=True)
    if dice.random() < 0.5:
        line = dice.choice((1, 2))
        fault = Fault("fate.line", line, dice.choice(("no content", "moderated", "failed")))
        if dice.random() < 0.6:
            again = _buy(1, "image", IMAGES[line - 1 : line], later, retry_failed=True)
        return {}, [_buy(0, "batch", IMAGES, 0.0), again], [fault]
    fault = Fault("post.image", 1, dice.choice(("moderated", "refused")))
    return {}, [_buy(0, "image", IMAGES[:1], 0.0), again], [fault]


def _line_that_fails_after_a_doubt(dice: Random) -> Plot:
    """Who buys an image stands still; it is bought in a batch in spite of that, fails there, and is there after all."""
    actions = [_buy(0, "image", IMAGES[:1], 1.0), _buy(1, "batch", IMAGES[:1], 10 + 3 * dice.random(), resubmit=True)]
    fate = dice.choice(("moderated", "failed", "no content"))
    faults = [Fault("freeze.p0", 12 + dice.randrange(12), "", 40 + 60 * dice.random()), Fault("fate.line", 1, fate)]
    if dice.random() < 0.4:  # what it was is written twice
        faults.append(Fault("p0.replace", 3, dice.choice(("503", "lost before")), 5.0))
    return {"took": dice.choice((1.0, 5.0, 20.0)), "budget": dice.choice((None, 0.41))}, actions, faults


def _line_that_is_not_indexed(dice: Random) -> Plot:
    """A line of a batch is on record, and its entry in the index can't be written."""
    fault = Fault(
        "p0.create",
        dice.choice((1, 2, 3, 4, 5, 5, 6, 6)),
        dice.choice(("500", "lost after", "lost before", "503")),
        5.0,
    )
    kind, tries = dice.choice((("batch", 3), ("image", 1), ("image", 1)))
    actions = [_buy(0, "batch", IMAGES, 0.0, tries=tries), _buy(1, kind, IMAGES[:1], 6 * dice.random())]
    return {}, actions, [fault]


def _batch_of_what_another_is_buying(dice: Random) -> Plot:
    """A batch waits for an image that somebody else is buying, and dies or is overtaken meanwhile."""
    actions = [_buy(0, "batch", IMAGES[:1], dice.random(), restarts=1), _buy(1, "image", IMAGES[:1], dice.random())]
    fault = dice.choice(
        (
            Fault("p0.replace", 1, "slow, late", 5 + 30 * dice.random()),
            Fault("p1.replace", 1, "slow, late", 5 + 30 * dice.random()),
            _kill(dice),
        )
    )
    return {}, actions, [fault]


def _pause_while_paying(dice: Random) -> Plot:
    """A buyer stands still after it paid, before that is on record; another takes over, and is told nothing."""
    actions = [_buy(0, "video", VIDEOS[:1], 0.0), _buy(1, "video", VIDEOS[:1], 4 * dice.random())]
    faults = [Fault("freeze.p0", 7 + dice.randrange(10), "", 30 + 60 * dice.random())]
    how = dice.choice(("dropped", "500", "hangs", "garbled"))
    faults += [Fault("list", number, how, 5.0) for number in range(1, 10)]
    return {"dialect": dice.choice(("openai", "openai", "litellm"))}, actions, faults


def _forgotten_while_bought(dice: Random) -> Plot:
    """A purchase is forgotten while it is paid for, and bought anew."""
    kind, what = dice.choice((("video", VIDEOS[:1]), ("image", IMAGES[:1])))
    actions = [
        _buy(0, kind, what, 0.0),
        _buy(1, kind, what, dice.choice((0.0, 1 + 3 * dice.random()))),
        _buy(2, kind, what, 2 + 3 * dice.random(), retry_failed=dice.random() < 0.3),
        _buy(3, "forget", what, 0.5 + 3 * dice.random()),
    ]
    faults = [Fault(f"post.{kind}", 1, dice.choice(("slow", "slow", "lost", "late")), 10 + 20 * dice.random())]
    return {"latency": dice.choice((0.05, 0.3, 1.5)), "took": dice.choice((1.0, 5.0, 20.0))}, actions, faults


def _forgotten_and_refused(dice: Random) -> Plot:
    """A purchase is forgotten before its answer is on record; whoever buys it anew is refused meanwhile."""
    kind, what = dice.choice((("video", VIDEOS[:1]), ("image", IMAGES[:1])))
    actions = [
        _buy(0, kind, what, 0.0),
        _buy(1, "forget", what, 1 + dice.random()),
        _buy(2, kind, what, 4 + 2 * dice.random()),
    ]
    seconds = 10 + 20 * dice.random()
    faults = [Fault(f"post.{kind}", 2, dice.choice((*REFUSED, "moderated")), 8.0)]
    if dice.random() < 0.6:
        faults.append(Fault(f"post.{kind}", 1, "slow", seconds))
    else:
        faults += [Fault(f"post.{kind}", 1, "moderated"), Fault("p0.replace", 1, "slow, late", seconds)]
    return {"took": dice.choice((1.0, 5.0, 20.0))}, actions, faults


def _refused_after_a_doubt(dice: Random) -> Plot:
    """A paid request is lost before it arrives, which a list shows; the second one is refused."""
    faults = [
        Fault("post.video", 1, "dropped", 5.0),
        Fault("post.video", 2, dice.choice((*REFUSED, "forbidden")), 5.0),
    ]
    return {"dialect": "openai"}, [_buy(0, "video", VIDEOS[:1], 0.0, restarts=1)], faults


def _doubt_that_is_not_written(dice: Random) -> Plot:
    """A reply is lost, which can't be put on record, and the provider can't be asked what it has."""
    faults = [Fault("post.video", 1, dice.choice(("dropped", *LOST)), 5.0)]
    faults += [Fault("p0.replace", number, dice.choice(("lost before", "503")), 5.0) for number in (1, 2)]
    faults += [Fault("list", number, dice.choice(("dropped", "500")), 5.0) for number in range(1, 10)]
    return {"dialect": "openai"}, [_buy(0, "video", VIDEOS[:1], 0.0, restarts=1)], faults


def _cancelled_after_it_failed(dice: Random) -> Plot:
    """A job comes to nothing, and is cancelled about when its buyer hears of it."""
    took = dice.choice((5.0, 20.0))
    actions = [
        _buy(0, dice.choice(("video", "split")), VIDEOS[:1], 0.0),
        _buy(1, "cancel", VIDEOS[:1], took * (0.9 + dice.random())),
    ]
    fault = Fault("fate.video", 1, dice.choice(("failed", "expired", "moderated", "failed, not billed")))
    return {"took": took}, actions, [fault]


def _twins_whose_replies_are_lost(dice: Random) -> Plot:
    """The same is bought in two scopes; the first reply is lost, the second job is taken while the first searches."""
    first = _buy(0, dice.choice(("video", "split")), VIDEOS[:1], dice.random())
    second = _buy(1, "video", VIDEOS[:1], first.at + 4 * dice.random(), scope="b")
    faults = [
        Fault("post.video", 1, dice.choice(("dropped", *LOST)), 1.0),
        Fault("post.video", 2, "late", round(2 * dice.random(), 2)),
    ]
    return {"listed_after": dice.choice((0.0, 0.4, 1.4))}, [first, second], faults


def _earlier_job_of_what_is_bought_again(dice: Random) -> Plot:
    """A job comes to nothing; while one buyer has it bought again, another still asks for the first job."""
    took = dice.choice((1.0, 5.0, 20.0))
    actions = [
        _buy(0, "video", VIDEOS[:1], 0.0),
        _buy(1, "split", VIDEOS[:1], dice.random()),
        _buy(2, "video", VIDEOS[:1], took + 1 + 2 * dice.random(), retry_failed=True),
    ]
    faults = [
        Fault("fate.video", 1, dice.choice(("failed", "expired", "no content", "failed, not billed"))),
        Fault(dice.choice(("freeze.p1w", "freeze.p1f")), 1 + dice.randrange(4), "", took + 4 * dice.random()),
        Fault("post.video", 2, dice.choice(("slow", *LOST)), 5.0),
    ]
    return {"took": took, "budget": 5.0}, actions, faults


def _resubmission_that_is_cancelled(dice: Random) -> Plot:
    """A reply is lost, and what is ordered in spite of that is refused or cancelled, or both at once."""
    kind, what = dice.choice((("video", VIDEOS[:1]), ("image", IMAGES[:1]), ("batch", IMAGES)))
    actions = [_buy(0, kind, what, 0.0, resubmit=True), _buy(1, kind, what, 10 + 20 * dice.random())]
    faults = [
        Fault(f"post.{kind}", 1, dice.choice(LOST), 10.0),
        Fault(f"post.{kind}", 2, dice.choice(("unreachable", "slow", *REFUSED)), 10.0),
        Fault("cancel.a0", 1, "", round(6 * dice.random(), 3)),
    ]
    if kind == "batch":
        faults += [Fault("page", number, dice.choice(UNREADABLE), 5.0) for number in range(2, 6)]
    return {"dialect": "sglang"} if kind == "video" else {}, actions, faults


def _takeover_that_is_given_up(dice: Random) -> Plot:
    """Who pays stands still, and whoever takes over is not told that the store took that; the first wakes up."""
    actions = [_buy(0, "video", VIDEOS[:1], 1 + dice.random()), _buy(1, "video", VIDEOS[:1], dice.random())]
    faults = [
        Fault("freeze.p1", 12 + dice.randrange(16), "", 30 + 60 * dice.random()),
        Fault("p0.replace", 1, "lost after", 10.0),
    ]
    return {}, actions, faults


def _doubt_about_a_forgotten_answer(dice: Random) -> Plot:
    """A purchase is forgotten while it is paid for and bought anew; that is in doubt when the first answer comes."""
    actions = [
        _buy(0, "video", VIDEOS[:1], 0.0),
        _buy(1, "forget", VIDEOS[:1], 1 + dice.random()),
        _buy(2, "video", VIDEOS[:1], 3 + 2 * dice.random()),
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


def _image_forgotten_and_ordered_in_a_batch(dice: Random) -> Plot:
    """An image is forgotten while it is made, and is ordered in a batch before the answer comes."""
    actions = [
        _buy(0, "image", IMAGES[:1], 0.0),
        _buy(1, "forget", IMAGES[:1], 0.5 + dice.random()),
        _buy(2, "batch", dice.choice((IMAGES, IMAGES[:1])), 2 + 2 * dice.random()),
    ]
    faults = [Fault("post.image", 1, "slow", 8 + 20 * dice.random())]
    took, roll = 60.0, dice.random()
    if roll < 0.3:  # it fails in the batch
        took = dice.choice((1.0, 5.0))
        faults.append(Fault("fate.line", 1, dice.choice(("moderated", "failed", "no content"))))
    elif roll < 0.8:  # the batch can't put it into the index
        faults.append(Fault("p2.create", 4 + dice.randrange(3), dice.choice(("500", "503", "lost before")), 5.0))
    return {"latency": 0.05, "took": took}, actions, faults


def _batch_that_dies_before_its_lines_are_on_record(dice: Random) -> Plot:
    """A batch is killed before its lines are on record, can't be looked up then, and is ordered in spite of that."""
    actions = [_buy(0, "batch", IMAGES, 0.0, restarts=1, resubmit=True)]
    faults = [Fault("kill.p0", 3 + dice.randrange(12)), Fault("page", 1, dice.choice(UNREADABLE), 5.0)]
    return {}, actions, faults


def _lines_in_doubt_whose_batch_is_in_doubt(dice: Random) -> Plot:
    """An image in doubt is ordered in a batch in spite of that, whose reply is lost and which can't be looked up."""
    actions = [
        _buy(0, "image", IMAGES[:1], 0.0),
        _buy(1, "batch", dice.choice((IMAGES, IMAGES[:1])), 60.0, resubmit=True, tries=dice.choice((1, 3))),
    ]
    faults = [
        Fault("post.image", 1, dice.choice(LOST), 5.0),
        Fault("post.batch", 1, dice.choice(("dropped", *LOST)), 5.0),
    ]
    faults += [Fault("page", number, dice.choice(("garbled", "unknown")), 5.0) for number in range(2, 8)]
    return {}, actions, faults


def _batch_of_nothing_that_falls_asleep(dice: Random) -> Plot:
    """All of a batch was bought before; who finds that out stands still, and whoever takes over has a broken store."""
    actions = [
        _buy(0, "image", IMAGES[:1], 0.0),
        _buy(1, "batch", IMAGES[:1], 60.0),
        _buy(2, "batch", IMAGES[:1], 62.0),
    ]
    faults = [
        Fault("freeze.p1", 4 + dice.randrange(16), "", 70 + 40 * dice.random()),
        Fault("p2.create", 3 + dice.randrange(2), dice.choice(("500", "503", "lost before")), 5.0),
    ]
    if dice.random() < 0.25:
        faults.append(Fault("page", dice.choice((1, 2)), dice.choice(("garbled", "unknown")), 5.0))
    return {"latency": 0.05}, actions, faults


def _doubt_about_a_forgotten_failure(dice: Random) -> Plot:
    """A job is forgotten while it is made, and bought anew; that is in doubt when the first job comes to nothing."""
    actions = [
        _buy(0, "video", VIDEOS[:1], 0.0),
        _buy(1, "forget", VIDEOS[:1], 4 + 2 * dice.random()),
        _buy(2, "video", VIDEOS[:1], 7 + 2 * dice.random()),
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


def _batch_of_nothing_whose_takeover_is_given_up(dice: Random) -> Plot:
    """All of a batch was bought before; who finds that out stands still, and whoever takes over is told nothing."""
    actions = [
        _buy(0, "image", IMAGES[:1], 0.0),
        _buy(1, "batch", IMAGES[:1], 60.0),
        _buy(2, "batch", IMAGES[:1], 62.0),
    ]
    faults = [
        Fault("freeze.p1", 12 + dice.randrange(16), "", 12 + 40 * dice.random()),
        Fault("p2.replace", 1, "lost after", 5.0),
    ]
    return {"latency": 0.05}, actions, faults


def _retried_and_forgotten(dice: Random) -> Plot:
    """A video fails and is bought again; that is forgotten and refused late, when the next one was refused too."""
    actions = [
        _buy(0, "video", VIDEOS[:1], 0.0),
        _buy(1, "video", VIDEOS[:1], 8.0, retry_failed=True),
        _buy(2, "forget", VIDEOS[:1], 9 + 2 * dice.random()),
        _buy(3, "video", VIDEOS[:1], 12 + 2 * dice.random()),
    ]
    faults = [
        Fault("fate.video", 1, "failed"),
        Fault("post.video", 2, dice.choice(("refused", "429", "503"))),
        Fault("p1.replace", dice.choice((2, 3)), "slow, late", 10 + 20 * dice.random()),
        Fault("post.video", 3, dice.choice(("refused", "429", "503"))),
    ]
    return {"latency": 0.05, "took": 5.0}, actions, faults


def _batch_whose_takeover_is_in_doubt(dice: Random) -> Plot:
    """Who orders a batch stands still before that is on record; whoever takes over can't look it up."""
    actions = [_buy(0, "batch", IMAGES, 0.0), _buy(1, "batch", IMAGES, dice.random())]
    faults = [Fault("freeze.p0", 43 + dice.randrange(10), "", 30 + 40 * dice.random())]
    faults.append(Fault("page", 2, dice.choice(("garbled", "unknown")), 5.0))
    return {"latency": 0.05}, actions, faults


def _image_forgotten_at_its_second_try(dice: Random) -> Plot:
    """An image is refused, and again; before that is on record it is forgotten and ordered in a batch."""
    actions = [
        _buy(0, "image", IMAGES[:1], 0.0),
        _buy(1, "image", IMAGES[:1], 5.0),
        _buy(2, "forget", IMAGES[:1], 7 + dice.random()),
        _buy(3, "batch", dice.choice((IMAGES, IMAGES[:1])), 9 + dice.random()),
    ]
    faults = [
        Fault("post.image", 1, dice.choice(("refused", "429", "503"))),
        Fault("post.image", 2, dice.choice(("refused", "429", "503"))),
        Fault("p1.replace", dice.choice((2, 3)), "slow, late", 10 + 20 * dice.random()),
    ]
    return {"latency": 0.05}, actions, faults


def _takeover_of_a_batch_when_the_store_is_away(dice: Random) -> Plot:
    """A batch is killed before it is ordered; whoever makes sure of that has a store that is away at that moment."""
    actions = [_buy(0, "batch", IMAGES, 0.0), _buy(1, "batch", IMAGES, 2.0)]
    faults = [
        Fault("kill.p0", 14 + dice.randrange(20)),
        Fault("away.store", 5 + dice.randrange(5), "", round(55 + 2.5 * dice.random(), 2)),
    ]
    return {"latency": 0.05}, actions, faults


def _batch_ordered_in_spite_of_its_own_doubt(dice: Random) -> Plot:
    """The reply to a batch is lost and it can't be looked up; ordered once more, it may come to nothing."""
    faults = [
        Fault("post.batch", 1, dice.choice(LOST), 5.0),
        Fault("page", 2, dice.choice(("garbled", "unknown")), 5.0),
    ]
    if dice.random() < 0.6:
        faults.append(Fault("fate.batch", 2, dice.choice(("failed", "expired", "cancelled"))))
    what = dice.choice((IMAGES, IMAGES[:1]))
    return {"budget": dice.choice((None, 0.41))}, [_buy(0, "batch", what, 0.0, resubmit=True)], faults


def _forgotten_while_it_is_looked_for(dice: Random) -> Plot:
    """The reply to a job is lost; it is forgotten while it is looked for, and bought anew meanwhile."""
    at = 2 + 2 * dice.random()
    actions = [
        _buy(0, "video", VIDEOS[:1], 0.0),
        _buy(1, "video", VIDEOS[:1], 0.0),
        _buy(2, "video", VIDEOS[:1], at + 0.5 + dice.random()),
        _buy(3, "forget", VIDEOS[:1], at),
    ]
    faults = [
        Fault("post.video", 1, dice.choice(("lost", "lost 500", "garbled")), 5.0),
        Fault("post.video", 2, dice.choice((*REFUSED, "forbidden", "slow")), 5.0),
    ]
    return {"latency": dice.choice((0.05, 0.3)), "took": dice.choice((1.0, 5.0))}, actions, faults


def _outage_between_looks(dice: Random) -> Plot:
    """A job is not known in some looks, but for an outage between them never three times in a row."""
    known_not, away = dice.choice((1, 2)), dice.choice((1, 2, 5))
    faults = [Fault("look", number, "unknown") for number in range(1, known_not + 1)]
    faults += [
        Fault("look", known_not + number, dice.choice(("500", "dropped", "429 wait")), 1.0)
        for number in range(1, away + 1)
    ]
    faults += [Fault("look", known_not + away + number, "unknown") for number in range(1, dice.choice((2, 3)))]
    return {"dialect": "litellm", "took": 60.0}, [_buy(0, "video", VIDEOS[:1], 0.0)], faults


PLOTS: tuple[Callable[[Random], Plot], ...] = (
    _batch_that_nobody_finds,
    _batch_after_a_doubt,
    _batch_after_a_doubt,
    _batch_that_dies_after_a_doubt,
    _batch_of_something_failed,
    _batch_of_something_failed,
    _batch_of_something_failed,
    _line_that_fails_after_a_doubt,
    _line_that_is_not_indexed,
    _line_that_is_not_indexed,
    _batch_of_what_another_is_buying,
    _pause_while_paying,
    _forgotten_while_bought,
    _forgotten_while_bought,
    _forgotten_and_refused,
    _forgotten_and_refused,
    _refused_after_a_doubt,
    _refused_after_a_doubt,
    _doubt_that_is_not_written,
    _doubt_that_is_not_written,
    _cancelled_after_it_failed,
    _twins_whose_replies_are_lost,
    _earlier_job_of_what_is_bought_again,
    _resubmission_that_is_cancelled,
    _takeover_that_is_given_up,
    _doubt_about_a_forgotten_answer,
    _image_forgotten_and_ordered_in_a_batch,
    _batch_that_dies_before_its_lines_are_on_record,
    _lines_in_doubt_whose_batch_is_in_doubt,
    _batch_of_nothing_that_falls_asleep,
    _doubt_about_a_forgotten_failure,
    _batch_of_nothing_whose_takeover_is_given_up,
    _retried_and_forgotten,
    _batch_whose_takeover_is_in_doubt,
    _image_forgotten_at_its_second_try,
    _takeover_of_a_batch_when_the_store_is_away,
    _batch_ordered_in_spite_of_its_own_doubt,
    _forgotten_while_it_is_looked_for,
    _outage_between_looks,
)
