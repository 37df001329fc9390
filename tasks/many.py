"""Thousands of generations at a time: few enough in the air, each a task run of its own, each result as it lands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sized
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any, Literal

from prefect import Task
from prefect.context import AsyncClientContext

from prefect_media.assets import Asset
from prefect_media.budget import Budget
from prefect_media.errors import InvalidRequest
from prefect_media.jobs import VideoJob
from prefect_media.purchase_options import OnDoubt
from prefect_media.requests import (
    ImageEditRequest,
    ImageOptions,
    ImageRequest,
    MediaRequest,
    RemixRequest,
    VideoEditRequest,
    VideoExtendRequest,
    VideoRequest,
)
from prefect_media.user_input import brief_repr

from .context import Credentials, Store, a_kind, credentials_block, purchase_options, storage_for, store_block
from .generation import Generation
from .images import aedit_images, agenerate_images
from .page_writer import expect_on_page
from .retried import sync_generator
from .shared_runs import SharedRuns
from .video_steps import afetch_video, asubmit_video
from .videos import VIDEO_TIMEOUT, aedit_video, aextend_video, agenerate_video, aremix_video
from .waiting import LONGEST_WAIT, SUSPEND_AFTER, JobOutcome, auntil_finished

CONCURRENCY = 32

AHEAD = 4
"""How far requests are taken ahead of the results that were fetched, in multiples of `concurrency`."""

TASKS: dict[type[MediaRequest], Task[..., Any]] = {
    ImageRequest: agenerate_images,
    ImageEditRequest: aedit_images,
    VideoRequest: agenerate_video,
    RemixRequest: aremix_video,
    VideoEditRequest: aedit_video,
    VideoExtendRequest: aextend_video,
}


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
        budget: What all may cost together, as a `Budget` or in USD for this flow run; requests that could pass it
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
    kind = _SuspendedGathering if wait == "suspend" else _Gathering
    gathering = kind(
        credentials, store, options, cancel_remote=cancel_remote, concurrency=concurrency, per_task_run=per_task_run
    )
    return gathering.results(requests, on_error=on_error, ordered=ordered)


class _Gathering:
    """One call: the requests that are under way, and the results that have landed and wait to be fetched."""

    def __init__(
        self,
        credentials: Credentials,
        store: Store | None,
        options: dict[str, Any],
        *,
        cancel_remote: bool,
        concurrency: int,
        per_task_run: int,
    ) -> None:
        self._credentials, self._store = credentials, store
        self._options, self._cancel_remote = options, cancel_remote
        self._per_task_run = per_task_run
        self._runs: SharedRuns | None = None
        self._slots = asyncio.Semaphore(concurrency)
        self._window = asyncio.Semaphore(concurrency * AHEAD)
        self._landed: asyncio.Queue[Generation | None] = asyncio.Queue()
        self._under_way: dict[asyncio.Task[None], MediaRequest] = {}
        self._taking: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None
        self._over = False

    async def results(
        self,
        requests: Iterable[MediaRequest] | AsyncIterable[MediaRequest],
        *,
        on_error: Literal["collect", "raise"],
        ordered: bool,
    ) -> AsyncGenerator[Generation]:
        if isinstance(requests, Sized):
            expect_on_page(len(requests))
        working = asyncio.create_task(self._work(requests))
        working.add_done_callback(lambda _: self._landed.put_nowait(None))
        early: dict[int, Generation] = {}
        turn = 0
        try:
            while (made := await self._landed.get()) is not None:
                if made.error is not None and on_error == "raise":
                    await self._wind_up(working)
                    raise made.error
                early[made.index if ordered else turn] = made
                while turn in early:
                    yield early.pop(turn)
                    turn += 1
                    self._window.release()
            await working
            if self._broken is not None:
                raise self._broken
        finally:
            working.cancel()
            await asyncio.wait([working])

    async def _work(self, requests: Iterable[MediaRequest] | AsyncIterable[MediaRequest]) -> None:
        self._credentials = await credentials_block(self._credentials)
        self._credentials.connection()
        self._store = self._store and await store_block(self._store)
        await storage_for(self._store)
        options: dict[str, Any] = {"timeout": VIDEO_TIMEOUT, **self._options}
        await purchase_options(**options)  # a value that can't work is one error, not one for each request
        async with self._task_runs() as group:
            self._taking = group.create_task(self._take(_lazily(requests), group))

    @asynccontextmanager
    async def _task_runs(self) -> AsyncGenerator[asyncio.TaskGroup]:
        """A group of tasks that call Prefect tasks by `_call`; left when all are done."""
        # One client of Prefect's API for all: in a sync flow, each task would open one of its own.
        async with AsyncClientContext.get_or_create(), asyncio.TaskGroup() as shared:
            self._runs = SharedRuns(self._per_task_run, shared)
            async with asyncio.TaskGroup() as group:
                yield group
            self._runs.close()

    async def _call(self, task: Any, *arguments: Any, **options: Any) -> Any:
        """Call a task, in a task run of its own or in one that several share."""
        if self._runs is None or self._per_task_run == 1:
            return await task(*arguments, **options)
        return await self._runs.call(partial(task.fn, *arguments, **options))

    async def _take(self, requests: AsyncIterator[MediaRequest], group: asyncio.TaskGroup) -> None:
        """Take requests as there is room for them. When they break off, what was begun is still made."""
        for index in count():
            await self._acquire_room()
            try:
                request = await anext(requests)
            except StopAsyncIteration:
                self._slots.release()
                return
            except Exception as error:  # the user's own iterable; raised once all that was begun is made
                self._broken, self._over = error, True
                return
            task = group.create_task(self._make(index, request))
            self._under_way[task] = request
            task.add_done_callback(self._under_way.pop)

    async def _acquire_room(self) -> None:
        await self._window.acquire()
        await self._slots.acquire()

    async def _make(self, index: int, request: MediaRequest) -> None:
        try:
            made = await self._made(index, request)
            if made is None:  # it is submitted, and comes later
                return
            assets = (made,) if isinstance(made, Asset) else tuple(made)
            generation = Generation(index, request, assets)
        except Exception as error:  # whatever it is, it is this request's result and nobody else's
            generation = Generation(index, request, error=error)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # Prefect's signal to suspend the flow run, for example
            self._broken = error
            self._begin_nothing_more()
            return
        finally:
            self._slots.release()
        self._landed.put_nowait(generation)

    async def _made(self, index: int, request: MediaRequest) -> Asset | list[Asset] | None:
        task = next((task for kind, task in TASKS.items() if isinstance(request, kind)), None)
        if task is None:
            kinds = ", ".join(kind.__name__ for kind in TASKS)
            raise InvalidRequest(f"a {type(request).__name__} is not a request; pass {kinds}; nothing was sent")
        options = self._options if isinstance(request, ImageOptions) else self._for_videos
        return await self._call(task, self._credentials, request, store=self._store, **options)

    @property
    def _for_videos(self) -> dict[str, Any]:
        return {**self._options, "cancel_remote": self._cancel_remote}

    async def _wind_up(self, working: asyncio.Task[None]) -> None:
        """Wait only for what could not be had again without paying again."""
        self._begin_nothing_more()
        for task, request in self._under_way.items():
            if not isinstance(request, ImageOptions):
                task.cancel()
        await asyncio.wait([working])

    def _begin_nothing_more(self) -> None:
        self._over = True
        if self._taking is not None:
            self._taking.cancel()


class _SuspendedGathering(_Gathering):
    """One call that submits all videos first, and suspends the flow run while they are made."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._jobs: dict[int, tuple[MediaRequest, VideoJob]] = {}
        self._waiting: asyncio.Task[list[JobOutcome]] | None = None

    async def _work(self, requests: Iterable[MediaRequest] | AsyncIterable[MediaRequest]) -> None:
        await super()._work(requests)
        if self._over or not self._jobs:
            return
        order = sorted(self._jobs)
        jobs = [self._jobs[index][1] for index in order]
        longest = self._options.get("timeout", LONGEST_WAIT)
        self._waiting = asyncio.create_task(
            auntil_finished(
                jobs, credentials=self._credentials, suspend_after=SUSPEND_AFTER, timeout=longest, store=self._store
            )
        )
        outcomes = await self._waiting
        async with self._task_runs() as group:
            for index, outcome in zip(order, outcomes, strict=True):
                await self._slots.acquire()
                group.create_task(self._fetch(index, outcome))

    async def _acquire_room(self) -> None:
        await self._slots.acquire()  # no window: all is submitted before any video is given

    async def _made(self, index: int, request: MediaRequest) -> Asset | list[Asset] | None:
        if not isinstance(request, VideoRequest | RemixRequest | VideoEditRequest | VideoExtendRequest):
            return await super()._made(index, request)
        job = await self._call(asubmit_video, self._credentials, request, store=self._store, **self._options)
        self._jobs[index] = request, job
        return None

    def _begin_nothing_more(self) -> None:
        super()._begin_nothing_more()
        if self._waiting is not None:
            self._waiting.cancel()

    async def _fetch(self, index: int, outcome: JobOutcome) -> None:
        request, job = self._jobs[index]
        try:
            if outcome.error is not None:
                raise outcome.error
            asset = await self._call(afetch_video, self._credentials, job, store=self._store)
            generation = Generation(index, request, (asset,))
        except Exception as error:  # as in `_make`
            generation = Generation(index, request, error=error)
        finally:
            self._slots.release()
        self._landed.put_nowait(generation)


async def _lazily(requests: Iterable[MediaRequest] | AsyncIterable[MediaRequest]) -> AsyncIterator[MediaRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request


gather = sync_generator(agather)
