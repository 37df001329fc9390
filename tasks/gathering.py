"""How many requests are made at once: few in the air, each alone or sharing a task run, each result as it lands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Sized
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, Literal

from prefect import Task
from prefect.context import AsyncClientContext

from prefect_media.assets import Asset
from prefect_media.errors import InvalidRequest
from prefect_media.jobs import VideoJob
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
from prefect_media.runtime.iteration import one_by_one

from .context import Credentials, Store, credentials_block, purchase_options, storage_for, store_block
from .generation import Generation
from .images import aedit_images, agenerate_images
from .page_writer import expect_on_page
from .shared_runs import SharedRuns
from .video_steps import afetch_video, asubmit_video
from .videos import VIDEO_TIMEOUT, aedit_video, aextend_video, agenerate_video, aremix_video
from .waiting import LONGEST_WAIT, SUSPEND_AFTER, JobOutcome, auntil_finished

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


class Gathering:
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
            while (generation := await self._landed.get()) is not None:
                if generation.error is not None and on_error == "raise":
                    await self._wind_up(working)
                    raise generation.error
                early[generation.index if ordered else turn] = generation
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
            self._taking = group.create_task(self._take(one_by_one(requests), group))

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
            result = await self._made(index, request)
            if result is None:  # it is submitted, and comes later
                return
            assets = (result,) if isinstance(result, Asset) else tuple(result)
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


class SuspendedGathering(Gathering):
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
