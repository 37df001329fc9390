"""Waiting for jobs without a worker: the flow run is suspended, and a waker resumes it when they are finished."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from prefect.client.schemas.objects import FlowRun

from prefect_media.errors import (
    ContentRejected,
    InvalidRequest,
    JobFailed,
    JobTimedOut,
    MediaError,
    NotFound,
    ProviderUnavailable,
    RateLimited,
)
from prefect_media.image_batch import ImageBatch
from prefect_media.jobs import VideoJob
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases import batch_wait, video_steps
from prefect_media.runtime import clock
from prefect_media.runtime.hashing import sha256_of
from prefect_media.runtime.sync import run_sync
from prefect_media.steps import OnStep, Step
from prefect_media.storage.store import Storage
from prefect_media.user_input import brief_repr
from prefect_media.waiting.records import AwaitedJob, WaitingRecord, remove_used

from .context import Credentials, Store, a_kind, connection_to, purchase_options, seconds_of, storage_for
from .current_run import run_logger
from .job_credentials import credentials_of, saved_name
from .reporting import show_steps
from .suspension import (
    api_url,
    asuspend,
    flow_name,
    prepare,
    running_flow,
    suspend,
    used_keys,
    why_not,
    withdraw,
)

SUSPEND_AFTER = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=24)

AWAKE = 30.0
"""Seconds that a flow run stays awake at least once it was resumed: long enough to be sure that a job is gone."""

PAUSE = 5.0
"""Seconds between two waits in the process."""

Job = VideoJob | ImageBatch


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """The outcome of a job that was waited for.

    Attributes:
        job: The job.
        finished: Whether it is over; fetch it then. False only of jobs that go on.
        error: Why it failed, or `JobTimedOut` if it was not finished in time.
    """

    job: VideoJob | ImageBatch
    finished: bool
    error: MediaError | None = None


async def auntil_finished(
    jobs: Sequence[VideoJob | ImageBatch],
    *,
    credentials: Credentials | Sequence[Credentials] | None = None,
    until: Literal["all", "any"] = "all",
    suspend_after: timedelta | float = SUSPEND_AFTER,
    timeout: timedelta | float = LONGEST_WAIT,
    store: Store | None = None,
) -> list[JobOutcome]:
    """Wait for jobs, and hold neither a process nor a worker slot while nothing happens.

    Called in a flow. Short waits happen in the process. After `suspend_after` the flow run is suspended, and a waker
    (`flows/wake.py`, or `prefect-media wake`) resumes it when the jobs are finished. Then the flow starts from its top:
    what it bought is found on the ledger, and this function returns. Where nobody could resume the flow run (it has no
    deployment, it is a subflow, the credentials are not saved, or no waker is there), it waits in the process, and a
    warning says why.

    Example:
        ```python
        jobs = [await asubmit_video("my-server", request, store="my-store") for request in requests]
        for outcome in await auntil_finished(jobs, store="my-store"):
            if outcome.error is None:
                clips.append(await afetch_video("my-server", outcome.job, store="my-store"))
        ```

    Args:
        jobs: What `asubmit_video` and `asubmit_image_batch` returned.
        credentials: The credentials the jobs were bought with, or their name; several where there are several servers.
            By default those that this process submitted each job with. Only saved ones can be used by a waker.
        until: "all" waits for every job, "any" for the first of them.
        suspend_after: How long to wait in the process before the flow run is suspended, in seconds or as a timedelta.
        timeout: How long to wait in all, in seconds or as a timedelta, from the first call in this attempt of the run.
        store: The store the jobs were submitted with; a waker has to look at the same one.

    Returns:
        The outcome of each job, in the same order.

    Raises:
        errors.InvalidRequest: An argument can't work, or this is not a flow.
        errors.AuthenticationFailed: A server refuses the credentials.
        errors.StoreError: The store can't be read or written.
    """
    wait = await _begin(jobs, credentials, until, suspend_after, timeout, store)
    while not isinstance(outcome := await wait.step(), list):
        try:
            await asuspend(outcome)
        except RuntimeError:  # Prefect refused; after any other error the run may sleep all the same
            await withdraw(wait.storage, outcome)
            raise
    return outcome


def until_finished(
    jobs: Sequence[VideoJob | ImageBatch],
    *,
    credentials: Credentials | Sequence[Credentials] | None = None,
    until: Literal["all", "any"] = "all",
    suspend_after: timedelta | float = SUSPEND_AFTER,
    timeout: timedelta | float = LONGEST_WAIT,
    store: Store | None = None,
) -> list[JobOutcome]:
    """The sync twin of `auntil_finished`, for sync flows; arguments and errors are the same."""
    wait = run_sync(_begin(jobs, credentials, until, suspend_after, timeout, store))
    while not isinstance(outcome := run_sync(wait.step()), list):
        try:
            suspend(outcome)
        except RuntimeError:  # as in `auntil_finished`
            run_sync(withdraw(wait.storage, outcome))
            raise
    return outcome


async def _begin(
    jobs: Sequence[Job],
    credentials: Credentials | Sequence[Credentials] | None,
    until: Literal["all", "any"],
    suspend_after: timedelta | float,
    timeout: timedelta | float,
    store: Store | None,
) -> _Wait:
    run = running_flow("until_finished")
    if isinstance(jobs, Job) or not isinstance(jobs, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidRequest(f"jobs is {a_kind(jobs)}; pass a list of VideoJobs and ImageBatches")
    for job in jobs:
        if not isinstance(job, Job):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidRequest(f"jobs has {a_kind(job)} in it; pass what submit_video or submit_image_batch returned")
    if until not in ("all", "any"):
        raise InvalidRequest(f'until={brief_repr(until)} is not possible; pass "all" or "any"')
    if credentials is None:
        blocks: list[Credentials] = []
    else:
        blocks = (
            [credentials] if isinstance(credentials, str) or not isinstance(credentials, Sequence) else [*credentials]
        )
    seconds = seconds_of("timeout", timeout)
    at_once = 0.0 if suspend_after in (0, timedelta()) else seconds_of("suspend_after", suspend_after)
    storage = await storage_for(store)
    makers = [await credentials_of(job, blocks) for job in jobs]
    used = used_keys(run)
    await remove_used(storage, str(run.id), used)
    deadline = _first_deadline(jobs, used)
    if deadline is not None:
        at_once = max(at_once, AWAKE)
    return _Wait(run, storage, list(jobs), makers, until, at_once, deadline or clock.now() + timedelta(seconds=seconds))


_KEY = re.compile(r"prefect-media-jobs-([0-9a-f]{16})-([0-9]{1,12})-[0-9a-f]{12}")


def _digest(jobs: Sequence[Job]) -> str:
    return sha256_of("\n".join(f"{job.base_url} {job.id}" for job in jobs))[:16]


def _first_deadline(jobs: Sequence[Job], used: set[str]) -> datetime | None:
    """When the wait is over, as the first suspension for the same jobs says by its key; None before there was one."""
    ours = [match for key in used if (match := _KEY.fullmatch(key)) and match[1] == _digest(jobs)]
    return datetime.fromtimestamp(min(int(match[2]) for match in ours), UTC) if ours else None


class _Wait:
    """One call: what is waited for, and until when."""

    def __init__(
        self,
        run: FlowRun,
        storage: Storage,
        jobs: list[Job],
        makers: list[Credentials],
        until: Literal["all", "any"],
        suspend_after: float,
        deadline: datetime,
    ) -> None:
        self.storage = storage
        self._run, self._jobs, self._makers = run, jobs, makers
        self._until: Literal["all", "any"] = until
        self._suspend_after, self._deadline = suspend_after, deadline

    async def step(self) -> list[JobOutcome] | WaitingRecord:
        """The outcomes of the jobs; or the record of a suspension that is to follow, as they go on."""
        outcomes = await self._look(min(self._suspend_after, self._left))
        if self._is_over(outcomes) or not self._left:
            return self._in_the_end(outcomes)
        names = [saved_name(maker) for maker in self._makers]
        obstacle = "the credentials are no saved block" if None in names else await why_not(self._run, self.storage)
        if obstacle:
            run_logger().warning("Waiting in the process, which keeps its worker slot: %s", obstacle)
            while self._left and not self._is_over(outcomes := await self._look(self._left)):
                await clock.sleep(min(PAUSE, self._left))  # a server that is away may end a look early
            return self._in_the_end(outcomes)
        record = WaitingRecord(
            flow_run_id=str(self._run.id),
            suspension=f"prefect-media-jobs-{_digest(self._jobs)}-{int(self._deadline.timestamp())}-{clock.new_id()[:12]}",
            flow_name=flow_name(),
            api_url=api_url(),
            jobs=tuple(AwaitedJob(credentials=str(name), job=job) for name, job in zip(names, self._jobs, strict=True)),
            until=self._until,
            deadline=self._deadline,
            written_at=clock.now(),
        )
        await prepare(self.storage, record, "its jobs are finished")
        return record

    @property
    def _left(self) -> float:
        return max(0.0, (self._deadline - clock.now()).total_seconds())

    def _is_over(self, outcomes: list[JobOutcome]) -> bool:
        finished = [outcome.finished for outcome in outcomes]
        return all(finished) if self._until == "all" else any(finished) or not finished

    def _in_the_end(self, outcomes: list[JobOutcome]) -> list[JobOutcome]:
        """The outcomes; with an error where a job was not finished in time, unless only one had to be."""
        if self._is_over(outcomes):
            return outcomes
        return [outcome if outcome.finished else _late(outcome.job) for outcome in outcomes]

    async def _look(self, seconds: float) -> list[JobOutcome]:
        """How the jobs stand, once they are finished or after so many seconds."""
        options = await purchase_options(
            scope="forever", timeout=max(seconds, 0.001), on_step=_without_timeouts(show_steps(self.storage))
        )
        tasks = [
            asyncio.create_task(self._outcome(job, maker, options))
            for job, maker in zip(self._jobs, self._makers, strict=True)
        ]
        if not tasks:
            return []
        try:
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                if self._until == "any" and any(task.result().finished for task in done):
                    break
            return [
                task.result() if task.done() else JobOutcome(job, finished=False)
                for task, job in zip(tasks, self._jobs, strict=True)
            ]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _outcome(self, job: Job, maker: Credentials, options: PurchaseOptions) -> JobOutcome:
        connection = await connection_to(maker)
        try:
            if isinstance(job, ImageBatch):
                await batch_wait.wait(connection, job, self.storage, options)
            else:
                await video_steps.wait(connection, job, self.storage, options)
        except (JobFailed, ContentRejected, NotFound) as error:
            return JobOutcome(job, finished=True, error=error)
        except (JobTimedOut, ProviderUnavailable, RateLimited):  # it may be well; whoever looks next will see
            return JobOutcome(job, finished=False)
        return JobOutcome(job, finished=True)


def _late(job: Job) -> JobOutcome:
    what = f"batch {job.id}" if isinstance(job, ImageBatch) else f"job {job.id}"
    error = JobTimedOut(
        f"{what} was not finished in time; it is billed and may still finish: fetch it later", job_id=job.id
    )
    return JobOutcome(job, finished=False, error=error)


def _without_timeouts(show: OnStep) -> OnStep:
    """The same, but for the step of a wait that ran out: then the job goes on, and so does the wait."""

    def show_others(step: Step) -> None:
        if not isinstance(step.error, JobTimedOut):
            show(step)

    return show_others
