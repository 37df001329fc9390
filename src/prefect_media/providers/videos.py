"""Videos on the wire: the Videos API, in the words of whatever server is there (see dialects.py).

The SDK's own video methods are deprecated with the API they were made for, and can't send references by URL or
remixes by id; so only its transport is used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from ..errors import (
    DownloadCorrupt,
    InvalidRequest,
    JobExpired,
    JobFailed,
    MediaError,
    ProviderUnavailable,
    SubmissionInDoubt,
)
from ..jobs import JobState, VideoJob
from ..requests import VideoExtendRequest, VideoRequest, VideoVariation
from .answers import look_again_after
from .client import Connection
from .dialects import Dialect, Route, dialect_of, spoken
from .wire import Upload, ask, fields_of, open_stream

if TYPE_CHECKING:
    import httpx2

CONTENT_PAUSES = (1.0, 2.0)
"""Seconds before the content of a finished job is asked for again after a 404, and then once more."""

PAGE = 100
"""Jobs asked for in one page of a list."""

NO_SUCH_ROUTE = ("not found", "method not allowed", "invalid url", "resource not found", "no explanation")
"""What servers say of a path they don't serve, where of a job they don't know they would say more."""


async def submit(
    connection: Connection, request: VideoRequest | VideoVariation, *, image: Upload | None, fingerprint: str
) -> VideoJob:
    """Buy one video: one request, sent once.

    Args:
        connection: Where to and as whom.
        request: What to make.
        image: The reference image, ready to send.
        fingerprint: SHA-256 of the normalised request, kept on the job.

    Raises:
        errors.SubmissionInDoubt: The reply was lost; the job may or may not exist.
        errors.MediaError: Anything else; then nothing was bought.
    """
    dialect = await dialect_of(connection)
    if isinstance(request, VideoRequest):
        fields = {name: getattr(request, name) for name in ("model", "prompt", "seconds", "size")}
        method, path = dialect.route("create")
        answer = await ask(
            connection, method, connection.url(path), paid=True, **dialect.order(fields, request.extra, image)
        )
        model = request.model
    else:
        source, body = _variation(request)
        try:
            method, path = dialect.route(cast(Route, request.operation), source)
            answer = await ask(connection, method, connection.url(path), json_body=body, paid=True)
        except InvalidRequest as error:
            raise _no_variation(connection, request, source, error) from error
        model = ""
    state = JobState.parse(dialect.understood(answer.body))
    if state is None:
        raise SubmissionInDoubt(
            "the provider took the request but answered without a job", request_id=answer.request_id
        )
    job = job_of(connection, state, fingerprint=fingerprint, model=model)
    if isinstance(request, VideoRequest):
        asked = {"size": request.size, "seconds": None if request.seconds is None else str(request.seconds)}
        job = job.model_copy(update={name: value for name, value in asked.items() if value is not None})
    return job


def job_of(connection: Connection, state: JobState, *, fingerprint: str, model: str = "") -> VideoJob:
    """The durable handle of a job the server told us about."""
    return VideoJob(
        provider=connection.provider,
        base_url=connection.base_url,
        api_version=connection.api_version,
        dialect=spoken(connection),
        model=model or state.model or "",
        id=state.id,
        fingerprint=fingerprint,
        submitted_at=datetime.now(UTC),
        size=state.size,
        seconds=state.seconds,
    )


async def look(connection: Connection, job_id: str) -> JobState:
    """How a job stands. Sent once: whoever waits looks again anyway.

    Raises:
        errors.JobExpired: The server does not know the job.
        errors.MediaError: The look failed; the job may be well.
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("look", job_id)
    hint: float | None = None
    try:
        answer = await ask(connection, method, connection.url(path), retries=0)
    except MediaError as error:
        row = dialect.understood(_body_behind(error))
        if row.get("id") != job_id:
            raise
        # vLLM-Omni answers for a failed job with an HTTP error that has the job as its body.
    else:
        row, hint = dialect.understood(answer.body), _pause(dialect, answer.headers)
    state = JobState.parse(row, look_again_after=hint)
    if state is None:
        raise JobExpired(f"the server answered without a job when asked for {job_id}", job_id=job_id)
    return state


