"""What all tasks share: when they are tried again, and how the sync twin of an async form is made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from copy import copy
from functools import wraps
from types import CoroutineType
from typing import Any, ParamSpec, TypedDict, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from prefect_media.errors import MediaError
from prefect_media.runtime.sync import on_background_loop, run_sync

from .run_names import name_of_run

P = ParamSpec("P")
R = TypeVar("R")

_ORIGINAL = "_prefect_media_original"


def worth_retrying(tried: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether the error of a failed attempt is one that passes by itself."""
    # state.data, not state.result(): the latter is a coroutine in async tasks, which nobody would await.
    return isinstance(state.data, MediaError) and state.data.transient


class TaskOptions(TypedDict):
    """Options of `prefect.task` that all our tasks share."""

    retries: int
    retry_delay_seconds: Any
    retry_jitter_factor: float
    retry_condition_fn: Any
    cache_policy: CachePolicy
    task_run_name: Any


RETRIED: TaskOptions = {
    "retries": 4,
    "retry_delay_seconds": exponential_backoff(2),
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_retrying,
    "cache_policy": NO_CACHE,  # the ledger knows better, and outlives the run
    "task_run_name": name_of_run,
}


def sync_twin(original: Task[P, CoroutineType[Any, Any, R]], **options: Any) -> Task[P, R]:
    """The same task for sync flows: `agenerate_video` -> `generate_video`."""

    @wraps(original.fn)
    def twin(*args: P.args, **kwargs: P.kwargs) -> R:
        return run_sync(original.fn(*args, **kwargs))

    _introduce(twin, original.fn)
    setattr(twin, _ORIGINAL, original.fn)
    return task(name=original.name, **options)(twin)  # pyright: ignore[reportCallIssue, reportUnknownVariableType]


def sync_generator(original: Callable[P, AsyncGenerator[R]]) -> Callable[P, Generator[R]]:
    """The same generator for a plain `for`: `agather` -> `gather`."""

    @wraps(original)
    def twin(*args: P.args, **kwargs: P.kwargs) -> Generator[R]:
        if on_background_loop():
            raise RuntimeError(
                f"{twin.__name__} would block the event loop that it needs itself; in an async task, use "
                f"{original.__name__}"
            )
        return _each(original(*args, **kwargs))  # not `yield from`: wrong arguments are refused at once

    _introduce(twin, original)
    return twin


def _each(results: AsyncGenerator[R]) -> Generator[R]:
    async def fetch() -> R | None:
        return await anext(results, None)

    async def close() -> None:
        await results.aclose()

    try:
        while (result := run_sync(fetch())) is not None:
            yield result
    finally:
        run_sync(close())


def _introduce(twin: Callable[..., Any], original: Callable[..., Any]) -> None:
    """Give a sync twin its own name, and its original's documentation."""
    twin.__name__ = twin.__qualname__ = original.__name__.removeprefix("a")
    twin.__doc__ = f"The sync twin of `{original.__name__}`.\n\n    {original.__doc__}"


def async_form(given: Task[Any, Any]) -> Task[Any, Any]:
    """A sync twin as the same task, options and all, with the async original in it; any other task as it is."""
    original = getattr(given.fn, _ORIGINAL, None)
    if original is None:
        return given
    form = copy(given)
    form.fn, form.isasync = original, True
    return form
