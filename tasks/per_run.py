"""What is asked of Prefect's API once per flow run: saved blocks, and which flow run is the outermost.

A thousand tasks of one run share one request, whichever threads and event loops they are on. Nothing goes from one
run to the next, nor from one attempt of a run to the next, so that a key that was changed is seen.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

T = TypeVar("T")

KEPT = 128
"""Answers kept, of all flow runs of the process together; those used longest ago make room."""

_answers: OrderedDict[tuple[str, int, str], Future[Any]] = OrderedDict()
_lock = threading.Lock()
_GONE = object()


async def once_per_run(what: str, ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` answers, asked at most once in this attempt of this flow run; each time outside of flow runs.

    An error goes to all who wait for this answer, and is not kept.

    Args:
        what: Names the question; equal names in one flow run are one question.
        ask: Asks it.
    """
    run_id = flow_run.id
    if not run_id:
        return await ask()
    context = FlowRunContext.get()
    attempt = context.flow_run.run_count if context and context.flow_run else 0
    while True:
        answer, ours = _answer((run_id, attempt, what))
        if ours:
            return await _ask(answer, ask)
        # Shielded: whoever gives up waiting must not take the answer from the others.
        result = await asyncio.shield(asyncio.wrap_future(answer))
        if result is not _GONE:
            return cast(T, result)


def _answer(key: tuple[str, int, str]) -> tuple[Future[Any], bool]:
    """The answer to a question, perhaps yet to come, and whether the caller is the one to ask."""
    with _lock:
        answer = _answers.get(key)
        if answer is not None and not _failed(answer):
            _answers.move_to_end(key)
            return answer, False
        answer = _answers[key] = Future()
        while len(_answers) > KEPT:
            _answers.popitem(last=False)
        return answer, True


def _failed(answer: Future[Any]) -> bool:
    return answer.done() and (answer.exception() is not None or answer.result() is _GONE)


async def _ask(answer: Future[Any], ask: Callable[[], Awaitable[T]]) -> T:
    try:
        result = await ask()
    except Exception as error:  # for all who wait for the same answer
        answer.set_exception(error)
        raise
    except BaseException:
        answer.set_result(_GONE)  # only we were cancelled: another one asks
        raise
    answer.set_result(result)
    return result
