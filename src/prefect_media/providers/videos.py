"""Videos on the wire: the Videos API, in the words of whatever server is there (see dialects.py).

The SDK's own video methods are deprecated with the API they were made for, and can't send references by URL or
remixes by id; so only its transport is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlencode

from ..errors import InvalidRequest, MediaError, ProviderUnavailable, SubmissionInDoubt
from ..jobs import JobState, VideoJob
from ..media.upload import Upload
from ..requests import VideoExtendRequest, VideoRequest, VideoVariation
from ..runtime import clock
from .address import base_url_at, objection_to, segment, shortened
from .connection import Connection
from .dialects import Dialect, Route, dialect_of, spoken
from .error_mapping import look_again_after
from .job_ids import is_same_job, parts_of
from .limits import parse_json
from .server_time import Oldest
from .wire import ask, beside, fields_of

PAGE = 100
"""Jobs asked for in one page of a list."""

NO_SUCH_ROUTE = ("not found", "method not allowed", "invalid url", "resource not found", "no explanation")
"""How the message of a 404 begins when the route is missing; for an unknown job, servers say more."""


async def submit(
    connection: Connection,
    request: VideoRequest | VideoVariation,
    *,
    image: Upload | None,
    fingerprint: str,
    footage: Upload | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
) -> VideoJob:
    """Buy one video: one request, sent once.

    Args:
        connection: Where to and as whom.
        request: What to make.
        image: The reference image, ready to send.
        fingerprint: SHA-256 of the normalised request, kept on the job.
        footage: The video that an edit or extension starts from, where the server has no id for it.
        ready: Awaited right before the request is sent, once there is room for it; may raise to keep it here.

    Raises:
        errors.SubmissionInDoubt: The reply was lost; the job may or may not exist.
        errors.MediaError: Anything else; then nothing was bought.
    """
    dialect = await dialect_of(connection)
    dialect.refuse_several(request.extra)
    if isinstance(request, VideoRequest):
        fields = {name: getattr(request, name) for name in ("model", "prompt", "seconds", "size")}
        method, path = dialect.route("create")
        answer = await ask(
            connection,
            method,
            connection.url(path),
            paid=True,
            ready=ready,
            **dialect.order(fields, request.extra, image),
        )
        model = request.model
    else:
        source = None if footage else source_of_variation(connection, request)
        in_path = request.operation == "remix"
        _refuse_what_is_not_found_again(connection, request, source, dialect)
        try:
            method, path = dialect.route(cast(Route, request.operation), source or "")
            body = dialect.variation(_change(request), None if in_path else source, footage)
            answer = await ask(connection, method, connection.url(path), paid=True, ready=ready, **body)
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
    """The durable handle of a job the server told us about.

    Raises:
        errors.SubmissionInDoubt: No request can name the job by the id that the server gave it.
    """
    if why := objection_to(state.id):
        raise SubmissionInDoubt(
            f"the provider took the job but gave it an id {shortened(state.id)} that can't be used: {why}; "
            "look for it on the provider's dashboard",
            taken=True,
        )
    return VideoJob(
        provider=connection.provider,
        base_url=connection.base_url,
        api_version=connection.api_version,
        dialect=spoken(connection),
        model=model or state.model or "",
        id=state.id,
        fingerprint=fingerprint,
        submitted_at=clock.now(),
        size=state.size,
        seconds=state.seconds,
    )


async def look(connection: Connection, job_id: str) -> JobState:
    """How a job stands. Sent once: whoever waits looks again anyway.

    Raises:
        errors.NotFound: The server has no such job.
        errors.ProviderUnavailable: The server is away, or shows another job, or none.
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
        row, hint = dialect.understood(answer.body), look_again_after(answer.headers, dialect.poll_hint)
    state = JobState.parse(row, look_again_after=hint)
    shown = {row.get("id"), row.get(dialect.other_id)} if state else set[object]()
    if state is None or not any(isinstance(each, str) and is_same_job(each, job_id) for each in shown):
        another = f"with another one, {state.id[:100]}" if state else "without a job"
        raise ProviderUnavailable(
            f"{connection.host} was asked for job {job_id} and answered {another}; nothing is known of it by that",
            job_id=job_id,
        )
    return replace(state, id=job_id)


