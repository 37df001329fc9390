"""Plots about images that are bought in batches."""

from __future__ import annotations

from random import Random

from ..history import IMAGES, VIDEOS, Fault
from .plot import LOST, REFUSED, UNREADABLE, Plot, buy, kill


def batch_that_nobody_finds(dice: Random) -> Plot:
    """The reply to a batch is lost, or its buyer killed, and the lists in which it would be found are unreadable."""
    how, first = dice.choice(UNREADABLE), dice.choice((1, 2, 2))
    faults = [Fault("page", number, how, 5.0) for number in range(first, first + dice.choice((1, 3, 9)))]
    faults.append(Fault("post.batch", 1, dice.choice(("dropped", *LOST)), 6.0) if first == 2 else kill(dice))
    if dice.random() < 0.3:
        faults.append(Fault("p1.replace", 1, dice.choice(("lost after", "500")), 2.0))
    actions = [buy(0, "batch", IMAGES, 0.0, restarts=1), buy(1, "batch", IMAGES, 60 + 60 * dice.random())]
    return {}, actions, faults


def batch_after_a_doubt(dice: Random) -> Plot:
    """The reply to an image is lost or very slow, and it is bought in a batch in spite of that."""
    what = dice.choice((IMAGES, IMAGES[:1]))
    actions = [
        buy(0, "image", IMAGES[:1], dice.random()),
        buy(1, "batch", what, dice.choice((0.0, 10.0, 50.0)) * dice.random(), resubmit=dice.random() < 0.8),
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


def batch_that_dies_after_a_doubt(dice: Random) -> Plot:
    """Images are bought in a batch in spite of a doubt; it is killed before it is ordered, and ordered again."""
    actions = [
        buy(0, "image", IMAGES[:1], 0.0),
        buy(1, "batch", IMAGES[:1], 60.0, resubmit=True),
        buy(2, "batch", IMAGES[:1], 90.0, resubmit=dice.random() < 0.2),
    ]
    return {}, actions, [Fault("post.image", 1, dice.choice(LOST), 5.0), Fault("kill.p1", 20 + dice.randrange(40))]


def batch_of_something_failed(dice: Random) -> Plot:
    """An image fails for good, alone or in a batch, and is bought again, in a batch or alone."""
    later = dice.choice((1.0, 100.0, 160.0)) + 5 * dice.random()
    again = buy(1, "batch", IMAGES, later, retry_failed=True)
    if dice.random() < 0.5:
        line = dice.choice((1, 2))
        fault = Fault("fate.line", line, dice.choice(("no content", "moderated", "failed")))
        if dice.random() < 0.6:
            again = buy(1, "image", IMAGES[line - 1 : line], later, retry_failed=True)
        return {}, [buy(0, "batch", IMAGES, 0.0), again], [fault]
    fault = Fault("post.image", 1, dice.choice(("moderated", "refused")))
    return {}, [buy(0, "image", IMAGES[:1], 0.0), again], [fault]


def line_that_fails_after_a_doubt(dice: Random) -> Plot:
    """Who buys an image stands still; it is bought in a batch in spite of that, fails there, and is there after all."""
    actions = [buy(0, "image", IMAGES[:1], 1.0), buy(1, "batch", IMAGES[:1], 10 + 3 * dice.random(), resubmit=True)]
    fate = dice.choice(("moderated", "failed", "no content"))
    faults = [Fault("freeze.p0", 12 + dice.randrange(12), "", 40 + 60 * dice.random()), Fault("fate.line", 1, fate)]
    if dice.random() < 0.4:  # what it was is written twice
        faults.append(Fault("p0.replace", 3, dice.choice(("503", "lost before")), 5.0))
    return {"took": dice.choice((1.0, 5.0, 20.0)), "budget": dice.choice((None, 0.41))}, actions, faults


def line_that_is_not_indexed(dice: Random) -> Plot:
    """A line of a batch is on record, and its entry in the index can't be written."""
    fault = Fault(
        "p0.create",
        dice.choice((1, 2, 3, 4, 5, 5, 6, 6)),
        dice.choice(("500", "lost after", "lost before", "503")),
        5.0,
    )
    kind, tries = dice.choice((("batch", 3), ("image", 1), ("image", 1)))
    actions = [buy(0, "batch", IMAGES, 0.0, tries=tries), buy(1, kind, IMAGES[:1], 6 * dice.random())]
    return {}, actions, [fault]


def batch_of_what_another_is_buying(dice: Random) -> Plot:
    """A batch waits for an image that somebody else is buying, and dies or is overtaken meanwhile."""
    actions = [buy(0, "batch", IMAGES[:1], dice.random(), restarts=1), buy(1, "image", IMAGES[:1], dice.random())]
    fault = dice.choice(
        (
            Fault("p0.replace", 1, "slow, late", 5 + 30 * dice.random()),
            Fault("p1.replace", 1, "slow, late", 5 + 30 * dice.random()),
            kill(dice),
        )
    )
    return {}, actions, [fault]


def resubmission_that_is_cancelled(dice: Random) -> Plot:
    """A reply is lost, and what is ordered in spite of that is refused or cancelled, or both at once."""
    kind, what = dice.choice((("video", VIDEOS[:1]), ("image", IMAGES[:1]), ("batch", IMAGES)))
    actions = [buy(0, kind, what, 0.0, resubmit=True), buy(1, kind, what, 10 + 20 * dice.random())]
    faults = [
        Fault(f"post.{kind}", 1, dice.choice(LOST), 10.0),
        Fault(f"post.{kind}", 2, dice.choice(("unreachable", "slow", *REFUSED)), 10.0),
        Fault("cancel.a0", 1, "", round(6 * dice.random(), 3)),
    ]
    if kind == "batch":
        faults += [Fault("page", number, dice.choice(UNREADABLE), 5.0) for number in range(2, 6)]
    return {"dialect": "sglang"} if kind == "video" else {}, actions, faults


def image_forgotten_and_ordered_in_a_batch(dice: Random) -> Plot:
    """An image is forgotten while it is made, and is ordered in a batch before the answer comes."""
    actions = [
        buy(0, "image", IMAGES[:1], 0.0),
        buy(1, "forget", IMAGES[:1], 0.5 + dice.random()),
        buy(2, "batch", dice.choice((IMAGES, IMAGES[:1])), 2 + 2 * dice.random()),
    ]
    faults = [Fault("post.image", 1, "slow", 8 + 20 * dice.random())]
    took, roll = 60.0, dice.random()
    if roll < 0.3:  # it fails in the batch
        took = dice.choice((1.0, 5.0))
        faults.append(Fault("fate.line", 1, dice.choice(("moderated", "failed", "no content"))))
    elif roll < 0.8:  # the batch can't put it into the index
        faults.append(Fault("p2.create", 4 + dice.randrange(3), dice.choice(("500", "503", "lost before")), 5.0))
    return {"latency": 0.05, "took": took}, actions, faults


def batch_that_dies_before_its_lines_are_on_record(dice: Random) -> Plot:
    """A batch is killed before its lines are on record, can't be looked up then, and is ordered in spite of that."""
    actions = [buy(0, "batch", IMAGES, 0.0, restarts=1, resubmit=True)]
    faults = [Fault("kill.p0", 3 + dice.randrange(12)), Fault("page", 1, dice.choice(UNREADABLE), 5.0)]
    return {}, actions, faults


def lines_in_doubt_whose_batch_is_in_doubt(dice: Random) -> Plot:
    """An image in doubt is ordered in a batch in spite of that, whose reply is lost and which can't be looked up."""
    actions = [
        buy(0, "image", IMAGES[:1], 0.0),
        buy(1, "batch", dice.choice((IMAGES, IMAGES[:1])), 60.0, resubmit=True, tries=dice.choice((1, 3))),
    ]
    faults = [
        Fault("post.image", 1, dice.choice(LOST), 5.0),
        Fault("post.batch", 1, dice.choice(("dropped", *LOST)), 5.0),
    ]
    faults += [Fault("page", number, dice.choice(("garbled", "unknown")), 5.0) for number in range(2, 8)]
    return {}, actions, faults


def batch_of_nothing_that_falls_asleep(dice: Random) -> Plot:
    """All of a batch was bought before; who finds that out stands still, and whoever takes over has a broken store."""
    actions = [
        buy(0, "image", IMAGES[:1], 0.0),
        buy(1, "batch", IMAGES[:1], 60.0),
        buy(2, "batch", IMAGES[:1], 62.0),
    ]
    faults = [
        Fault("freeze.p1", 4 + dice.randrange(16), "", 70 + 40 * dice.random()),
        Fault("p2.create", 3 + dice.randrange(2), dice.choice(("500", "503", "lost before")), 5.0),
    ]
    if dice.random() < 0.25:
        faults.append(Fault("page", dice.choice((1, 2)), dice.choice(("garbled", "unknown")), 5.0))
    return {"latency": 0.05}, actions, faults


def batch_of_nothing_whose_takeover_is_given_up(dice: Random) -> Plot:
    """All of a batch was bought before; who finds that out stands still, and whoever takes over is told nothing."""
    actions = [
        buy(0, "image", IMAGES[:1], 0.0),
        buy(1, "batch", IMAGES[:1], 60.0),
        buy(2, "batch", IMAGES[:1], 62.0),
    ]
    faults = [
        Fault("freeze.p1", 12 + dice.randrange(16), "", 12 + 40 * dice.random()),
        Fault("p2.replace", 1, "lost after", 5.0),
    ]
    return {"latency": 0.05}, actions, faults


def batch_whose_takeover_is_in_doubt(dice: Random) -> Plot:
    """Who orders a batch stands still before that is on record; whoever takes over can't look it up."""
    actions = [buy(0, "batch", IMAGES, 0.0), buy(1, "batch", IMAGES, dice.random())]
    faults = [Fault("freeze.p0", 43 + dice.randrange(10), "", 30 + 40 * dice.random())]
    faults.append(Fault("page", 2, dice.choice(("garbled", "unknown")), 5.0))
    return {"latency": 0.05}, actions, faults


def image_forgotten_at_its_second_try(dice: Random) -> Plot:
    """An image is refused, and again; before that is on record it is forgotten and ordered in a batch."""
    actions = [
        buy(0, "image", IMAGES[:1], 0.0),
        buy(1, "image", IMAGES[:1], 5.0),
        buy(2, "forget", IMAGES[:1], 7 + dice.random()),
        buy(3, "batch", dice.choice((IMAGES, IMAGES[:1])), 9 + dice.random()),
    ]
    faults = [
        Fault("post.image", 1, dice.choice(("refused", "429", "503"))),
        Fault("post.image", 2, dice.choice(("refused", "429", "503"))),
        Fault("p1.replace", dice.choice((2, 3)), "slow, late", 10 + 20 * dice.random()),
    ]
    return {"latency": 0.05}, actions, faults


def takeover_of_a_batch_when_the_store_is_away(dice: Random) -> Plot:
    """A batch is killed before it is ordered; whoever makes sure of that has a store that is away at that moment."""
    actions = [buy(0, "batch", IMAGES, 0.0), buy(1, "batch", IMAGES, 2.0)]
    faults = [
        Fault("kill.p0", 14 + dice.randrange(20)),
        Fault("away.store", 5 + dice.randrange(5), "", round(55 + 2.5 * dice.random(), 2)),
    ]
    return {"latency": 0.05}, actions, faults


def batch_ordered_in_spite_of_its_own_doubt(dice: Random) -> Plot:
    """The reply to a batch is lost and it can't be looked up; ordered once more, it may come to nothing."""
    faults = [
        Fault("post.batch", 1, dice.choice(LOST), 5.0),
        Fault("page", 2, dice.choice(("garbled", "unknown")), 5.0),
    ]
    if dice.random() < 0.6:
        faults.append(Fault("fate.batch", 2, dice.choice(("failed", "expired", "cancelled"))))
    what = dice.choice((IMAGES, IMAGES[:1]))
    return {"budget": dice.choice((None, 0.41))}, [buy(0, "batch", what, 0.0, resubmit=True)], faults
