"""Requests of the Videos API, in the dialect of the server (see dialects.py).

The SDK's video methods are deprecated together with OpenAI's API, and can't send references by URL or remixes by id;
so only its transport is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

from ..errors import InvalidRequest, MediaError, ProviderUnavailable, SubmissionInDoubt
from ..jobs import JobState, VideoJob
from ..media.upload import Upload
from ..requests import VideoExtendRequest, VideoRequest, VideoVariation
from ..runtime import clock
from ..settings import settings
from ..user_input import brief_repr
from .address import base_url_at, id_problem, segment
from .connection import Connection
from .detection import dialect_name, dialect_of
from .dialects import Dialect, Route
from .error_mapping import look_again_after
from .job_ids import is_same_job, parts_of
from .limits import parse_json
from .pages import page_query, rows_of
from .server_time import Oldest
from .wire import ask, fields_of, validate_extra

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
        connection: The server and the account.
        request: The video to make.
        image: The reference image, ready to send.
        fingerprint: SHA-256 of the normalised request, kept on the job.
        footage: The video that an edit or extension starts from, where the server has no id for it.
        ready: Awaited right before the request is sent; an error that it raises stops the request.

    Raises:
        errors.SubmissionInDoubt: The reply was lost; the job may or may not exist.
        errors.MediaError: Any other failure; nothing was bought.
    """
    dialect = await dialect_of(connection)
    dialect.refuse_several(request.extra)
    if isinstance(request, VideoRequest):
        fields = {name: getattr(request, name) for name in ("model", "prompt", "seconds", "size")}
        if dialect.callback and dialect.callback not in request.extra:
            fields[dialect.callback] = settings().callback_url
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
        _refuse_unless_findable(connection, request, source, dialect)
        try:
            method, path = dialect.route(cast(Route, request.operation), source or "")
            body = dialect.variation(_change(request), None if in_path else source, footage)
            answer = await ask(connection, method, connection.url(path), paid=True, ready=ready, **body)
        except InvalidRequest as error:
            raise _no_variation(connection, request, source, error) from error
        model = ""
    state = JobState.parse(dialect.translate_job(answer.body))
    if state is None:
        raise SubmissionInDoubt(
            "the provider took the request but answered without a job", request_id=answer.request_id
        )
    job = job_of(connection, state, fingerprint=fingerprint, model=model)
    if isinstance(request, VideoRequest):
        ordered = {"size": request.size, "seconds": None if request.seconds is None else str(request.seconds)}
        job = job.model_copy(update={name: value for name, value in ordered.items() if value is not None})
    return job


def job_of(connection: Connection, state: JobState, *, fingerprint: str, model: str = "") -> VideoJob:
    """The durable handle of a job that the server answered with.

    Raises:
        errors.SubmissionInDoubt: The id of the job is malformed, so that no request can name it.
    """
    if problem := id_problem(state.id):
        raise SubmissionInDoubt(
            f"the provider took the job, but its id {brief_repr(state.id)} is malformed: {problem}; "
            "look for it on the provider's dashboard",
            taken=True,
        )
    return VideoJob(
        provider=connection.provider,
        base_url=connection.base_url,
        api_version=connection.api_version,
        dialect=dialect_name(connection),
        model=model or state.model or "",
        id=state.id,
        fingerprint=fingerprint,
        submitted_at=clock.now(),
        size=state.size,
        seconds=state.seconds,
    )


async def look(connection: Connection, job_id: str) -> JobState:
    """The state of a job. Sent once: a caller that waits polls again anyway.

    Raises:
        errors.NotFound: The server has no such job.
        errors.ProviderUnavailable: The server is unreachable, or answered with another job or none.
        errors.MediaError: The request failed; that says nothing about the job.
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("look", job_id)
    hint: float | None = None
    try:
        answer = await ask(connection, method, connection.url(path), retries=0)
    except MediaError as error:
        row = dialect.translate_job(_error_body(error))
        if row.get("id") != job_id:
            raise
        # vLLM-Omni answers with an HTTP error for a failed job, and the job is the body.
    else:
        row, hint = dialect.translate_job(answer.body), look_again_after(answer.headers, dialect.poll_hint)
    state = JobState.parse(row, look_again_after=hint)
    ids = {row.get("id"), row.get(dialect.other_id)} if state else set[object]()
    if state is None or not any(isinstance(each, str) and is_same_job(each, job_id) for each in ids):
        content = f"another job, {state.id[:100]}" if state else "no job"
        raise ProviderUnavailable(
            f"{connection.host} answered the request for job {job_id} with {content}; the state of the job is unknown",
            job_id=job_id,
        )
    return replace(state, id=job_id)


async def recent(connection: Connection, *, since: Oldest, pages: int = 5) -> AsyncIterator[JobState]:
    """The account's jobs made since a moment, from at most `pages` pages of 100.

    Newest first where the server sorts them; some servers send the whole list at once, unsorted.

    Args:
        connection: The server and the account.
        since: The moment; called once per page, because an answer may carry the server's time.
        pages: Most pages to read.

    Raises:
        errors.NotFound: The server has no list.
        errors.InvalidRequest: Servers of this kind have no list, the answer has none, or the list continues after the
            last page (`incomplete` is true then; the jobs yielded until then are valid).
    """
    dialect = await dialect_of(connection)
    method, path = dialect.route("list")
    after: str | None = None
    seen: set[str] = set()
    for _ in range(pages):
        answer = await ask(connection, method, f"{connection.url(path)}?{page_query(after)}")
        oldest = since()
        page = fields_of(answer.body)
        if (rows := rows_of(page)) is None:
            raise InvalidRequest(f"{connection.host} answered the request for its jobs without a list")
        states = [state for row in rows if (state := JobState.parse(dialect.translate_job(row)))]
        if len(states) < len(rows):
            raise InvalidRequest(f"{connection.host} lists jobs without an id or a status, so its list is not reliable")
        new = [state for state in states if state.id not in seen]
        young = [state for state in new if oldest is None or state.created_at is None or state.created_at >= oldest]
        for state in young:
            yield state
        ages = [state.created_at for state in states if state.created_at is not None]
        only_older_ones_follow = not young and ages == sorted(ages, reverse=True)
        if only_older_ones_follow or page.get("has_more") is False or not new:
            return
        seen |= {state.id for state in new}
        after = states[-1].id
    raise InvalidRequest(f"{connection.host} has more jobs than the {pages} pages that are read", incomplete=True)


async def delete(connection: Connection, job_id: str) -> None:
    """End a job at the provider: cancel it where servers of this kind can, else delete it.

    Raises:
        errors.InvalidRequest: Servers of this kind can do neither, or this one can't (`unsupported` is "cancel" then),
            or it refused.
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
            f"{job_id} keeps running and can be fetched when it is done",
            **{**error.details, "unsupported": "cancel", "job_id": job_id},
        ) from error


