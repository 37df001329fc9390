"""Videos as Prefect tasks, each from the request to the stored asset; for steps of their own see video_steps.py."""

from __future__ import annotations

from datetime import timedelta

from prefect import task

from prefect_media.assets import Asset
from prefect_media.budget import Budget
from prefect_media.purchase_options import OnDoubt
from prefect_media.purchases.remix_fallback import Fallback, buy_remix
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import RemixRequest, VideoEditRequest, VideoExtendRequest, VideoRequest

from .cancelled_runs import ended_with_flow_run
from .context import MANY, Credentials, Store, check_kind, connection_to, purchase_options, storage_for
from .reporting import show_steps
from .retried import RETRIED, sync_twin

VIDEO_TIMEOUT = timedelta(minutes=30)


@task(name="generate_video", **RETRIED)
async def agenerate_video(
    credentials: Credentials,
    request: VideoRequest,
    *,
    store: Store | None = None,
    scope: str = "run",
    timeout: timedelta | float = VIDEO_TIMEOUT,
    queue_timeout: timedelta | float | None = None,
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
    cancel_remote: bool = False,
) -> Asset:
    """Make a video and put it in the store; the same request in the same scope is bought once.

    Example:
        ```python
        request = VideoRequest(prompt="the fox runs", model="wan-2.2", seconds=5, size="1280x720", image=fox)
        clip = await agenerate_video("my-server", request)
        ```

    Args:
        credentials: A credentials block, or the name of a saved one.
        request: What to make, with or without the one reference image.
        store: Where to put it: a `MediaStore`, its name, a URL or a folder. Default: `PREFECT_MEDIA_STORE`,
            else a folder under the Prefect home.
        scope: What the request is unique within: "run" (this flow run, its retries and restarts included),
            "forever", or a name of your own.
        timeout: How long to wait for the job, in seconds or as a timedelta. A job that takes longer stays on
            record, and the next attempt resumes it.
        queue_timeout: How long the job may wait in the provider's queue; by default as long as `timeout` lets it.
        on_doubt: What to do when it can't be known whether the provider took the job: "raise" or "resubmit".
        budget: What may be spent, as a `Budget` or in USD for this flow run; what could exceed it is not bought.
        retry_failed: Buy again what failed before in this scope.
        cancel_remote: Delete the job at the provider when this task or its flow run is cancelled; by default it goes
            on.

    Raises:
        errors.InvalidRequest: The request can't work; nothing was sent.
        errors.BudgetExceeded: It could exceed the budget; nothing was sent.
        errors.JobFailed: The provider gave up on the job.
        errors.ContentRejected: Moderation refused the prompt, the reference or the result.
        errors.JobTimedOut: The job was not done in time; it is billed, and can be resumed.
        errors.SubmissionInDoubt: The reply was lost and the provider can't be asked.
        errors.MediaError: Any other kind; see `prefect_media.errors`.
    """
    request = check_kind(request, VideoRequest, hint=MANY)
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(
        scope=scope,
        timeout=timeout,
        queue_timeout=queue_timeout,
        on_doubt=on_doubt,
        budget=budget,
        retry_failed=retry_failed,
        cancel_remote=cancel_remote,
        on_step=show_steps(storage, request),
    )
    with ended_with_flow_run(options):
        return await buy_video(connection, request, storage, options)


@task(name="remix_video", **RETRIED)
async def aremix_video(
    credentials: Credentials,
    request: RemixRequest,
    *,
    store: Store | None = None,
    scope: str = "run",
    timeout: timedelta | float = VIDEO_TIMEOUT,
    queue_timeout: timedelta | float | None = None,
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
    cancel_remote: bool = False,
    fallback: Fallback | None = None,
) -> Asset:
    """Make a finished video again with a change; arguments and errors are those of `agenerate_video`.

    Example:
        ```python
        night = await aremix_video("my-server", RemixRequest(video=clip, prompt="the same at night"))
        ```

    Args:
        fallback: What to do where the server can't remix: "last_frame" makes a new video of the same model, size and
            length that starts from the last frame of the stored one. By default that is an error.
    """
    request = check_kind(request, RemixRequest, hint=MANY)
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(
        scope=scope,
        timeout=timeout,
        queue_timeout=queue_timeout,
        on_doubt=on_doubt,
        budget=budget,
        retry_failed=retry_failed,
        cancel_remote=cancel_remote,
        on_step=show_steps(storage, request),
    )
    with ended_with_flow_run(options):
        return await buy_remix(connection, request, storage, options, fallback=fallback)


@task(name="edit_video", **RETRIED)
async def aedit_video(
    credentials: Credentials,
    request: VideoEditRequest,
    *,
    store: Store | None = None,
    scope: str = "run",
    timeout: timedelta | float = VIDEO_TIMEOUT,
    queue_timeout: timedelta | float | None = None,
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
    cancel_remote: bool = False,
) -> Asset:
    """Change one thing in a finished video; arguments and errors are those of `agenerate_video`.

    Example:
        ```python
        scarf = await aedit_video("my-server", VideoEditRequest(video=clip, prompt="give the fox a red scarf"))
        ```
    """
    request = check_kind(request, VideoEditRequest, hint=MANY)
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(
        scope=scope,
        timeout=timeout,
        queue_timeout=queue_timeout,
        on_doubt=on_doubt,
        budget=budget,
        retry_failed=retry_failed,
        cancel_remote=cancel_remote,
        on_step=show_steps(storage, request),
    )
    with ended_with_flow_run(options):
        return await buy_video(connection, request, storage, options)


@task(name="extend_video", **RETRIED)
async def aextend_video(
    credentials: Credentials,
    request: VideoExtendRequest,
    *,
    store: Store | None = None,
    scope: str = "run",
    timeout: timedelta | float = VIDEO_TIMEOUT,
    queue_timeout: timedelta | float | None = None,
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
    cancel_remote: bool = False,
) -> Asset:
    """Make a finished video longer; the result is the whole video. Arguments and errors are those of `agenerate_video`.

    Example:
        ```python
        request = VideoExtendRequest(video=clip, prompt="the fox looks back", seconds=4)
        longer = await aextend_video("my-server", request)
        ```
    """
    request = check_kind(request, VideoExtendRequest, hint=MANY)
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(
        scope=scope,
        timeout=timeout,
        queue_timeout=queue_timeout,
        on_doubt=on_doubt,
        budget=budget,
        retry_failed=retry_failed,
        cancel_remote=cancel_remote,
        on_step=show_steps(storage, request),
    )
    with ended_with_flow_run(options):
        return await buy_video(connection, request, storage, options)


generate_video = sync_twin(agenerate_video, **RETRIED)
remix_video = sync_twin(aremix_video, **RETRIED)
edit_video = sync_twin(aedit_video, **RETRIED)
extend_video = sync_twin(aextend_video, **RETRIED)
