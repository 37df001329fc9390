"""Questions to people and their answers: one small JSON object in the store for each question of a flow run.

Prefect forgets which questions it has asked when a run is retried, so the answers are kept here. The first answer
stays, whatever comes later: what was bought because of it is paid for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import StoreError
from ..storage.store import Storage
from .conflicts import back_off, tries

FOLDER = "ledger/reviews/"


class Answer(BaseModel):
    """How a question ended."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    chosen: tuple[int, ...] = Field(default=(), description="Numbers of the chosen assets, from 1.")
    approved: bool | None = Field(default=None, description="The decision, where there was one to take.")
    text: str = Field(default="", description="Notes, or the reason.")
    source: Literal["person", "default", "nobody"] = Field(
        default="person", description='Who gave it: "nobody" when the deadline passed and there was no default.'
    )
    at: datetime = Field(description="When it was read (UTC).")


class Review(BaseModel):
    """A question that was put to people, and its answer once there is one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    flow_run_id: str = Field(pattern=r"^[A-Za-z0-9-]{1,200}$", description="The outermost flow run.")
    key: str = Field(pattern=r"^[0-9a-f]{16}$", description="Hash of the question and what it is about.")
    kind: Literal["choose", "approve"] = Field(description="What is asked for.")
    question: str = Field(description="The question, in its author's words.")
    assets: tuple[str, ...] = Field(description="Addresses of what it is about, in the order of their numbers.")
    asked_at: datetime = Field(description="When it was asked (UTC).")
    deadline: datetime = Field(description="Until when it can be answered (UTC).")
    answer: Answer | None = Field(default=None, description="How it ended; null while it is open.")

    @property
    def path(self) -> str:
        """Where it lies in the store."""
        return f"{FOLDER}{self.flow_run_id}/{self.key}.json"


async def open_review(storage: Storage, review: Review) -> Review:
    """Put a question on record; the one that is there if the flow run asked it before.

    Raises:
        errors.StoreError: The store can't be read or written.
    """
    if await storage.create(review.path, _dump(review)) is not None:
        return review
    there = await storage.fetch(review.path)
    if there is None:
        raise StoreError(f"{storage.uri(review.path)} was removed meanwhile; run the same again")
    return _load(storage, review.path, there.data)


async def settle(storage: Storage, review: Review, answer: Answer) -> tuple[Review, bool]:
    """Put an answer on record unless there is one: the record, and whether this answer is the one on it.

    Raises:
        errors.StoreError: The store can't be read or written.
    """
    return await _change(storage, review, review.model_copy(update={"answer": answer}))


async def reopen(storage: Storage, review: Review, asked_at: datetime, deadline: datetime) -> Review:
    """Ask a question anew that nobody answered, with another deadline.

    Raises:
        errors.StoreError: The store can't be read or written.
    """
    again = review.model_copy(update={"asked_at": asked_at, "deadline": deadline, "answer": None})
    return (await _change(storage, review, again))[0]


async def _change(storage: Storage, before: Review, after: Review) -> tuple[Review, bool]:
    """Write `after` in place of `before`: what is on record then, and whether it is ours."""
    for number in tries():
        await back_off(number)
        there = await storage.fetch(before.path)
        current = _load(storage, before.path, there.data) if there else None
        if current is not None and current != before:
            return current, current == after
        if there is None:
            version = await storage.create(before.path, _dump(after))
        else:
            version = await storage.replace(before.path, _dump(after), there.version)
        if version is not None:
            return after, True
    raise StoreError(f"{storage.uri(before.path)} keeps being changed by others; run the same again")


def _dump(review: Review) -> bytes:
    return review.model_dump_json(indent=2).encode()


def _load(storage: Storage, path: str, data: bytes) -> Review:
    try:
        review = Review.model_validate_json(data)
    except ValidationError:
        review = None
    if review is None or review.path != path:
        raise StoreError(f"{storage.uri(path)} is not the record of a question; delete it and run the same again")
    return review