async def recent(connection: Connection, *, since: Oldest, pages: int = 5) -> AsyncIterator[JobState]:
    """The account's jobs made since a moment; at most `pages` pages of 100.

    Newest first where the server sorts them; some give everything at once, in an order of their own.

    Args:
        connection: Whose jobs.
        since: The moment; asked once per page, because the server's answer may tell it.
        pages: Pages to look through.

    Raises:
        errors.NotFound: The server has no list.
        errors.InvalidRequest: Servers of this kind have none, the answer is none, or it goes on after the last page
            (`incomplete`; what it gave until then holds).
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("list")
    after: str | None = None
    seen: set[str] = set()
    for _ in range(pages):
        query = urlencode({"limit": PAGE, "order": "desc", **({"after": after} if after else {})})
        answer = await ask(connection, method, f"{connection.url(path)}?{query}")
        oldest = since()
        page = fields_of(answer.body)
        if not isinstance(page.get("data"), list):
            raise InvalidRequest(f"{connection.host} was asked for its jobs and answered without a list")
        rows = cast(list[object], page["data"])
        states = [state for row in rows if (state := JobState.parse(dialect.understood(row)))]
        if len(states) < len(rows):
            raise InvalidRequest(f"{connection.host} lists jobs without an id or a status, so its list proves nothing")
        fresh = [state for state in states if state.id not in seen]
        young = [state for state in fresh if oldest is None or state.created_at is None or state.created_at >= oldest]
        for state in young:
            yield state
        ages = [state.created_at for state in states if state.created_at is not None]
        only_older_ones_follow = not young and ages == sorted(ages, reverse=True)
        if only_older_ones_follow or page.get("has_more") is False or not fresh:
            return
        seen |= {state.id for state in fresh}
        after = states[-1].id
    raise InvalidRequest(f"{connection.host} has more jobs than can be looked through", incomplete=True)


async def delete(connection: Connection, job_id: str) -> None:
    """End a job at the provider: cancelled where servers of this kind can do that, else deleted.

    Raises:
        errors.InvalidRequest: Servers of this kind can do neither, or this one can't (`unsupported` is "cancel" then),
            or it refuses.
        errors.NotFound: The server has no such job.
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("delete" if dialect.can("delete") and not dialect.can("cancel") else "cancel", job_id)
    try:
        await ask(connection, method, connection.url(path))
    except MediaError as error:
        if not _is_missing_route(error, job_id):
            raise
        raise InvalidRequest(
            f"{connection.host} can't cancel videos ({method.upper()} {path} answers HTTP {error.status_code}); job "
            f"{job_id} goes on, and can be fetched when it is done",
            **{**error.details, "unsupported": "cancel", "job_id": job_id},
        ) from error


def source_of_variation(connection: Connection, request: VideoVariation) -> str:
    """The job a variation is made from.

    Raises:
        errors.InvalidRequest: It names none, or one that can't be at this server.
    """
    if isinstance(request.video, VideoJob):
        base_url_at(connection.base_url, f"the video {shortened(request.video.id)}", request.video.base_url)
    if not (source := request.source_job_id):
        made = {"remix": "remixed", "edit": "edited", "extend": "extended"}[request.operation]
        given = "a file is not one" if isinstance(request.video, str) else "this Asset names no job"
        raise InvalidRequest(f"only a video that a job made can be {made} here; {given}. Nothing was sent")
    segment("job id", source)
    return source


def _change(request: VideoVariation) -> dict[str, Any]:
    more = {"seconds": str(request.seconds)} if isinstance(request, VideoExtendRequest) else {}
    own = {"prompt": request.prompt, **more}
    return {**own, **beside({*own, "video"}, request.extra)}


def no_footage(connection: Connection, request: VideoVariation, dialect: Dialect) -> InvalidRequest:
    """The error of a video file for a server that takes none."""
    if not dialect.can(cast(Route, request.operation)):
        return _no_variation(connection, request, None, InvalidRequest("", unsupported=request.operation))
    return InvalidRequest(
        f"{connection.host} takes no video files to {request.operation}, only videos it made itself; "
        "pass the Asset, the VideoJob or the job id of one. Nothing was sent"
    )


def _no_variation(
    connection: Connection, request: VideoVariation, source: str | None, error: InvalidRequest
) -> InvalidRequest:
    """A refused remix, edit or extension, explained: is it the operation that is missing, or the video?"""
    lacking = error.details.get("unsupported") or _is_missing_route(error, source)
    if error.status_code == 404 and not lacking and source:
        made_at = request.source_host
        elsewhere = f" (this one was made at {made_at})" if made_at not in (None, connection.host) else ""
        return InvalidRequest(
            f"{connection.host}: video {source} not found; it may be deleted, expired, or made with "
            f"another account{elsewhere}. Nothing was bought",
            **error.details,
        )
    if not lacking:
        return error
    return InvalidRequest(
        f"{connection.host} can't {request.operation} videos. Nothing was bought; {_last_frame_instead(request)}",
        **{**error.details, "unsupported": request.operation},
    )


def _last_frame_instead(request: VideoVariation) -> str:
    how = "pass" if request.operation == "remix" else "call remix_video with"
    return f'{how} fallback="last_frame" to make a new video that goes on from the last frame instead'


def _refuse_what_is_not_found_again(
    connection: Connection, request: VideoVariation, source: str | None, dialect: Dialect
) -> None:
    """Buy no variation from a server that could not find it again.

    Raises:
        errors.InvalidRequest: The id of the video it is made from says that it is such a server.
    """
    need = dialect.variations_need
    if not need or source is None or need in parts_of(source):
        return
    raise InvalidRequest(
        f"{connection.host} can't {request.operation} videos so that the result is found again: the id of {source} "
        f"names no {need}, as those of older versions. Nothing was bought; {_last_frame_instead(request)}",
        unsupported=request.operation,
    )


def _is_missing_route(error: MediaError, job_id: str | None) -> bool:
    """Whether a server says that it does not serve the path, and not that it has no such job."""
    if error.status_code in (405, 501):
        return True
    message = error.message.lower().partition(": ")[2].removeprefix("not found: ")  # what follows is the server's own
    message = message.partition(" (http")[0].strip(" .").removeprefix("404 ")
    return error.status_code == 404 and message.startswith(NO_SUCH_ROUTE) and not (job_id and job_id.lower() in message)


def _body_behind(error: MediaError) -> object:
    """The JSON of the HTTP answer that an error stands for; None where there is none."""
    from openai import APIStatusError

    if not isinstance(error.__cause__, APIStatusError):
        return None
    try:
        return parse_json(error.__cause__.response.content)
    except ValueError:
        return None