def source_of_variation(connection: Connection, request: VideoVariation) -> str:
    """Id of the job that a variation starts from.

    Raises:
        errors.InvalidRequest: The request names no job, or one of another server.
    """
    if isinstance(request.video, VideoJob):
        base_url_at(connection.base_url, f"the video {brief_repr(request.video.id)}", request.video.base_url)
    if not (source := request.source_job_id):
        source = "a file" if isinstance(request.video, str) else "an Asset without a job id"
        raise InvalidRequest(
            f"{connection.host} can only {request.operation} videos that one of its jobs made, not {source}; "
            "nothing was sent"
        )
    segment("job id", source)
    return source


def _change(request: VideoVariation) -> dict[str, Any]:
    more = {"seconds": str(request.seconds)} if isinstance(request, VideoExtendRequest) else {}
    own = {"prompt": request.prompt, **more}
    return {**own, **validate_extra({*own, "video"}, request.extra)}


def no_footage(connection: Connection, request: VideoVariation, dialect: Dialect) -> InvalidRequest:
    """The error for a video file that this server does not accept."""
    if not dialect.can(cast(Route, request.operation)):
        return _no_variation(connection, request, None, InvalidRequest("", unsupported=request.operation))
    return InvalidRequest(
        f"{connection.host} takes no video files to {request.operation}, only videos it made itself; "
        "pass the Asset, the VideoJob or the job id of one; nothing was sent"
    )


def _no_variation(
    connection: Connection, request: VideoVariation, source: str | None, error: InvalidRequest
) -> InvalidRequest:
    """The error of a refused remix, edit or extension: whether the operation or the video is missing."""
    is_unsupported = error.details.get("unsupported") or _is_missing_route(error, source)
    if error.status_code == 404 and not is_unsupported and source:
        made_at = request.source_host
        elsewhere = f" (this one was made at {made_at})" if made_at not in (None, connection.host) else ""
        return InvalidRequest(
            f"{connection.host}: video {source} not found; it may be deleted, expired, or made with "
            f"another account{elsewhere}; nothing was bought",
            **error.details,
        )
    if not is_unsupported:
        return error
    return InvalidRequest(
        f"{connection.host} can't {request.operation} videos; nothing was bought; {_last_frame_instead(request)}",
        **{**error.details, "unsupported": request.operation},
    )


def _last_frame_instead(request: VideoVariation) -> str:
    how = "pass" if request.operation == "remix" else "call remix_video with"
    return f'{how} fallback="last_frame" to make a new video that continues from the last frame'


def _refuse_unless_findable(
    connection: Connection, request: VideoVariation, source: str | None, dialect: Dialect
) -> None:
    """Refuse a variation that its server could not look up later.

    Raises:
        errors.InvalidRequest: The id of the source video lacks a part that later requests need; nothing was sent.
    """
    part = dialect.variations_need
    if not part or source is None or part in parts_of(source):
        return
    raise InvalidRequest(
        f"{connection.host} can't {request.operation} videos so that the result can be looked up later: the id "
        f"{source} has no {part}, as in older versions; nothing was bought; {_last_frame_instead(request)}",
        unsupported=request.operation,
    )


def _is_missing_route(error: MediaError, job_id: str | None) -> bool:
    """Whether an error says that the server lacks the route, rather than that it lacks the job."""
    if error.status_code in (405, 501):
        return True
    message = (error.provider_message or "").lower().strip(" .").removeprefix("404 ")
    return error.status_code == 404 and message.startswith(NO_SUCH_ROUTE) and not (job_id and job_id.lower() in message)


def _error_body(error: MediaError) -> object:
    """The JSON body of the HTTP error answer that caused an error; None where there is none."""
    from openai import APIStatusError

    if not isinstance(error.__cause__, APIStatusError):
        return None
    try:
        return parse_json(error.__cause__.response.content)
    except ValueError:
        return None
