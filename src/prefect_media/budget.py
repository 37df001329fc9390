"""What may be spent: reserved before a purchase is sent, booked when it is done, shared by all who use a store.

One small readable JSON object per budget and period, under `ledger/budgets/`, changed by compare-and-swap like the
ledger's records. So any number of tasks, processes and machines keep to one budget together, and what a process had
reserved when it died stays reserved until its purchase is cleared up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from .form_schema import JSON_TAB, Schema, empty_tab, simplify
from .runtime import clock

Period = Literal["run", "day", "month", "forever"]


FOLDER = "ledger/budgets/"

_THIS_PROCESS = f"process-{clock.new_id()}"


class Budget(BaseModel):
    """How much may be spent; a purchase that could exceed it is refused before anything is sent.

    The cost of a purchase is estimated from the catalog's list prices (or your own, `PREFECT_MEDIA_PRICES`) and
    reserved; later the actual cost replaces it. What was bought before costs nothing again and is never refused.

    Example:
        ```python
        Budget(usd=20)  # for this flow run, its subflows, retries and restarts
        Budget(usd=500, period="month", name="autumn")  # for everybody who uses the store and that name
        ```
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd: float = Field(ge=0, allow_inf_nan=False, title="USD", description="How much may be spent.")
    period: Period = Field(
        default="run",
        description='What it is for: the outermost flow "run", each "day" or "month" (UTC), or "forever".',
    )
    name: str = Field(
        default="default",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
        description="Budgets of one name and period are one, in all flows that share a store.",
    )
    unpriced_usd: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        title="Unpriced USD",
        description="What to reserve for a request whose cost can't be estimated, in USD; unset, it is refused.",
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        json_schema = handler(schema)
        simplify(handler.resolve_ref_schema(json_schema))
        return json_schema

    def path(self, run: str | None, now: datetime | None = None) -> str:
        """Where in a store its account lies.

        Args:
            run: The outermost flow run; without one, a "run" is this process.
            now: The moment whose day or month it is.
        """
        now = now or clock.now()
        match self.period:
            case "run":
                part = f"run-{run}" if run else _THIS_PROCESS
            case "day":
                part = f"{now:%Y-%m-%d}"
            case "month":
                part = f"{now:%Y-%m}"
            case "forever":
                part = "forever"
        return f"{FOLDER}{self.name}/{part}.json"


class _BudgetTabs:
    """A form in which no budget is asked for until somebody wants one."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        limit, _ = handler(schema)["anyOf"]
        return {"anyOf": [empty_tab("No limit"), limit, JSON_TAB]}


def _empty_as_none(budget: Any) -> Any:
    return None if budget == {} else budget


OptionalBudget = Annotated[Budget | None, BeforeValidator(_empty_as_none), _BudgetTabs]
"""A budget, or none, as a parameter of a flow; a form that was left alone gives none."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget at one moment.

    Attributes:
        path: Path of its account in the store.
        limit_usd: What may be spent in the period.
        spent_usd: What is spent; None where the account was not read.
        reserved_usd: What is reserved for purchases under way.
    """

    path: str
    limit_usd: float | None
    spent_usd: float | None
    reserved_usd: float | None