async def recent(connection: Connection, *, since: float, pages: int = 5) -> AsyncIterator[JobState]:
    """The account's jobs made since a unix time in seconds; at most `pages` pages of 100.

    Newest first where the server sorts them; some give everything at once, in an order of their own.

    Raises:
        errors.JobExpired: The server has no list.
        errors.InvalidRequest: Servers of this kind have none, the answer is none, or it does not end.
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("list")
    after: str | None = None
    seen: set[str] = set()
    for _ in range(pages):
        query = urlencode({"limit": PAGE, "order": "desc", **({"after": after} if after else {})})
        answer = await ask(connection, method, f"{connection.url(path)}?{query}")
        page = fields_of(answer.body)
        if not isinstance(page.get("data"), list):
            raise InvalidRequest(f"{connection.host} was asked for its jobs and answered without a list")
        rows = cast(list[object], page["data"])
        states = [state for row in rows if (state := JobState.parse(dialect.understood(row)))]
        fresh = [state for state in states if state.id not in seen]
        young = [state for state in fresh if state.created_at is None or state.created_at >= since]
        for state in young:
            yield state
        ages = [state.created_at for state in states if state.created_at is not None]
        only_older_ones_follow = not young and ages == sorted(ages, reverse=True)
        if only_older_ones_follow or page.get("has_more") is False or not fresh:
            return
        seen |= {state.id for state in fresh}
        after = states[-1].id
    raise InvalidRequest(f"{connection.host} has more jobs than can be looked through")


@asynccontextmanager
async def open_content(connection: Connection, job_id: str) -> AsyncGenerator[httpx2.Response]:
    """The finished video's bytes, to be read piece by piece.

    Raises:
        errors.JobExpired: The content is gone.
        errors.JobFailed: The server says that there never was any.
        errors.DownloadCorrupt: It is empty.
        errors.ProviderUnavailable: It is not there yet, or can't be had now.
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("content", job_id)
    assert method == "get"
    async with AsyncExitStack() as stack:
        for pause in (*CONTENT_PAUSES, None):
            try:
                response = await stack.enter_async_context(open_stream(connection, connection.url(path)))
                break
            except (JobExpired, InvalidRequest) as error:
                if error.status_code == 404 and pause is not None:
                    await asyncio.sleep(pause)  # finished a moment ago: some servers move the file first
                    continue
                raise _no_content(connection, job_id, error) from error
        else:
            raise AssertionError("unreachable")
        if response.headers.get("content-length") == "0":
            raise DownloadCorrupt(
                f"job {job_id} is finished, but {connection.host} sends no video for it (0 bytes)", job_id=job_id
            )
        yield response


async def delete(connection: Connection, job_id: str) -> None:
    """End a job at the provider: cancelled where servers of this kind can do that, else deleted.

    Raises:
        errors.InvalidRequest: Servers of this kind can do neither, or this one refuses.
        errors.JobExpired: It is not there.
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("cancel" if dialect.can("cancel") else "delete", job_id)
    await ask(connection, method, connection.url(path))


def source_of_variation(request: VideoVariation) -> str:
    """The job a variation is made from.

    Raises:
        errors.InvalidRequest: It names none.
    """
    if not (source := request.source_job_id):
        made = {"remix": "remixed", "edit": "edited", "extend": "extended"}[request.operation]
        raise InvalidRequest(f"only a video that a job made can be {made}; this Asset names no job")
    return source


def _variation(request: VideoVariation) -> tuple[str, dict[str, Any]]:
    source = source_of_variation(request)
    body: dict[str, Any] = {"prompt": request.prompt}
    if request.operation != "remix":
        body["video"] = {"id": source}
    if isinstance(request, VideoExtendRequest):
        body["seconds"] = str(request.seconds)
    return source, body | request.extra


def _no_variation(
    connection: Connection, request: VideoVariation, source: str, error: InvalidRequest
) -> InvalidRequest:
    """A refused remix, edit or extension, explained: is it the operation that is missing, or the video?"""
    said = error.message.lower()
    lacking = error.details.get("unsupported") or error.status_code == 405
    if error.status_code == 404:
        told = said.partition(": ")[2].partition(" (http")[0].strip(" .")
        lacking = told.startswith(NO_SUCH_ROUTE)
        if not lacking:
            made_at = request.source_host
            elsewhere = f" (this one was made at {made_at})" if made_at not in (None, connection.host) else ""
            return InvalidRequest(
                f"{connection.host} does not know the video {source}: it may be deleted, expired, or made with "
                f"another account{elsewhere}. {error.message}",
                **error.details,
            )
    if not lacking:
        return error
    offer = (
        'pass fallback="last_frame"' if request.operation == "remix" else 'call remix_video with fallback="last_frame"'
    )
    return InvalidRequest(
        f"{connection.host} can't {request.operation} videos. Nothing was bought; {offer} to make a new video that "
        "goes on from the last frame instead",
        **{**error.details, "unsupported": request.operation},
    )


def _no_content(connection: Connection, job_id: str, error: MediaError) -> MediaError:
    about = {**error.details, "job_id": job_id}
    if error.status_code in (404, 410):
        return JobExpired(
            f"the content of job {job_id} is gone: {error.message}; pass retry_failed=True to buy it again", **about
        )
    if error.status_code == 422:
        return JobFailed(f"job {job_id} has no content: {error.message}", **about)
    return ProviderUnavailable(f"the content of job {job_id} can't be had from {connection.host} yet: {error}", **about)


def _body_behind(error: MediaError) -> object:
    """The JSON of the HTTP answer that an error stands for; None where there is none."""
    from openai import APIStatusError

    if not isinstance(error.__cause__, APIStatusError):
        return None
    try:
        return error.__cause__.response.json()
    except ValueError:
        return None


def _pause(dialect: Dialect, headers: Mapping[str, str]) -> float | None:
    """Seconds the server asked us to wait before the next look."""
    try:
        return float(headers[dialect.poll_hint]) / 1000
    except (KeyError, ValueError):
        return look_again_after(headers)
