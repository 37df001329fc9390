"""Thousands of generations at a time: few enough in the air, each a task run of its own, each result as it lands."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from datetime import timedelta
from typing import Any, Literal

from prefect_media.budget import Budget
from prefect_media.errors import InvalidRequest
from prefect_media.purchase_options import OnDoubt
from prefect_media.requests import MediaRequest
from prefect_media.user_input import brief_repr

from .context import Credentials, Store, a_kind
from .gathering import Gathering, SuspendedGathering
from .generation import Generation
from .retried import sync_generator

CONCURRENCY = 32


def agather(
    credentials: Credentials,
    requests: Iterable[MediaRequest] | AsyncIterable[MediaRequest],
    *,
    store: Store | None = None,
    scope: str = "run",
    concurrency: int = CONCURRENCY,
    on_error: Literal["collect", "raise"] = "collect",
    ordered: bool = False,
    timeout: timedelta | float | None = None,
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
    cancel_remote: bool = False,
    wait: Literal["worker", "suspend"] = "worker",
    per_task_run: int = 1,
) -> AsyncGenerator[Generation]:
    """Make what many requests ask for, images and videos in any mixture, and give each result as it lands.

    Requests are taken one by one as there is room, so an endless generator will do, and memory stays bounded. Each is
    a task run of its own (`generate_video`, `edit_images`, ...), with its retries. Equal requests are one purchase
    with one result, as everywhere in a scope; `variant=1`, `variant=2`, ... makes others of the same.

    Left early (an error, a `break`, a cancelled flow), it cancels what is under way. Paid video jobs stay on record,
    and the same call in the next run of the flow goes on with them. Leave by `contextlib.aclosing(agather(...))`
    to have that done by the end of the block.

    `gather` is for a plain `for`; the generations go on in the background while the loop's body works.

    Example:
        ```python
        async for made in agather("my-server", shots, concurrency=50):
            if made.error:
                logger.warning("Shot %s failed: %s", made.index, made.error)
            else:
                clips.append(made.asset)
        ```

    Args:
        credentials: A credentials block, or the name of a saved one.
        requests: What to make: any iterable, also an async one. Taken on the event loop, so it should not block.
        store: Where to put it; see `agenerate_video`.
        scope: What each request is unique within; see `agenerate_video`.
        concurrency: How many generations at once. More than the provider's quota only earns refusals. Paid image
            requests in the air are bounded by the credentials' `max_concurrency` besides.
        on_error: "collect" gives failures as results with an `error`; "raise" raises the first one: no further
            request is taken, waits for videos are cancelled, and images under way are let in, as they are paid for.
        ordered: Give the results in the order of the requests, each as soon as all before it are there.
        timeout: How long each may take, in seconds or as a timedelta; by default what its task allows.
        on_doubt: What to do when it can't be known whether the provider took a job: "raise" or "resubmit".
        budget: What all may cost together, as a `Budget` or in USD for this flow run; requests that could exceed it
            fail with `BudgetExceeded`, and nothing is sent for them.
        retry_failed: Buy again what failed before in this scope.
        cancel_remote: Delete video jobs at the provider when they are cancelled here; by default they go on.
        wait: "worker" waits for videos in this process. "suspend" makes all images and submits all videos first,
            however many; when only waiting is left, the flow run is suspended as by `auntil_finished`, and fetches the
            videos once it is woken. The flow starts from its top then, so what was given before is given again.
        per_task_run: How many generations share a task run, `generate_many`. For tens of thousands: 50 divides what
            Prefect takes for each by 50. Each is still tried again alone, on the live page and a result of its own.

    Raises:
        errors.InvalidRequest: An argument can't work, or there is no such saved block; nothing was sent.
        errors.AuthenticationFailed: There is no key; nothing was sent.
    """
    if not isinstance(concurrency, int) or concurrency < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"concurrency={concurrency!r} is not possible; pass a number above 0")
    if not isinstance(per_task_run, int) or per_task_run < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"per_task_run={per_task_run!r} is not possible; pass a number above 0")
    if isinstance(requests, MediaRequest):
        raise InvalidRequest(f"requests is one {type(requests).__name__}; pass several, or a list of one")
    if not isinstance(requests, Iterable | AsyncIterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"requests is {a_kind(requests)}; pass an iterable of requests")
    if on_error not in ("collect", "raise"):
        raise InvalidRequest(f'on_error={on_error!r} is not possible; pass "collect" or "raise"')
    if wait not in ("worker", "suspend"):
        raise InvalidRequest(f'wait={brief_repr(wait)} is not possible; pass "worker" or "suspend"')
    if wait == "suspend" and (retry_failed or cancel_remote):
        raise InvalidRequest(
            'wait="suspend" is not possible with retry_failed, which would buy again whenever the flow run wakes, nor '
            'with cancel_remote; leave them out, or pass wait="worker"'
        )
    options: dict[str, Any] = {"scope": scope, "on_doubt": on_doubt, "budget": budget, "retry_failed": retry_failed}
    if timeout is not None:
        options["timeout"] = timeout
    kind = SuspendedGathering if wait == "suspend" else Gathering
    gathering = kind(
        credentials, store, options, cancel_remote=cancel_remote, concurrency=concurrency, per_task_run=per_task_run
    )
    return gathering.results(requests, on_error=on_error, ordered=ordered)


gather = sync_generator(agather)
