"""The form that a question to people is answered with: typed fields, and the pictures it is about, inside the form."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from prefect.input import RunInput
from pydantic import Field, create_model

from prefect_media.assets import Asset
from prefect_media.ledger.reviews import Answer
from prefect_media.runtime import clock
from prefect_media.settings import settings

from .markup import markdown
from .posters import poster_of

MOST_ASSETS = 24
"""Pictures in one form: with as many it has some 500 KB."""

NONE = "none"

LONGEST_QUESTION = 2_000
"""Characters of a question that the form shows."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a person fills in.

    Attributes:
        kind: Whether assets are chosen, or a decision is taken.
        count: How many assets the question is about.
        at_least: How many have to be chosen.
        at_most: How many may be chosen.
        notes: Whether there is a field for notes.
    """

    kind: Literal["choose", "approve"]
    count: int
    at_least: int = 1
    at_most: int = 1
    notes: bool = True

    def model(self, description: str | None = None) -> type[RunInput]:
        """The form as Prefect shows and checks it."""
        text = (str, Field(default="", description="Anything that whoever goes on should know."))
        if self.kind == "approve":
            reason = (str, Field(default="", description="Why, in particular why not."))
            return _model("Approve", description, decision=(Literal["approve", "reject"], ...), reason=reason)
        fields: dict[str, Any] = {"notes": text} if self.notes else {}
        numbers = tuple(str(number) for number in range(1, self.count + 1))
        if self.at_most > 1:
            several = Field(
                min_length=self.at_least,
                max_length=self.at_most,
                description=f"Numbers of {_how_many(self.at_least, self.at_most)} pictures.",
                json_schema_extra={"uniqueItems": True},
            )
            return _model("Choose", description, choices=(Annotated[list[Literal[numbers]], several], ...), **fields)
        of = (NONE, *numbers) if self.at_least == 0 else numbers
        choice = Field(description="Number of the picture." + (' Or "none".' if self.at_least == 0 else ""))
        return _model("Choose", description, choice=(Annotated[Literal[of], choice], ...), **fields)

    def read(self, response: object) -> Answer:
        """The answer in what was sent from the form.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(response, dict):
            raise ValueError("the answer is not an object")
        given = self.model().model_validate(response).model_dump()
        if self.kind == "approve":
            return Answer(approved=given["decision"] == "approve", text=given["reason"], at=clock.now())
        numbers = given.get("choices", [given.get("choice")])
        chosen = sorted({int(number) for number in numbers if number != NONE})
        if not self.at_least <= len(chosen) <= self.at_most:
            raise ValueError(f"{len(chosen)} pictures were chosen")
        return Answer(chosen=tuple(chosen), text=given.get("notes", ""), at=clock.now())


async def describe(question: str, assets: Sequence[Asset]) -> str:
    """The question and a small picture of each asset, as markdown. The pictures are in it, so they never expire."""
    turns = asyncio.Semaphore(settings().max_transfers)

    async def picture(number: int, asset: Asset) -> str:
        async with turns:
            return f"**{number}**\n\n![{number}]({await poster_of(asset)})"

    pictures = await asyncio.gather(*(picture(number, asset) for number, asset in enumerate(assets, 1)))
    return "\n\n".join((markdown(question, LONGEST_QUESTION), *pictures))


def _model(name: str, description: str | None, **fields: Any) -> type[RunInput]:
    return create_model(name, __base__=RunInput, **fields).with_initial_data(description=description)


def _how_many(at_least: int, at_most: int) -> str:
    return str(at_least) if at_least == at_most else f"{at_least} to {at_most}"
