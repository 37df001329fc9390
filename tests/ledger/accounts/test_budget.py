"""A budget, its periods and its account."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from prefect_media import Budget
from prefect_media.budget import FOLDER
from prefect_media.errors import BudgetExceeded
from prefect_media.ledger.accounts import Account


@pytest.mark.parametrize(
    "fields",
    [
        {"usd": -1},
        {"usd": float("nan")},
        {"usd": float("inf")},
        {},
        {"usd": 1, "period": "week"},
        {"usd": 1, "name": "../ads"},
        {"usd": 1, "name": ""},
        {"usd": 1, "unpriced_usd": -0.1},
        {"usd": 1, "limit": 2},
    ],
)
def test_budgets_that_make_no_sense(fields):
    with pytest.raises(ValidationError):
        Budget(**fields)


def test_each_period_has_an_account_of_its_own():
    new_year = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    paths = [
        Budget(usd=1, name="ads", period=period).path("1234", new_year) for period in ("run", "day", "month", "forever")
    ]
    assert [path.removeprefix(f"{FOLDER}ads/") for path in paths] == [
        "run-1234.json",
        "2026-12-31.json",
        "2026-12.json",
        "forever.json",
    ]
    outside = Budget(usd=1).path(None)
    assert outside == Budget(usd=2).path(None)
    assert "process-" in outside


def test_amounts_add_up_to_the_last_cent():
    """0.1 + 0.2 is not more than 0.3."""
    account = Account()
    for key, usd in {"a": 0.1, "b": 0.2}.items():
        account = account.reserve(key, usd, attempt=1, paid_before=False, limit=0.3)
    assert account.reserved_usd == 0.3
    for key in "ab":
        account = account.settle(key, bought=True)
    assert (account.spent_usd, account.purchases, account.reserved) == (0.3, 2, {})


def test_an_earlier_attempt_that_may_have_been_paid_stays_counted():
    account = Account().reserve("a", 1, attempt=1, paid_before=False, limit=5)
    known = account.reserve("a", 1, attempt=2, paid_before=False, limit=5)
    assert known.reserved_usd == 1
    doubtful = account.reserve("a", 1.5, attempt=2, paid_before=True, limit=5)
    assert doubtful.reserved_usd == 2.5
    assert doubtful.reserve("a", 1.5, attempt=2, paid_before=True, limit=5) is doubtful
    assert doubtful.settle("a", bought=True, usd=1.2).spent_usd == 2.2
    assert doubtful.settle("a", bought=False).spent_usd == 1
    with pytest.raises(BudgetExceeded, match=r"would cost 1\.50 USD"):
        account.reserve("a", 1.5, attempt=2, paid_before=True, limit=2.4)
