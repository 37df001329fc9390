"""The Batch API on the wire: a file of requests goes up, a batch is made of it, its answers come down as files.

As OpenAI documents it (the Batch guide, the API reference and openai-python 3.57.0, read on 2026-11-24): one endpoint
and one model per file, 50,000 lines and 200 MB at most, answers in any order and told apart by `custom_id`; what was
refused or not made in time stands in a file of its own. Files that were uploaded for a batch go by themselves after 30
days, and so do those with its answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlencode

from ..cleaning import cleaner_of, sentence
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
from .address import objection_to, segment, shortened
from .connection import Connection, headers_of
from .download import Content
from .error_mapping import answer_error
from .images import OnPreview, Picture, body_of, link_in, told
from .limits import image_bytes, images_at_most
from .picture_stream import LineReader
from .server_time import Oldest
from .wire import ask, fields_of

ENDPOINT = "/v1/images/generations"

MOST_LINES = 50_000
MOST_BYTES = 200_000_000

PAGE = 100
PAGES = 50
"""Pages of 100 batches looked through at most."""


def line_of(key: str, request: ImageRequest) -> bytes:
    """One request as a line of the file."""
    line = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body_of(request)}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


async def upload(connection: Connection, lines: Sequence[bytes]) -> str:
    """Upload the file of a batch, and return its id. It costs nothing, so it may be sent again.

    Raises:
        errors.MediaError: It could not be uploaded.
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
        connection: Where to and as whom.
        file_id: The uploaded file.
        key: Key of the batch on the ledger, by which it is found in the list.
        ready: Awaited right before the request is sent; may raise to keep it here.

    Raises:
        errors.SubmissionInDoubt: The reply was lost; the batch may or may not exist.
        errors.MediaError: Anything else; then nothing was bought.
    """
    order = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h", "metadata": {MARK: key}}
    answer = await ask(connection, "post", connection.url("/batches"), json_body=order, paid=True, ready=ready)
    if (state := BatchState.parse(answer.body)) is None:
        raise SubmissionInDoubt(
            "the provider took the order but answered without a batch", request_id=answer.request_id
        )
    if why := objection_to(state.id):
        raise SubmissionInDoubt(
            f"the provider took the order but answered with a batch id {shortened(state.id)} that can't be used: {why}",
            request_id=answer.request_id,
            taken=True,
        )
    return state


async def look(connection: Connection, batch_id: str) -> BatchState:
    """How a batch stands. Sent once: whoever waits looks again anyway.

    Raises:
        errors.NotFound: The server has no such batch.
        errors.MediaError: The look failed; the batch may be well.
    """
    answer = await ask(connection, "get", connection.url(f"/batches/{segment('batch id', batch_id)}"), retries=0)
    if (state := BatchState.parse(answer.body)) is None:
        raise ProviderUnavailable(f"{connection.host} answered without a batch when asked for {batch_id}")
    return state


async def page(connection: Connection, after: str | None = None) -> tuple[list[BatchState], bool]:
    """One page of the account's batches, newest first, and whether there are more.

    Args:
        connection: Where to and as whom.
        after: The batch before the first one of the page; None begins with the newest.

    Raises:
        errors.InvalidRequest: The server has no Batch API.
        errors.MediaError: It can't be asked now.
    """
    query = urlencode({"limit": PAGE, **({"after": after} if after else {})})
    try:
        answer = await ask(connection, "get", f"{connection.url('/batches')}?{query}")
    except MediaError as error:
        if error.status_code not in (404, 405, 501):
            raise
        raise InvalidRequest(
            f"{connection.host} has no Batch API ({connection.url('/batches')} answers HTTP {error.status_code}); "
            "make the images with generate_images or agather. Nothing was sent"
        ) from error
    body = fields_of(answer.body)
    if not isinstance(body.get("data"), list):
        raise InvalidRequest(f"{connection.host} was asked for its batches and answered without a list")
    states = [state for row in cast(list[object], body["data"]) if (state := BatchState.parse(row))]
    return states, body.get("has_more") is True


async def recent(connection: Connection, *, since: Oldest) -> AsyncIterator[BatchState]:
    """The account's batches, newest first, until all of a page are older than a moment.

    Raises:
        errors.InvalidRequest: The server has no Batch API, or its list does not end.
        errors.MediaError: It can't be asked now.
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
    raise InvalidRequest(f"{connection.host} has more batches than can be looked through")


