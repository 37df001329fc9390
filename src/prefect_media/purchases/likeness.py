"""What looks the same at a provider: jobs on its list, and purchases that could have made one. No input or output."""

from __future__ import annotations

from typing import cast

from ..figures import number_in
from ..jobs import JobState
from ..ledger.record import Record

TOLD = ("prompt", "model", "size", "seconds", "video")
"""What a list may tell of a job."""


def matches(state: JobState, record: Record) -> bool | None:
    """Whether a job at the provider is the one that a purchase asked for; None when the list says too little.

    A wrong "no" buys the job again, so what a server may spell its own way (the model's name, a number) never
    decides alone.
    """
    ordered = record.request
    if differences(state, record):
        return False
    if state.remixed_from and record.operation == "generate":
        return False
    same_model = state.model in (None, ordered.get("model")) or "model" not in ordered
    return True if same_model and state.prompt is not None else None


def differences(state: JobState, record: Record) -> list[str]:
    """In what a job certainly is not what a purchase asked for, in words."""
    ordered = record.request
    pairs: list[tuple[str, object, object]] = [
        ("prompt", _words(state.prompt), _words(ordered.get("prompt"))),
        ("size", state.size, ordered.get("size")),
        ("video", state.remixed_from, ordered.get("video")),
    ]
    if record.operation != "extend":  # asked for are the seconds to add, listed is the length of the whole
        pairs.append(("seconds", _seconds(state.seconds), _seconds(ordered.get("seconds"))))
    return [
        f"its {name} is {_quote(theirs)}, not {_quote(ours)}"
        for name, theirs, ours in pairs
        if theirs is not None and ours is not None and theirs != ours
    ]


def look_alike(one: Record, other: Record) -> bool:
    """Whether the jobs of two purchases could not be told apart on a list."""
    return all(one.request.get(name) == other.request.get(name) for name in TOLD)


def interchangeable(one: Record, other: Record) -> bool:
    """Whether the job of one purchase does as well for the other: only scope or variant differ."""
    same = [{name: value for name, value in each.request.items() if name != "variant"} for each in (one, other)]
    return one.operation == other.operation and one.account == other.account and same[0] == same[1]


def _words(prompt: str | None) -> list[str] | None:
    """A prompt as a server may tell it that trims it or changes its line ends."""
    return None if prompt is None else prompt.split()


def _seconds(value: object) -> float | None:
    return number_in(str(value).removesuffix("s"))


def _quote(value: object) -> str:
    text = " ".join(cast(list[str], value)) if isinstance(value, list) else str(value)
    return repr(text if len(text) <= 60 else text[:59] + "…")
