"""Work that costs nothing to repeat, repeated after a pause until it succeeds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from ..errors import MediaError
from . import clock

T = TypeVar("T")


async def retrying(
    work: Callable[[], Awaitable[T]], pauses: Iterable[float], worth_retrying: Callable[[Exception], bool]
) -> T:
    """What `work` returns, tried once more after each pause.

    Args:
        work: What to do; never a paid request.
        pauses: Seconds before each further attempt.
        worth_retrying: Whether another attempt may succeed after this error; otherwise it is raised.
    """
    for pause in pauses:
        try:
            return await work()
        except Exception as error:  # which of them are tried again, the caller says
            if not worth_retrying(error):
                raise
        await clock.sleep(pause)
    return await work()


def is_transient(error: Exception) -> bool:
    """Whether an error is one of ours that may pass by itself."""
    return isinstance(error, MediaError) and error.transient


def until_refused_twice() -> Callable[[Exception], bool]:
    """A test for `retrying` that believes a refusal the second time: for what is paid for and exists nowhere else."""
    refusals = 0

    def worth_retrying(error: Exception) -> bool:
        nonlocal refusals
        refusals += int(isinstance(error, MediaError) and not error.transient)
        return isinstance(error, MediaError) and refusals < 2

    return worth_retrying