class Line:
    """What a batch answers to one of its requests.

    Attributes:
        key: The request's `custom_id`.
        error: Why nothing was made, if so.
        final: Whether the same would come of it once more, or be paid once more.
        request_id: The provider's id of the request.
        rows: What is said of each picture, in the order they are handed out; complete after the last one.
        usage: Tokens, as the provider counted them.
        streams: Says that there is no sense in waiting for room in memory: it is there already.
    """

    streams = True

    def __init__(self, row: Mapping[str, Any], pictures: list[bytes], connection: Connection, batch_id: str) -> None:
        response, self._pictures = fields_of(row.get("response")), pictures
        self._url = connection.images_url("generations", "")
        self.key = str(row.get("custom_id"))
        told_id = response.get("request_id")
        self.request_id = told_id if isinstance(told_id, str) else None
        listed, self.usage = told(fields_of(response.get("body")))
        here = [each for each in listed if isinstance(each.get("b64_json"), int)]
        self._links = [each for each in listed if each not in here and each.get("url")]
        self.rows = [*here, *self._links]
        self.error = _refusal(row, response, connection, batch_id)
        self.final = isinstance(self.error, ContentRejected)
        if self.error is None and not self.rows:
            said = f"batch {batch_id} answered without any image; pass retry_failed=True to buy it again"
            self.error, self.final = JobFailed(said, job_id=batch_id), True

    async def pictures(self, on_preview: OnPreview | None = None) -> AsyncIterator[Picture]:
        """The pictures; there are no previews in a batch."""
        while self._pictures:
            yield Picture(self._pictures.pop(0), None)
        for link in self._links:
            yield Picture(None, link_in(self._url, str(link["url"])))


async def answers(
    connection: Connection, file_id: str, batch_id: str, requests: Collection[ImageRequest]
) -> AsyncGenerator[Line]:
    """The lines of a file of answers as they arrive, one in memory at a time; taken up again where it broke off.

    Args:
        connection: Where to and as whom.
        file_id: The file.
        batch_id: The batch that it answers.
        requests: What was ordered: no line is larger than the largest of them allows.

    Raises:
        errors.JobExpired: The file is gone.
        errors.ProviderUnavailable: The server gave an id that no file can have.
        errors.MediaError: It can't be had now, or broke off for good.
    """
    if why := objection_to(file_id):
        raise ProviderUnavailable(
            f"{connection.host} names a file {shortened(file_id)} for batch {batch_id} that can't be asked for: {why}",
            job_id=batch_id,
        )
    url = connection.download_url(f"/files/{segment('file id', file_id)}/content")
    headers = await headers_of(connection)
    content, cleaner = Content(url, headers, connection.host, batch_id), cleaner_of(headers)
    largest = max(map(image_bytes, requests)), max(map(images_at_most, requests))
    blocks, reader = iter(content), LineReader(*largest)

    def block() -> bytes | None:
        for each in blocks:
            return bytes(each)  # its memory is that of the next one
        return None

    try:
        piece = b""
        while piece is not None:
            piece = await asyncio.to_thread(block)
            for row, pictures in reader.finish() if piece is None else reader.feed(piece):
                try:
                    row = cleaner.json(row)
                except ValueError:  # like a line that is no JSON
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
        said = sentence(str(error.get("message") or code or "no explanation"))
        return kind(f"batch {batch_id} did not make it: {said}; {FREE}", job_id=batch_id, code=code)
    status = response.get("status_code")
    if status == 200:
        return None
    headers = {"x-request-id": request_id} if isinstance(request_id := response.get("request_id"), str) else {}
    body = json.dumps(response.get("body")).encode()
    error = answer_error(status if isinstance(status, int) else 500, headers, body, connection.url("/batches"))
    error.job_id = error.details["job_id"] = batch_id
    return error
