"""Accounts of budgets in the store: reserved before a purchase is sent, booked when it is done; compare-and-swap."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..budget import Budget, BudgetState
from ..errors import BudgetExceeded, MediaError, StoreError
from ..figures import amount
from ..requests import problems_of
from ..runtime import clock
from ..runtime.per_loop import shared
from ..settings import settings
from .conflicts import tries

if TYPE_CHECKING:
    from ..catalog.prices import Quote
    from ..storage.store import Storage
    from .record import Record


DIGITS = 8
"""Decimal places of an amount: tokens cost less than a millionth of a dollar."""


FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.2
"""Seconds that a reservation waits at most, after the first conflict with another writer and after many."""

CALMER = 0.9
"""By how much that shrinks with each write: of eight tries about seven succeed."""

TOO_LONG = 0.7
"""Seconds after which a reservation that is not written yet waits as little as possible: nothing is sent before it."""

AT_LEAST = 0.1
"""How much of its pause it then waits."""

NO_HURRY = 8.0
"""How many times as long a settlement waits: what it is for was sent, and is here."""

MANY = 16
"""So many conflicts in a row show that very many write; from then on each pause is longer than the one before."""

LONGEST_OF_MANY = 2.0
"""Seconds that a writer then waits at most."""

Usd = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""An amount as an account has it; any other figure there would let purchases pass that the budget has no room for."""


class Reserved(BaseModel):
    """What is reserved for one purchase."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    usd: Usd
    attempt: int = Field(description="The attempt of the purchase that it is for.")
    lost_usd: Usd = Field(default=0.0, description="For earlier attempts that may have been paid for as well.")


class Account(BaseModel):
    """What was spent of a budget in one period, and what is reserved."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    spent_usd: Usd = 0.0
    purchases: int = Field(default=0, ge=0, description="How many it was spent on.")
    reserved: dict[str, Reserved] = Field(default_factory=dict, description="By the key of the purchase.")

    @property
    def reserved_usd(self) -> float:
        """What is reserved for purchases under way, in USD."""
        return round(sum(each.usd + each.lost_usd for each in self.reserved.values()), DIGITS)

    def reserve(self, key: str, usd: float, *, attempt: int, paid_before: bool, limit: float) -> Account:
        """The account with so much reserved for a purchase; done twice, it is the same.

        Args:
            key: The purchase.
            usd: What it will cost.
            attempt: Which attempt at it.
            paid_before: Whether an earlier attempt, of which something is still reserved, may have been paid for.
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
                f"this would cost {_usd(usd)}, but {_usd(self.spent_usd)} of the budget of {_usd(limit)} are spent and "
                f"{_usd(self.reserved_usd)} are reserved for purchases in progress; nothing was sent; "
                "raise Budget(usd=...), or wait for its next period",
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
            usd: What it did cost; None takes what was reserved, and so does a figure that is no amount.
            attempt: Which attempt at it is over; what is reserved for a later one stays.
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


@dataclass(frozen=True, slots=True)
class PricedPurchase:
    """A purchase for which something is to be reserved.

    Attributes:
        record: The purchase.
        quote: What it will cost.
        paid_before: Whether an earlier attempt, of which something is still reserved, may have been paid for.
    """

    record: Record
    quote: Callable[[], Quote]
    paid_before: bool = False


async def reserve(
    storage: Storage,
    budget: Budget | None,
    purchases: Sequence[PricedPurchase],
    *,
    run_id: str | None,
    adopted: bool = False,
) -> BudgetState | None:
    """Reserve what is bought with one request, right before it is sent: all of it, or nothing.

    Args:
        storage: Where the account is stored.
        budget: The budget; None reserves nothing.
        purchases: What is bought.
        run_id: The outermost flow run, for a budget of one run.
        adopted: Whether it is bought already, and its job was adopted; then it is never refused.

    Returns:
        The budget after the reservation; None where nothing was reserved.

    Raises:
        errors.BudgetExceeded: It could exceed the budget, or its price is unknown; nothing was sent.
        errors.StoreError: The account can't be read or written; nothing was sent.
    """
    if budget is None:
        return None
    amounts = [_price(budget, each.quote(), adopted) for each in purchases]

    def reserve_all(account: Account) -> Account:
        for each, usd in zip(purchases, amounts, strict=True):
            if usd is not None:
                account = account.reserve(
                    each.record.key,
                    usd,
                    attempt=each.record.attempt,
                    paid_before=each.paid_before,
                    limit=math.inf if adopted else budget.usd,
                )
        return account

    if all(usd is None for usd in amounts):
        return None
    path = budget.path(run_id)
    account = await _book(storage, path).change(reserve_all, hurry=True)
    return BudgetState(path, budget.usd, account.spent_usd, account.reserved_usd)


def _price(budget: Budget, known: Quote, adopted: bool) -> float | None:
    """What to reserve for a purchase, in USD; None for one that is bought already, and whose price is unknown.

    Raises:
        errors.BudgetExceeded: Its price is unknown.
    """
    usd = budget.unpriced_usd if amount(known.usd) is None else known.usd
    if usd is None and not adopted:
        raise BudgetExceeded(
            f"there is a budget of {_usd(budget.usd)}, and the cost can't be estimated: {known.basis}; "
            "nothing was sent; say what to reserve with Budget(unpriced_usd=...), or give prices of your own in the "
            "file that PREFECT_MEDIA_PRICES names",
            limit_usd=budget.usd,
        )
    return usd


async def settle(storage: Storage, record: Record) -> None:
    """Book the cost of a purchase that is over, or release what was reserved for one that was not made.

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


