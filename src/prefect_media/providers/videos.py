"""Videos on the wire: `/videos`, as OpenAI published it and many servers still speak it.

The SDK's own video methods are deprecated with the API they were made for, and can't send references by URL or
remixes by id; so only its transport is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

from ..errors import InvalidRequest, JobExpired, SubmissionInDoubt
from ..jobs import JobState, VideoJob
from ..requests import RemixRequest, VideoRequest
from .answers import look_again_after
from .client import Connection
from .wire import Answer, Upload, ask, fields_of, open_stream

if TYPE_CHECKING:
    import httpx2


async def submit(
    connection: Connection, request: VideoRequest | RemixRequest, *, image: Upload | None, fingerprint: str
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
    if isinstance(request, RemixRequest):
        if not (source := request.source_job_id):
            raise InvalidRequest("only a video that a job made can be remixed; this Asset names no job")
        url = connection.url(f"/videos/{quote(source, safe='')}/remix")
        answer = await ask(connection, "post", url, json_body={"prompt": request.prompt, **request.extra}, paid=True)
        model = ""
    else:
        form: dict[str, Any] = {"model": request.model, "prompt": request.prompt}
        form |= {"seconds": str(request.seconds)} if request.seconds else {}
        form |= {"size": request.size} if request.size else {}
        form |= request.extra
        files = [("input_reference", image)] if image else []
        answer = await ask(connection, "post", connection.url("/videos"), form=form, files=files, paid=True)
        model = request.model
    state = JobState.parse(answer.body)
    if state is None:
        raise SubmissionInDoubt(
            "the provider took the request but answered without a job", request_id=answer.request_id
        )
    return job_of(connection, state, fingerprint=fingerprint, model=model)


def job_of(connection: Connection, state: JobState, *, fingerprint: str, model: str = "") -> VideoJob:
    """The durable handle of a job the server told us about."""
    return VideoJob(
        provider=connection.provider,
        base_url=connection.base_url,
        api_version=connection.api_version,
        dialect=connection.dialect,
        model=model or state.model or "",
        id=state.id,
        fingerprint=fingerprint,
        submitted_at=datetime.now(UTC),
    )


async def look(connection: Connection, job_id: str) -> JobState:
    """How a job stands.

    Raises:
        errors.JobExpired: The server does not know the job.
        errors.MediaError: The look failed; the job may be well.
    """
    answer = await ask(connection, "get", _job_url(connection, job_id))
    return _state(answer, job_id)


async def recent(connection: Connection, *, since: float, pages: int = 5) -> AsyncIterator[JobState]:
    """The account's jobs made since a unix time in seconds, newest first; at most `pages` pages of 100.

    Raises:
        errors.JobExpired: The server has no list.
    """
    after: str | None = None
    for _ in range(pages):
        query = urlencode({"limit": 100, "order": "desc", **({"after": after} if after else {})})
        answer = await ask(connection, "get", f"{connection.url('/videos')}?{query}")
        page = fields_of(answer.body)
        rows = cast(list[object], page.get("data") or [])
        for row in rows:
            state = JobState.parse(row)
            if state is None:
                continue
            if state.created_at is not None and state.created_at < since:
                return
            yield state
            after = state.id
        if not rows or not page.get("has_more"):
            return


def open_content(connection: Connection, job_id: str) -> AbstractAsyncContextManager[httpx2.Response]:
    """The finished video's bytes, to be read piece by piece."""
    return open_stream(connection, f"{_job_url(connection, job_id)}/content")


async def delete(connection: Connection, job_id: str) -> None:
    """Delete or cancel a job at the provider.

    Raises:
        errors.JobExpired: It is not there, or the server can't delete.
    """
    await ask(connection, "delete", _job_url(connection, job_id))


def _job_url(connection: Connection, job_id: str) -> str:
    return connection.url(f"/videos/{quote(job_id, safe='')}")


def _state(answer: Answer, job_id: str) -> JobState:
    state = JobState.parse(answer.body, look_again_after=look_again_after(answer.headers))
    if state is None:
        raise JobExpired(f"the server answered without a job when asked for {job_id}", job_id=job_id)
    return state
