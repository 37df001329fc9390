"""A history is a list of decisions: what the world is like, who does what when, and what breaks. A seed draws one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from random import Random
from typing import Any

USUAL: dict[str, Any] = {
    "dialect": "openai",
    "latency": 0.05,
    "took": 20.0,
    "listed_after": 0.0,
    "known_after": 0.0,
    "page": 100,
    "server_offset": 0.0,
    "date": True,
    "offsets": [0.0, 0.0, 0.0],
    "budget": None,
    "usage": True,
    "kept_for": 1e9,
    "strangers": 0,
}
"""A world in which nothing is odd; a history names where its own differs."""

VIDEOS, IMAGES = ("boat", "fox"), ("cat", "owl")

REPLIES = (
    *("lost", "lost 500", "lost 502", "lost 504", "dropped", "late", "garbled"),
    *("refused", "moderated", "429", "429 wait", "503", "503 wait", "unreachable", "slow", "forbidden"),
)
"""What can happen to a paid request."""

WRITES = ("lost before", "lost after", "lost after, seen as 412", "412", "500", "503", "slow, early", "slow, late")
READS = ("lost before", "500", "503", "slow")
LOOKS = ("500", "429 wait", "dropped", "hangs", "unknown", "garbled")


@dataclass(frozen=True)
class Action:
    """What a buyer does.

    Attributes:
        name: What it is called.
        process: In which process it begins.
        at: When, in seconds.
        kind: "video", "split" (submitted, waited for and fetched in three processes), "image", "batch", "cancel" (of
            a video), or "forget".
        what: Names of the requests.
        scope: Their scope.
        resubmit: Whether it says `on_doubt="resubmit"`.
        retry_failed: Whether it buys again what failed.
        timeout: Seconds that it waits.
        tries: How often it is run when it fails with an error that passes.
        restarts: How often it is begun again in a new process when its own was killed.
        cancel_remote: Whether its cancellation ends the job at the provider.
        machine: Number of the machine of its process.
    """

    name: str
    process: str
    at: float
    kind: str
    what: tuple[str, ...]
    scope: str = "a"
    resubmit: bool = False
    retry_failed: bool = False
    timeout: float = 600.0
    tries: int = 1
    restarts: int = 0
    cancel_remote: bool = False
    machine: int = 0

    def __str__(self) -> str:
        more = [name for name in ("resubmit", "retry_failed", "cancel_remote") if getattr(self, name)]
        more += [
            f"{name}={value}" for name in ("tries", "restarts") if (value := getattr(self, name)) != USUAL_ACTION[name]
        ]
        more += [f"timeout={self.timeout:g}"] if self.timeout != 600 else []
        words = f"{self.kind} {'+'.join(self.what)} in scope {self.scope}"
        return (
            f"{self.name}: at {self.at:g} s {self.process} on machine {self.machine}: {words} {' '.join(more)}".rstrip()
        )


def _told(row: dict[str, Any], kind: type) -> dict[str, Any]:
    """The fields that are not as usual."""
    usual = {each.name: each.default for each in fields(kind)}
    return {name: value for name, value in row.items() if value != usual[name]}


USUAL_ACTION = {"tries": 1, "restarts": 0}


@dataclass(frozen=True)
class Fault:
    """What breaks: the nth time that something happens somewhere, or at a time.

    Attributes:
        where: For example "p0.replace", "post.video", "look", "fate.video", "kill.p0", "cancel.a1" or "clock.m1".
        nth: Which time, from 1.
        what: How.
        arg: Seconds, where it takes some.
    """

    where: str
    nth: int
    what: str = ""
    arg: float = 0.0

    def __str__(self) -> str:
        return f"{self.where} #{self.nth}: {self.what} {f'{self.arg:g} s' if self.arg else ''}".rstrip()

    @property
    def kind(self) -> str:
        """The same for all processes."""
        group, _, rest = self.where.partition(".")
        if group[0] == "p" and group[1:2].isdigit():
            return f"store: {self.what}" if rest != "list" or self.what != "stale" else "store: stale list"
        if group in ("post", "fate"):
            return f"{group}: {self.what}"
        return f"{group}: {self.what}" if self.what else group


@dataclass(frozen=True)
class History:
    """Everything that decides what happens."""

    seed: int
    traits: dict[str, Any] = field(default_factory=dict)
    actions: tuple[Action, ...] = ()
    faults: tuple[Fault, ...] = ()

    def trait(self, name: str) -> Any:
        return self.traits.get(name, USUAL[name])

    def to_json(self) -> str:
        row = asdict(self)
        row["actions"] = [_told(each, Action) for each in row["actions"]]
        row["faults"] = [_told(each, Fault) for each in row["faults"]]
        return json.dumps({"broke": "SAY WHAT", **row}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> History:
        row = json.loads(text)
        actions = tuple(Action(**{**each, "what": tuple(each["what"])}) for each in row["actions"])
        return cls(row["seed"], row["traits"], actions, tuple(Fault(**each) for each in row["faults"]))

    def steps(self) -> list[str]:
        """The same for people."""
        return [
            *(f"world: {name} = {value}" for name, value in self.traits.items()),
            *map(str, self.actions),
            *(f"fault: {fault}" for fault in self.faults),
        ]


def draw(seed: int, *, skew: float = 3600.0) -> History:
    """The history of a seed.

    Args:
        seed: Decides all of it.
        skew: How far clocks are off, in seconds, at most.
    """
    dice = Random(seed)
    traits = _world(dice, skew)
    actions = _actions(dice, traits)
    return History(seed, traits, tuple(actions), tuple(_faults(dice, traits, actions)))


def _world(dice: Random, skew: float) -> dict[str, Any]:
    traits: dict[str, Any] = {}
    if dice.random() < 0.5:
        traits["dialect"] = dice.choice(("billed", "billed", "sglang", "litellm"))
    if dice.random() < 0.5:
        traits["latency"] = dice.choice((0.005, 0.3, 1.5))
    if dice.random() < 0.6:
        traits["took"] = dice.choice((1.0, 5.0, 60.0, 240.0))
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
                timeout=dice.choice((600.0, 600.0, 600.0, 10.0, 40.0)),
                tries=tried,
                restarts=dice.choice((0, 1, 1, 2)),
                cancel_remote=dice.random() < 0.1,
                machine=dice.randrange(3) if new else actions[-1].machine,
            )
        )
    if dice.random() < 0.1:
        first = actions[0]
        kind = "cancel" if pool is VIDEOS and dice.random() < 0.5 else "forget"
        at = round(first.at + dice.choice((3.0, 30.0, 100.0)) * dice.random(), 3)
        actions.append(Action(f"a{count}", f"p{count}", at, kind, first.what, first.scope, machine=first.machine))
    return actions


def _faults(dice: Random, traits: dict[str, Any], actions: list[Action]) -> list[Fault]:
    faults: list[Fault] = []
    processes = sorted({action.process for action in actions})
    kinds = {action.kind for action in actions}
    posts = ["post.video"] if kinds & {"video", "split"} else ["post.image"] if "image" in kinds else []
    posts += ["post.batch"] * ("batch" in kinds)
    for _ in range(dice.choice((0, 1, 1, 2, 2, 3, 4, 5))):
        roll, process = dice.random(), dice.choice(processes)
        seconds = round(dice.choice((1, 8, 35, 70)) * (0.5 + dice.random()), 2)
        if roll < 0.30 and posts:
            what = dice.choice(REPLIES)
            faults.append(Fault(dice.choice(posts), dice.choice((1, 1, 1, 2, 2, 3)), what, seconds))
        elif roll < 0.52:
            verb = dice.choice(("create", "create", "replace", "replace", "replace", "fetch", "put", "pour", "list"))
            reads = verb in ("fetch", "list")
            what = "stale" if verb == "list" and dice.random() < 0.3 else dice.choice(READS if reads else WRITES)
            faults.append(Fault(f"{process}.{verb}", dice.choice((1, 1, 2, 2, 3, 4, 5, 7)), what, seconds))
        elif roll < 0.66:
            faults.append(Fault(f"kill.{process}", int(dice.choice((12, 40, 120)) * dice.random()) + 1))
        elif roll < 0.72:
            faults.append(
                Fault(f"freeze.{process}", int(dice.choice((12, 40, 120)) * dice.random()) + 1, "", seconds * 2)
            )
        elif roll < 0.79:
            action = dice.choice(actions)
            faults.append(
                Fault(f"cancel.{action.name}", 1, "", round(action.at + dice.choice((1, 8, 50)) * dice.random(), 3))
            )
        elif roll < 0.87:
            faults.append(
                Fault(
                    dice.choice(("look", "look", "list", "page", "file")),
                    dice.choice((1, 2, 3)),
                    dice.choice(LOOKS),
                    seconds,
                )
            )
        elif roll < 0.94:
            what = dice.choice(("failed", "failed, not billed", "moderated", "expired", "stuck", "no content", "half"))
            faults.append(Fault(dice.choice(("fate.video", "fate.line")), dice.choice((1, 1, 2)), what))
        elif roll < 0.97:
            whose = dice.choice(("store", "provider", process))
            faults.append(Fault(f"away.{whose}", 1, "", round(dice.choice((1, 10, 60)) * dice.random(), 2)))
            faults[-1] = Fault(faults[-1].where, max(1, int(seconds)), "", faults[-1].arg)
        else:
            machine = dice.randrange(3)
            if "offsets" in traits or "server_offset" in traits:
                faults.append(Fault(f"clock.m{machine}", 1, dice.choice(("forward", "back")), seconds))
    return faults
