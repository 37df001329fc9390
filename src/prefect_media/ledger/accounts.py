"""Accounts of budgets in the store: set aside before a purchase is sent, booked when it is done; compare-and-swap."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import BudgetExceeded, MediaError, StoreError
from ..figures import amount
from ..requests import problems_of
from ..runtime.per_loop import shared
from ..settings import settings
from .conflicts import back_off, tries

if TYPE_CHECKING:
    from ..catalog.prices import Quote
    from ..purchase_options import Terms
    from ..storage.store import Storage
    from .claim import Claim
    from .record import Record


DIGITS = 8
"""Decimal places of an amount: tokens cost less than a millionth of a dollar."""


Usd = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""An amount as an account has it; any other figure there would let purchases pass that the budget has no room for."""


class Reserved(BaseModel):
    """What is set aside for one purchase."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    usd: Usd
    attempt: int = Field(description="The attempt of the purchase that it is for.")
    lost_usd: Usd = Field(default=0.0, description="For earlier attempts that may have been paid for as well.")


class Account(BaseModel):
    """What was spent of a budget in one period, and what is set aside."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    spent_usd: Usd = 0.0
    purchases: int = Field(default=0, ge=0, description="How many it was spent on.")
    reserved: dict[str, Reserved] = Field(default_factory=dict, description="By the key of the purchase.")

    @property
    def reserved_usd(self) -> float:
        """What is set aside for purchases under way, in USD."""
        return round(sum(each.usd + each.lost_usd for each in self.reserved.values()), DIGITS)

    def reserve(self, key: str, usd: float, *, attempt: int, paid_before: bool, limit: float) -> Account:
        """The account with so much set aside for a purchase; done twice, it is the same.

        Args:
            key: The purchase.
            usd: What it will cost.
            attempt: Which attempt at it.
            paid_before: Whether an earlier attempt, of which something is still set aside, may have been paid for.
            limit: What may be spent in all.

        Raises:
            BudgetExceeded: It would pass the limit.
        """
        before = self.reserved.get(key)
        if before and before.attempt >= attempt:  # of a later attempt, when somebody else has taken it over
            usd, attempt, paid_before = before.usd, before.attempt, False
        lost = before.lost_usd + (before.usd if paid_before else 0.0) if before else 0.0
        others = {name: each for name, each in self.reserved.items() if name != key}
        rest = self.model_copy(update={"reserved": others})
        if round(rest.spent_usd + rest.reserved_usd + lost + usd, DIGITS) > limit:
            raise BudgetExceeded(
                f"this would cost {_usd(usd)}, and of the budget of {_usd(limit)} {_usd(self.spent_usd)} are spent and "
                f"{_usd(self.reserved_usd)} set aside for what is under way; nothing was sent. "
                "Raise Budget(usd=...), or wait for its next period",
                limit_usd=limit,
                spent_usd=self.spent_usd,
                reserved_usd=self.reserved_usd,
                needed_usd=usd,
            )
        reserved = Reserved(usd=usd, attempt=attempt, lost_usd=round(lost, DIGITS))
        return self if reserved == before else self.model_copy(update={"reserved": {**others, key: reserved}})

    def settle(self, key: str, *, bought: bool, usd: float | None = None, attempt: int | None = None) -> Account:
        """The account once a purchase is over; done twice, it is the same.

        Args:
            key: The purchase.
            bought: Whether it was paid for, as far as anybody knows.
            usd: What it did cost; None takes what was set aside, and so does a figure that is no amount.
            attempt: Which attempt at it is over; what is set aside for a later one stays.
        """
        usd = amount(usd)
        reserved = self.reserved.get(key)
        if reserved is None or (attempt is not None and reserved.attempt > attempt):
            return self
        cost = reserved.lost_usd + ((reserved.usd if usd is None else usd) if bought else 0.0)
        return Account(
            spent_usd=round(self.spent_usd + cost, DIGITS),
            purchases=self.purchases + int(bought),
            reserved={name: each for name, each in self.reserved.items() if name != key},
        )


