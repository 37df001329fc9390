"""Requests of the Batch API: upload a file of requests, create a batch of it, download the files with its answers.

As OpenAI documents it (the Batch guide, the API reference and openai-python 3.57.0, read on 2026-11-24): a file has one
endpoint, one model, and at most 50,000 lines and 200 MB. Answers come in any order and are matched by `custom_id`;
requests that were refused or expired are in a second file. OpenAI deletes uploaded files and files with answers after
30 days.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from ..cleaning import LONGEST, cleaner_of, quote_provider, sentence
from ..errors import (
    ContentRejected,
    InvalidRequest,
    JobExpired,
    JobFailed,
    MediaError,
    ProviderUnavailable,
    SubmissionInDoubt,
)
from ..image_batch import FREE, MARK, BatchState
from ..requests import ImageRequest
from ..user_input import brief_repr
from .address import id_problem, segment
from .connection import Connection, headers_of
from .download import Content
from .error_mapping import answer_error
from .images import OnPreview, Picture, body_of, link_in, parse_answer
from .limits import image_bytes, images_at_most
from .pages import page_query, rows_of
from .picture_decoder import LineReader
from .server_time import Oldest
from .wire import ask, fields_of

ENDPOINT = "/v1/images/generations"

MOST_LINES = 50_000
MOST_BYTES = 200_000_000

PAGES = 50
"""Most pages of batches that are read."""


def line_of(key: str, request: ImageRequest) -> bytes:
    """One request as a line of the file."""
    line = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body_of(request)}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


async def upload(connection: Connection, lines: Sequence[bytes]) -> str:
    """Upload the file of a batch, and return its id. It costs nothing, so it may be retried.

    Raises:
        errors.MediaError: The upload failed.
    """
    file = ("images.jsonl", b"".join(lines), "application/jsonl")
    answer = await ask(connection, "post", connection.url("/files"), form={"purpose": "batch"}, files=[("file", file)])
    if not isinstance(file_id := fields_of(answer.body).get("id"), str):
        raise ProviderUnavailable(f"{connection.host} took a file and answered without its id; nothing was bought")
    return file_id


async def create(
    connection: Connection, file_id: str, key: str, *, ready: Callable[[], Awaitable[None]] | None = None
) -> BatchState:
    """Buy a batch: one request, sent once.

    Args:
        connection: The server and the account.
        file_id: The uploaded file.
        key: Key of the batch on the ledger, by which `recent` identifies it.
        ready: Awaited right before the request is sent; an error that it raises stops the request.

    Raises:
        errors.SubmissionInDoubt: The reply was lost; the batch may or may not exist.
        errors.MediaError: Any other failure; nothing was bought.
    """
    order = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h", "metadata": {MARK: key}}
    answer = await ask(connection, "post", connection.url("/batches"), json_body=order, paid=True, ready=ready)
    if (state := BatchState.parse(answer.body)) is None:
        raise SubmissionInDoubt(
            "the provider took the request but answered without a batch", request_id=answer.request_id
        )
    if problem := id_problem(state.id):
        raise SubmissionInDoubt(
            f"the provider took the request, but the id of the batch {brief_repr(state.id)} is malformed: {problem}",
            request_id=answer.request_id,
            taken=True,
        )
    return state


async def look(connection: Connection, batch_id: str) -> BatchState:
    """The state of a batch. Sent once: a caller that waits polls again anyway.

    Raises:
        errors.NotFound: The server has no such batch.
        errors.MediaError: The request failed; that says nothing about the batch.
    """
    answer = await ask(connection, "get", connection.url(f"/batches/{segment('batch id', batch_id)}"), retries=0)
    if (state := BatchState.parse(answer.body)) is None:
        raise ProviderUnavailable(f"{connection.host} answered the request for batch {batch_id} without a batch")
    return state


async def page(connection: Connection, after: str | None = None) -> tuple[list[BatchState], bool]:
    """One page of the account's batches, newest first, and whether there are more.

    Args:
        connection: The server and the account.
        after: The batch before the first one of the page; None begins with the newest.

    Raises:
        errors.InvalidRequest: The server has no Batch API.
        errors.MediaError: The request failed.
    """
    try:
        answer = await ask(connection, "get", f"{connection.url('/batches')}?{page_query(after, ordered=False)}")
    except MediaError as error:
        if error.status_code not in (404, 405, 501):
            raise
        raise InvalidRequest(
            f"{connection.host} has no Batch API ({connection.url('/batches')} answers HTTP {error.status_code}); "
            "make the images with generate_images or agather; nothing was sent"
        ) from error
    body = fields_of(answer.body)
    if (rows := rows_of(body)) is None:
        raise InvalidRequest(f"{connection.host} answered the request for its batches without a list")
    states = [state for row in rows if (state := BatchState.parse(row))]
    return states, body.get("has_more") is True


async def recent(connection: Connection, *, since: Oldest) -> AsyncIterator[BatchState]:
    """The account's batches, newest first, up to the first page that is older than a moment.

    Raises:
        errors.InvalidRequest: The server has no Batch API, or its list does not end.
        errors.MediaError: The request failed.
    """
    after: str | None = None
    for _ in range(PAGES):
        states, more = await page(connection, after)
        for state in states:
            yield state
        oldest = since()
        older = oldest is not None and all(
            state.created_at is not None and state.created_at < oldest for state in states
        )
        if older or not more or not states or states[-1].id == after:
            return
        after = states[-1].id
    raise InvalidRequest(f"{connection.host} has more batches than the {PAGES} pages that are read")


class Line:
    """The answer of a batch to one of its requests.

    Attributes:
        key: The request's `custom_id`.
        error: Why there are no pictures; None where there are.
        final: Whether buying the request again would fail again, or would be paid again.
        request_id: The provider's id of the request.
        rows: The JSON of each picture without its content, in the order of the pictures.
        usage: The provider's count of tokens.
        streams: Always true: the pictures are in memory already, so there is no need to wait for free memory.
    """

    streams = True

    def __init__(self, row: Mapping[str, Any], pictures: list[bytes], connection: Connection, batch_id: str) -> None:
        response, self._pictures = fields_of(row.get("response")), pictures
        self._url = connection.images_url("generations", "")
        self.key = str(row.get("custom_id"))
        request_id = response.get("request_id")
        self.request_id = request_id if isinstance(request_id, str) else None
        rows, self.usage = parse_answer(fields_of(response.get("body")))
        embedded = [each for each in rows if isinstance(each.get("b64_json"), int)]
        self._links = [each for each in rows if each not in embedded and each.get("url")]
        self.rows = [*embedded, *self._links]
        self.error = _refusal(row, response, connection, batch_id)
        self.final = isinstance(self.error, ContentRejected)
        if self.error is None and not self.rows:
            message = f"batch {batch_id} answered without any image; pass retry_failed=True to buy it again"
            self.error, self.final = JobFailed(message, job_id=batch_id), True

    async def pictures(self, on_preview: OnPreview | None = None) -> AsyncIterator[Picture]:
        """The pictures; a batch has no previews."""
        while self._pictures:
            yield Picture(self._pictures.pop(0), None)
        for link in self._links:
            yield Picture(None, link_in(self._url, str(link["url"])))


async def answers(
    connection: Connection, file_id: str, batch_id: str, requests: Collection[ImageRequest]
) -> AsyncGenerator[Line]:
    """The lines of a file of answers as they arrive, one in memory at a time; a broken download is resumed.

    Args:
        connection: The server and the account.
        file_id: The file.
        batch_id: The batch that it belongs to.
        requests: The requests of the batch; the largest of them limits the size of a line.

    Raises:
        errors.JobExpired: The file is gone.
        errors.ProviderUnavailable: The id of the file is malformed.
        errors.MediaError: The download failed.
    """
    if problem := id_problem(file_id):
        raise ProviderUnavailable(
            f"{connection.host} names a malformed file id {brief_repr(file_id)} for batch {batch_id}: {problem}",
            job_id=batch_id,
        )
    url = connection.download_url(f"/files/{segment('file id', file_id)}/content")
    headers = await headers_of(connection)
    content, cleaner = Content(url, headers, connection.host, batch_id), cleaner_of(headers)
    largest = max(map(image_bytes, requests)), max(map(images_at_most, requests))
    blocks, reader = iter(content), LineReader(*largest)

    def block() -> bytes | None:
        for each in blocks:
            return bytes(each)  # a copy: the next block reuses its memory
        return None

    try:
        piece = b""
        while piece is not None:
            piece = await asyncio.to_thread(block)
            for row, pictures in reader.finish() if piece is None else reader.feed(piece):
                try:
                    row = cleaner.json(row)
                except ValueError:  # nested too deeply; skipped like a line that is not JSON
                    continue
                yield Line(fields_of(row), pictures, connection, batch_id)
    except BaseException:
        content.stop()
        raise


def _refusal(
    row: Mapping[str, Any], response: Mapping[str, Any], connection: Connection, batch_id: str
) -> MediaError | None:
    """Why a request of a batch was not answered with pictures; None where it was."""
    if error := fields_of(row.get("error")):
        code = str(error["code"]) if error.get("code") else None
        kind = JobExpired if code == "batch_expired" else JobFailed
        explanation = sentence(str(error.get("message") or code or ""), LONGEST) or None
        message = f"batch {batch_id} did not make it; {FREE}{quote_provider(explanation)}"
        return kind(message, job_id=batch_id, code=code, provider_message=explanation)
    status = response.get("status_code")
    if status == 200:
        return None
    headers = {"x-request-id": request_id} if isinstance(request_id := response.get("request_id"), str) else {}
    body = json.dumps(response.get("body")).encode()
    error = answer_error(status if isinstance(status, int) else 500, headers, body, connection.url("/batches"))
    error.job_id = error.details["job_id"] = batch_id
    return error
