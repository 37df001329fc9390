"""Questions to people: a flow run sleeps until somebody chooses pictures, or approves of them, in Prefect's pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from prefect_media.assets import Asset
from prefect_media.errors import InvalidRequest
from prefect_media.ledger.reviews import Answer
from prefect_media.runtime import clock
from prefect_media.runtime.sync import run_sync
from prefect_media.user_input import brief_repr

from .ask_people import ask
from .context import Store, a_kind
from .review_form import MOST_ASSETS, Form

LONGEST_REVIEW = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person chose.

    Attributes:
        assets: The chosen assets, in the order in which they were shown.
        notes: What the person added.
        timed_out: Whether nobody answered in time, so that this is the default.
    """

    assets: tuple[Asset, ...]
    notes: str = ""
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person decided; true if approved.

    Attributes:
        approved: Whether it was approved.
        reason: What the person added.
        timed_out: Whether nobody answered in time, so that this is the default.
    """

    approved: bool
    reason: str = ""
    timed_out: bool = False

    def __bool__(self) -> bool:
        return self.approved


async def achoose(
    assets: Asset | Sequence[Asset],
    *,
    question: str,
    timeout: timedelta | float = LONGEST_REVIEW,
    at_least: int = 1,
    at_most: int = 1,
    notes: bool = True,
    default: Asset | Sequence[Asset] | None = None,
    store: Store | None = None,
) -> Choice:
    """Ask a person to choose among images and videos, and hold neither a process nor a worker slot meanwhile.

    Called in a flow. The flow run is suspended, and Prefect's page of it shows a form with the numbered pictures (of a
    video, one from its middle). Once somebody has sent it, the flow starts from its top on any worker: what it bought
    is found on the ledger, and this function returns. The same question about the same assets is asked once in a flow
    run. Where Prefect can't suspend (no deployment, a subflow), the run is paused in its process, with a warning.

    Example:
        ```python
        stills = await agenerate_images("openai", ImageRequest(prompt=idea, model="gpt-image-2", n=4), store="my-store")
        choice = await achoose(stills, question="Which one becomes the film?", store="my-store")
        ```

    Args:
        assets: What to choose from, 24 at most.
        question: The question, in a sentence.
        timeout: How long to wait for an answer, in seconds or as a timedelta.
        at_least: How many have to be chosen; 0 lets the person choose none.
        at_most: How many may be chosen.
        notes: Whether the form has a field for notes.
        default: What counts as chosen when nobody has answered in time; by default that is an error.
        store: The store that keeps the answer; the waker, which keeps the deadline, has to look at the same one.

    Raises:
        errors.ReviewTimedOut: Nobody answered in time, and there is no default.
        errors.InvalidRequest: An argument can't work, or this is not a flow.
        errors.StoreError: The store can't be read or written.
    """
    shown = _assets("assets", assets)
    whole = all(type(number) is int for number in (at_least, at_most))
    if not whole or not 0 <= at_least <= at_most <= len(shown) or not at_most:
        raise InvalidRequest(
            f"at_least={brief_repr(at_least)} and at_most={brief_repr(at_most)} are not possible with {len(shown)} "
            "assets; pass whole numbers with 0 <= at_least <= at_most <= the number of assets, and at_most above 0"
        )
    fallback = None
    if default is not None:
        defaults = _assets("default", default, least=0)
        missing = [each for each in defaults if each not in shown]
        if missing or not at_least <= len(defaults) <= at_most:
            raise InvalidRequest(f"default is not possible; pass {at_least} to {at_most} of the assets in a list")
        numbers = tuple(sorted({shown.index(each) + 1 for each in defaults}))
        fallback = Answer(chosen=numbers, source="default", at=clock.now())
    form = Form("choose", len(shown), at_least, at_most, notes)
    answer = await ask("choose", form, shown, question, timeout, fallback, store)
    chosen = tuple(shown[number - 1] for number in answer.chosen if number <= len(shown))
    return Choice(chosen, answer.text, timed_out=answer.source == "default")


async def aapprove(
    assets: Asset | Sequence[Asset],
    question: str,
    *,
    timeout: timedelta | float = LONGEST_REVIEW,
    default: bool | None = None,
    store: Store | None = None,
) -> Approval:
    """Ask a person to approve of images or videos, or to reject them with a reason; see `achoose` for how it waits.

    Example:
        ```python
        if not (decision := await aapprove(film, "Can this film be published?", store="my-store")):
            raise ValueError(f"rejected: {decision.reason}")
        ```

    Args:
        assets: What it is about, 24 at most.
        question: The question, in a sentence.
        timeout: How long to wait for an answer, in seconds or as a timedelta.
        default: What counts when nobody has answered in time: True or False; by default that is an error.
        store: The store that keeps the answer; the waker, which keeps the deadline, has to look at the same one.

    Raises:
        errors.ReviewTimedOut: Nobody answered in time, and there is no default.
        errors.InvalidRequest: An argument can't work, or this is not a flow.
        errors.StoreError: The store can't be read or written.
    """
    shown = _assets("assets", assets)
    if default not in (None, True, False):
        raise InvalidRequest(f"default={brief_repr(default)} is not possible; pass True, False or None")
    fallback = None if default is None else Answer(approved=bool(default), source="default", at=clock.now())
    answer = await ask("approve", Form("approve", len(shown)), shown, question, timeout, fallback, store)
    return Approval(bool(answer.approved), answer.text, timed_out=answer.source == "default")


def choose(
    assets: Asset | Sequence[Asset],
    *,
    question: str,
    timeout: timedelta | float = LONGEST_REVIEW,
    at_least: int = 1,
    at_most: int = 1,
    notes: bool = True,
    default: Asset | Sequence[Asset] | None = None,
    store: Store | None = None,
) -> Choice:
    """The sync twin of `achoose`, for sync flows; arguments and errors are the same."""
    return run_sync(
        achoose(
            assets,
            question=question,
            timeout=timeout,
            at_least=at_least,
            at_most=at_most,
            notes=notes,
            default=default,
            store=store,
        )
    )


def approve(
    assets: Asset | Sequence[Asset],
    question: str,
    *,
    timeout: timedelta | float = LONGEST_REVIEW,
    default: bool | None = None,
    store: Store | None = None,
) -> Approval:
    """The sync twin of `aapprove`, for sync flows; arguments and errors are the same."""
    return run_sync(aapprove(assets, question, timeout=timeout, default=default, store=store))


def _assets(name: str, given: object, least: int = 1) -> list[Asset]:
    several = [given] if isinstance(given, Asset) else given
    if not isinstance(several, Sequence) or isinstance(several, str | bytes):
        raise InvalidRequest(f"{name} is {a_kind(given)}; pass Assets in a list")
    assets = list(cast(Sequence[object], several))
    for each in assets:
        if not isinstance(each, Asset):
            raise InvalidRequest(f"{name} has {a_kind(each)} in it; pass Assets, as generate_images returns them")
    if not least <= len(assets) <= MOST_ASSETS:
        raise InvalidRequest(f"{name} has {len(assets)} assets in it; pass {least} to {MOST_ASSETS}")
    return cast(list[Asset], assets)