async def reserve(
    storage: Storage, claim: Claim, quote: Callable[[], Quote], terms: Terms, *, found: bool = False
) -> None:
    """Set aside what a purchase will cost, right before it is sent. Without a budget, nothing happens.

    Args:
        storage: Where the account lies.
        claim: The purchase.
        quote: What it will cost.
        terms: How it is bought.
        found: Whether it was bought already, and was found at the provider; then it is never refused.

    Raises:
        errors.BudgetExceeded: It could pass the budget, or nobody can say; nothing was sent.
        errors.StoreError: The account can't be read or written; nothing was sent.
    """
    budget, record = terms.budget, claim.record
    if budget is None:
        return
    known = quote()
    usd = budget.unpriced_usd if amount(known.usd) is None else known.usd
    if usd is None and found:
        return
    if usd is None:
        raise BudgetExceeded(
            f"there is a budget of {_usd(budget.usd)}, and what this will cost can't be told before: {known.basis}; "
            "nothing was sent. Say what to set aside with Budget(unpriced_usd=...), or give prices of your own in the "
            "file that PREFECT_MEDIA_PRICES names",
            limit_usd=budget.usd,
        )
    path = budget.path(terms.flow_run_id)
    await _book(storage, path).change(
        lambda account: account.reserve(
            record.key,
            usd,
            attempt=record.attempt,
            paid_before=claim.passed_over,
            limit=math.inf if found else budget.usd,
        )
    )
    claim.record = claim.record.model_copy(update={"budget": path})


async def settle(storage: Storage, record: Record) -> None:
    """Book what became of a purchase that is over, or give back what was set aside for one that was not made.

    Raises:
        errors.StoreError: The account can't be read or written; then it stays as it is.
    """
    given_up = record.state == "intent" and not record.lease and not record.doubtful
    if record.budget is None or not (given_up or record.state in ("done", "failed")):
        return
    bought = record.state == "done" or (record.state == "failed" and _billed(record))
    await _book(storage, record.budget).change(
        lambda account: account.settle(record.key, bought=bought, usd=record.cost_usd, attempt=record.attempt)
    )


def _billed(failed: Record) -> bool:
    """Whether a failure has to be counted: a provider that says nothing may bill for a job, not for a refusal."""
    details = failed.failure.details if failed.failure else {}
    if isinstance(details.get("billed"), bool):
        return details["billed"]
    answered = failed.batch is not None and failed.failure is not None and failed.failure.error != "ContentRejected"
    return answered or failed.job is not None or details.get("stage") == "output"


class _Book:
    """One account as it is kept by one event loop: changes that come while it is written are written together."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage, self._path = storage, path
        self._changes: dict[asyncio.Future[MediaError | None], Callable[[Account], Account]] = {}
        self._writing = asyncio.Lock()

    async def change(self, change: Callable[[Account], Account]) -> None:
        """Have a change written. It may be applied more than once, to what the store then says."""
        asked = asyncio.get_running_loop().create_future()
        self._changes[asked] = change
        try:
            async with self._writing:
                if not asked.done():
                    await self._write()
        finally:
            self._changes.pop(asked, None)
        if error := asked.result():
            raise error

    async def _write(self) -> None:
        changes = dict(self._changes)
        try:
            outcomes = await self._written(changes)
        except StoreError as error:
            outcomes = dict.fromkeys(changes, error)
        for asked, outcome in outcomes.items():
            if not asked.done():
                asked.set_result(outcome)

    async def _written(
        self, changes: dict[asyncio.Future[MediaError | None], Callable[[Account], Account]]
    ) -> dict[asyncio.Future[MediaError | None], MediaError | None]:
        for number in tries():
            await back_off(number)
            found = await self._storage.fetch(self._path)
            account = before = read(found.data, self._path) if found else Account()
            outcomes: dict[asyncio.Future[MediaError | None], MediaError | None] = {}
            for asked, change in changes.items():
                try:
                    account = change(account)
                    outcomes[asked] = None
                except BudgetExceeded as refusal:
                    outcomes[asked] = refusal
            text = account.model_dump_json(indent=2).encode()
            if account is before or await (
                self._storage.replace(self._path, text, found.version)
                if found
                else self._storage.create(self._path, text)
            ):
                return outcomes
        raise StoreError(
            f"the account {self._path} changed before each of {settings().conflict_tries} tries to write it; run the "
            "same again, with fewer at once; if it stays, the store may not honour If-Match: see MediaStore.check()"
        )


def read(data: bytes, path: str = "its file") -> Account:
    """An account as it lies in a store, at `path`.

    Raises:
        errors.StoreError: It can't be read, or has figures in it that are no amounts.
    """
    try:
        return Account.model_validate_json(data)
    except ValidationError as error:
        raise StoreError(
            f"the account of a budget can't be read: {path}: {problems_of(error)}; amounts are numbers from 0 on; "
            "correct the file, or delete it to begin with nothing spent",
            transient=False,
        ) from error


def _book(storage: Storage, path: str) -> _Book:
    return shared(("budget", storage.url, storage.options, path), lambda: _Book(storage, path))


def _usd(amount: float) -> str:
    cents = f"{amount:.2f}"
    return f"{cents if float(cents) == round(amount, DIGITS) else f'{amount:.{DIGITS}f}'.rstrip('0')} USD"
