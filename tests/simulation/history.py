"""A history is a list of decisions: what the world is like, who does what when, and what breaks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
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
    "worker_takes": 5.0,
    "crash_seen_after": 7.0,
    "run_again_after": 10.0,
    "every": 60.0,
}
"""A world in which nothing is odd; a history names where its own differs."""

VIDEOS, IMAGES = ("boat", "fox"), ("cat", "owl")
THIRD_VIDEO = "sea"


@dataclass(frozen=True)
class Action:
    """What a buyer does.

    Attributes:
        name: What it is called.
        process: In which process it begins.
        at: When, in seconds.
        kind: "video", "split" (submitted, waited for and fetched in three processes), "image", "batch", "cancel" (of
            a video), or "forget". In `sleeping`: "flow", "waker", "hint", "answer", "nudge", "cancel run", "delete run"
            and "delete job".
        what: Names of the requests.
        scope: Their scope.
        resubmit: Whether it says `on_doubt="resubmit"`.
        retry_failed: Whether it buys again what failed.
        timeout: Seconds that it waits.
        tries: How often it is run when it fails with an error that passes.
        restarts: How often it is begun again in a new process when its own was killed.
        cancel_remote: Whether its cancellation ends the job at the provider.
        machine: Number of the machine of its process.
        how: What else a flow run does: "any", "approve".
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
    how: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = [name for name in ("resubmit", "retry_failed", "cancel_remote") if getattr(self, name)]
        more += [
            f"{name}={value}" for name in ("tries", "restarts") if (value := getattr(self, name)) != USUAL_ACTION[name]
        ]
        more += [f"timeout={self.timeout:g}"] if self.timeout != 600 else []
        more += self.how
        words = f"{self.kind} {'+'.join(self.what)} in scope {self.scope}"
        return (
            f"{self.name}: at {self.at:g} s {self.process} on machine {self.machine}: {words} {' '.join(more)}".rstrip()
        )


def _unusual_fields(row: dict[str, Any], kind: type) -> dict[str, Any]:
    """The fields that are not as usual."""
    usual = {each.name: each.default for each in fields(kind)}
    return {name: value for name, value in row.items() if value != usual[name]}


USUAL_ACTION = {"tries": 1, "restarts": 0}


PREFECT = ("suspend", "resume", "form", "end", "api")
"""Requests to Prefect's server."""


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
        if group[0] in "pfwh" and group[1:2].isdigit():
            if rest in PREFECT:
                return f"prefect: {self.what}"
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
        row["actions"] = [_unusual_fields(each, Action) for each in row["actions"]]
        row["faults"] = [_unusual_fields(each, Fault) for each in row["faults"]]
        return json.dumps({"broke": "SAY WHAT", **row}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> History:
        row = json.loads(text)
        actions = tuple(
            Action(**{**each, **{name: tuple(each[name]) for name in ("what", "how") if name in each}})
            for each in row["actions"]
        )
        return cls(row["seed"], row["traits"], actions, tuple(Fault(**each) for each in row["faults"]))

    def steps(self) -> list[str]:
        """The same for people."""
        return [
            *(f"world: {name} = {value}" for name, value in self.traits.items()),
            *map(str, self.actions),
            *(f"fault: {fault}" for fault in self.faults),
        ]