_Outcome = Account | MediaError
_Change = Callable[[Account], Account]


class _Book:
    """One account as it is kept by one event loop: changes that come while it is written are written together."""

    def __init__(self, storage: Storage, path: str) -> None:
        self._storage, self._path = storage, path
        self._changes: dict[asyncio.Future[_Outcome], _Change] = {}
        self._in_a_hurry: dict[asyncio.Future[_Outcome], float] = {}  # and since when
        self._writing = asyncio.Lock()
        self._pause = 0.0

    async def change(self, change: _Change, *, hurry: bool = False) -> Account:
        """Write a change, and return the account after it. It may be applied again, to a newer account.

        Args:
            change: What to change.
            hurry: Whether a purchase waits for it.
        """
        outcome: asyncio.Future[_Outcome] = asyncio.get_running_loop().create_future()
        self._changes[outcome] = change
        if hurry:
            self._in_a_hurry[outcome] = clock.monotonic()
        try:
            async with self._writing:
                if not outcome.done():
                    await self._write()
        finally:
            self._changes.pop(outcome, None)
            self._in_a_hurry.pop(outcome, None)
        if isinstance(result := outcome.result(), MediaError):
            raise result
        return result

    async def _write(self) -> None:
        """Write all changes that are there by the time of the try that succeeds."""
        changes = dict(self._changes)
        try:
            for number in tries():
                await self._keep_apart(number)
                changes = dict(self._changes)
                if (results := await self._apply(changes)) is not None:
                    break
            else:
                raise StoreError(
                    f"the account {self._path} changed before each of {settings().conflict_tries} tries to write it; "
                    "run the same again, with fewer at once; if it stays, the store may not honour If-Match: see "
                    "MediaStore.check()"
                )
        except StoreError as error:
            results = dict.fromkeys(changes, error)
        for outcome, result in results.items():
            if not outcome.done():
                outcome.set_result(result)

    async def _keep_apart(self, number: int) -> None:
        """Wait before a try for as long as others were seen to write in between, each process differently.

        What comes meanwhile is written with it, so the busier an account is, the fewer writes a change takes.
        """
        self._pause = max(FIRST_PAUSE, self._pause * 2) if number else self._pause * CALMER
        self._pause = min(self._pause, LONGEST_PAUSE) if self._pause >= FIRST_PAUSE else 0.0
        if not self._pause:
            return
        share, began = clock.dice().random(), clock.monotonic()
        while (rest := began + share * self._longest_wait(number) - clock.monotonic()) > 0:
            await clock.sleep(min(rest, FIRST_PAUSE))  # and look whether a reservation has come meanwhile

    def _longest_wait(self, number: int) -> float:
        """Seconds, of which a part is waited; the reservation that came first decides."""
        if number >= MANY:
            return min(LONGEST_OF_MANY, LONGEST_PAUSE * 1.5 ** (number - MANY + 1))
        if not self._in_a_hurry:
            return self._pause * NO_HURRY
        waited = clock.monotonic() - min(self._in_a_hurry.values())
        return self._pause * max(AT_LEAST, 1 - waited / TOO_LONG)

    async def _apply(
        self, changes: dict[asyncio.Future[_Outcome], _Change]
    ) -> dict[asyncio.Future[_Outcome], _Outcome] | None:
        """Apply changes to the account as it is stored now; None when somebody else changed it meanwhile."""
        stored = await self._storage.fetch(self._path)
        account = before = read(stored.data, self._path) if stored else Account()
        results: dict[asyncio.Future[_Outcome], _Outcome] = {}
        for outcome, change in changes.items():
            try:
                account = results[outcome] = change(account)
            except BudgetExceeded as refusal:
                results[outcome] = refusal
        if account is before:
            return results
        text = account.model_dump_json(indent=2).encode()
        writing = self._storage.replace(self._path, text, stored.version) if stored else None
        version = await (writing or self._storage.create(self._path, text))
        return None if version is None else results


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
            "correct the file, or delete it to begin again with nothing spent",
            transient=False,
        ) from error


def _book(storage: Storage, path: str) -> _Book:
    return shared(("budget", storage.url, storage.options, path), lambda: _Book(storage, path))


def _usd(amount: float) -> str:
    cents = f"{amount:.2f}"
    return f"{cents if float(cents) == round(amount, DIGITS) else f'{amount:.{DIGITS}f}'.rstrip('0')} USD"
