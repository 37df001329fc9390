"""A picture or video that is still being made: the future of a task, given where a request takes a picture or video."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn, Protocol, runtime_checkable

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticOmit, core_schema

from .errors import InvalidRequest


@runtime_checkable
class Promise(Protocol):
    """What a future of Prefect's has; a task that is given a request waits for the futures in it."""

    @property
    def task_run_id(self) -> Any: ...

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any: ...


class _NeverJson:
    """Lets a field hold a promise in Python; the JSON schema does not know of it, and it can't be written as JSON."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(Promise)

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        raise PydanticOmit


PromiseInput = Annotated[Promise, _NeverJson()]


def refuse_promise(promise: object) -> NoReturn:
    """Say that a future stands where its result is needed.

    Raises:
        errors.InvalidRequest: Always.
    """
    raise InvalidRequest(
        f"the request holds a {type(promise).__name__} that nobody has waited for; pass the request to a task, which "
        "waits for it, or pass future.result(); nothing was sent"
    )
