"""A failing history made as small as it still fails, by leaving out decisions one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .history import USUAL, Action, Fault, History
from .world import play

MOST = 600
"""Histories that are tried at most."""


def shrink(history: History, fails: Callable[[History], bool] | None = None) -> History:
    """The smallest history found that breaks the same invariant.

    Args:
        history: One that fails.
        fails: Whether a history fails the same way; by default the number of the first violation decides.
    """
    if fails is None:
        number = play(history).violations[0].partition(":")[0]

        def fails(smaller: History) -> bool:
            violations = play(smaller).violations
            return bool(violations) and violations[0].partition(":")[0] == number

    left, smaller = MOST, True
    while smaller:
        smaller = False
        for candidate in _candidates(history):
            left -= 1
            if left < 0:
                return history
            if fails(candidate):
                history, smaller = candidate, True
                break
    return history


def _candidates(history: History) -> Iterator[History]:
    """The same with something left out or made plainer, the largest steps first."""
    for faults in _fewer(history.faults):
        yield replace(history, faults=faults)
    for actions in _fewer(history.actions):
        if actions:
            yield replace(history, actions=actions)
    for name in history.traits:
        yield replace(history, traits={other: value for other, value in history.traits.items() if other != name})
    if "offsets" in history.traits:
        for place, offset in enumerate(history.traits["offsets"]):
            if offset:
                offsets = [0.0 if each == place else value for each, value in enumerate(history.traits["offsets"])]
                yield replace(history, traits={**history.traits, "offsets": offsets})
    for place, action in enumerate(history.actions):
        for plainer in _plainer(action):
            yield replace(history, actions=(*history.actions[:place], plainer, *history.actions[place + 1 :]))
    for place, fault in enumerate(history.faults):
        if fault.arg and fault.arg != round(fault.arg) and fault.where.partition(".")[0] not in ("cancel", "clock"):
            rounder = replace(fault, arg=float(round(fault.arg) or 1))
            yield replace(history, faults=(*history.faults[:place], rounder, *history.faults[place + 1 :]))


def _fewer(things: tuple[Fault, ...] | tuple[Action, ...]) -> Iterator[tuple]:
    half = len(things) // 2
    if half > 1:
        yield things[:half]
        yield things[half:]
    for place in range(len(things)):
        yield (*things[:place], *things[place + 1 :])


def _plainer(action: Action) -> Iterator[Action]:
    plain = Action(action.name, action.process, action.at, action.kind, action.what, machine=0)
    for name in ("resubmit", "retry_failed", "cancel_remote", "tries", "restarts", "timeout", "machine", "scope"):
        if getattr(action, name) != getattr(plain, name):
            yield replace(action, **{name: getattr(plain, name)})
    if len(action.what) > 1:
        yield from (replace(action, what=(name,)) for name in action.what)
    if action.at != round(action.at):
        yield replace(action, at=float(round(action.at)))


def describe(history: History) -> str:
    """A failing history for people: its decisions, what happened, and the line that keeps it."""
    outcome = play(history, trace=True)
    usual = {name: value for name, value in USUAL.items() if name not in history.traits}
    return "\n".join(
        [
            f"seed {history.seed}",
            *(f"  {step}" for step in history.steps()),
            f"  as usual: {', '.join(f'{name}={value}' for name, value in usual.items())}",
            "what happened:",
            *(f"  {line}" for line in outcome.trace or []),
            "broken:",
            *(f"  {violation}" for violation in outcome.violations),
            "to keep it, add this line to the kept.jsonl beside its draw.py, and say what was broken:",
            history.to_json(),
        ]
    )
