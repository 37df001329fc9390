"""A video in steps of their own: submit now, wait elsewhere, fetch on any machine with the same store."""

from __future__ import annotations

from datetime import timedelta

from prefect import task

from prefect_media.assets import Asset
from prefect_media.budget import Budget
from prefect_media.jobs import VideoJob
from prefect_media.purchase_options import OnDoubt
from prefect_media.purchases.video_steps import fetch, is_finished, submit, wait
from prefect_media.requests import RemixRequest, VideoEditRequest, VideoExtendRequest, VideoRequest

from .context import MANY, Credentials, Store, check_kind, connection_to, purchase_options, storage_for
from .job_credentials import remember_credentials
from .reporting import show_steps
from .retried import RETRIED, sync_twin
from .videos import VIDEO_TIMEOUT


@task(name="submit_video", **RETRIED)
async def asubmit_video(
    credentials: Credentials,
    request: VideoRequest | RemixRequest | VideoEditRequest | VideoExtendRequest,
    *,
    store: Store | None = None,
    scope: str = "run",
    timeout: timedelta | float = VIDEO_TIMEOUT,
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
) -> VideoJob:
    """Order a video and come back at once; the same request in the same scope is one job, however often submitted.

    Example:
        ```python
        job = await asubmit_video("my-server", request, scope="trailer")
        # later, anywhere:
        clip = await afetch_video("my-server", await await_for_video("my-server", job))
        ```

    Args:
        credentials: A credentials block, or the name of a saved one.
        request: What to make.
        store: Where the ledger lives, and later the video; see `agenerate_video`.
        scope: What the request is unique within; see `agenerate_video`. Steps that belong to different flow runs
            need a name of your own, or "forever".
        timeout: How long to go on trying while the provider takes no orders.
        on_doubt: What to do when it can't be known whether the provider took the job: "raise" or "resubmit".
        budget: What may be spent; see `agenerate_video`. Booked when the video is fetched.
        retry_failed: Buy again what failed before in this scope.

    Returns:
        A small value that holds no secret; any process can go on with it. Of a job that failed before in this scope
        it is the same, and whoever waits for it gets the error.
    """
    request = check_kind(request, VideoRequest, RemixRequest, VideoEditRequest, VideoExtendRequest, hint=MANY)
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(
        scope=scope,
        timeout=timeout,
        on_doubt=on_doubt,
        budget=budget,
        retry_failed=retry_failed,
        on_step=show_steps(storage, request),
    )
    job = await submit(connection, request, storage, options)
    remember_credentials(job, credentials)
    return job


@task(name="wait_for_video", **RETRIED)
async def await_for_video(
    credentials: Credentials,
    job: VideoJob,
    *,
    store: Store | None = None,
    timeout: timedelta | float = VIDEO_TIMEOUT,
    queue_timeout: timedelta | float | None = None,
) -> VideoJob:
    """Wait until a job is finished, and return it. Buys nothing.

    Args:
        credentials: The credentials the job was bought with, or their name.
        job: What `asubmit_video` returned.
        store: The store it was submitted with; a failure is put on record there.
        timeout: How long to wait, in seconds or as a timedelta.
        queue_timeout: How long the job may wait in the provider's queue.

    Raises:
        errors.JobFailed: The provider gave up on the job.
        errors.ContentRejected: Moderation stopped it.
        errors.JobTimedOut: It is not finished yet; wait again whenever you like.
        errors.InvalidRequest: The job was made at another server than the credentials are for.
    """
    job = check_kind(job, VideoJob, name="job", hint=" as submit_video returns it")
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(timeout=timeout, queue_timeout=queue_timeout, on_step=show_steps(storage))
    return await wait(connection, job, storage, options)


@task(name="video_is_finished", **RETRIED)
async def avideo_is_finished(credentials: Credentials, job: VideoJob, *, store: Store | None = None) -> bool:
    """Look at a job once. A job that failed is finished too; fetching it says why.

    Args:
        credentials: The credentials the job was bought with, or their name.
        job: What `asubmit_video` returned.
        store: The store it was submitted with.
    """
    job = check_kind(job, VideoJob, name="job", hint=" as submit_video returns it")
    return await is_finished(await connection_to(credentials), job, await storage_for(store))


@task(name="fetch_video", **RETRIED)
async def afetch_video(
    credentials: Credentials,
    job: VideoJob,
    *,
    store: Store | None = None,
    timeout: timedelta | float = VIDEO_TIMEOUT,
) -> Asset:
    """Put the video of a finished job into the store; fetched twice, it is the same asset. Buys nothing.

    Args:
        credentials: The credentials the job was bought with, or their name.
        job: What `asubmit_video` or `await_for_video` returned.
        store: The store it was submitted with, on whatever machine.
        timeout: How long to wait if it is not finished after all.

    Raises:
        errors.JobFailed: The provider gave up on the job, or its content has expired.
        errors.ContentRejected: Moderation stopped it.
        errors.InvalidRequest: The job was made at another server than the credentials are for.
    """
    job = check_kind(job, VideoJob, name="job", hint=" as submit_video returns it")
    connection, storage = await connection_to(credentials), await storage_for(store)
    return await fetch(connection, job, storage, await purchase_options(timeout=timeout, on_step=show_steps(storage)))


submit_video = sync_twin(asubmit_video, **RETRIED)
wait_for_video = sync_twin(await_for_video, **RETRIED)
video_is_finished = sync_twin(avideo_is_finished, **RETRIED)
fetch_video = sync_twin(afetch_video, **RETRIED)
