"""Requests for images: `POST /images/generations` and `POST /images/edits`, with or without previews.

One request is one purchase, sent once. Its pictures are yielded one by one while the answer arrives, so that an answer
with ten of them is never in memory as a whole.
"""

from __future__ import annotations

import binascii
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import httpx2
import pybase64

from ..catalog.data import catalog, plain_name
from ..cleaning import cleaner_of, quote_provider, sentence
from ..errors import SubmissionInDoubt
from ..media.upload import Upload
from ..requests import ImageEditRequest, ImageRequest
from .connection import Connection, paid_slots, wire_client
from .error_mapping import cleaner_for, hidden_error, map_errors, not_json, request_id_of
from .limits import JSON_BYTES, TooLarge, bound_of, image_bytes, images_at_most
from .pages import rows_of
from .picture_decoder import NotBase64, PictureReader
from .wire import fields_of

FIELDS = (
    *("size", "quality", "style", "background", "output_format", "output_compression", "moderation"),
    *("frame_count", "frame_duration_ms", "complexity", "safety_identifier", "input_fidelity"),
)
"""Fields of a request that go to the server under their own names, where they are set."""

OnPreview = Callable[[bytes, int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of an answer: its bytes, or the URL to download it from."""

    data: bytes | None = field(repr=False)
    url: str | None
    revised_prompt: str | None = None


class Reply:
    """The answer to one purchase of images, while it arrives.

    Attributes:
        request_id: The provider's id of the HTTP request.
        rows: The JSON of each picture without its content, in the order of the pictures; complete after the last one.
        usage: The provider's count of tokens; known after the last picture.
    """

    def __init__(
        self,
        response: httpx2.Response,
        connection: Connection,
        request: ImageRequest | ImageEditRequest,
        partial_images: int = 0,
    ) -> None:
        self._response, self._connection = response, connection
        self._bounds = image_bytes(request), images_at_most(request)
        each, count = self._bounds
        encoded = each * 4 // 3 + JSON_BYTES
        bound = bound_of(response)
        bound.limit = encoded * count * (1 + partial_images)
        bound.line_limit = encoded if self.streams else None
        self._cleaner = cleaner_for(response)
        self.request_id = request_id_of(response.headers)
        self.rows: list[Mapping[str, Any]] = []
        self.usage: Mapping[str, Any] | None = None

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream of events, with previews."""
        return self._response.headers.get("content-type", "").startswith("text/event-stream")

    async def pictures(self, on_preview: OnPreview | None = None) -> AsyncIterator[Picture]:
        """The pictures, each as soon as it has arrived.

        Args:
            on_preview: Called with each preview and its number, from 0.

        Raises:
            errors.SubmissionInDoubt: The answer is incomplete or malformed; images can't be requested again.
            errors.ContentRejected: Moderation refused the result.
        """
        pictures = self._read_events(on_preview) if self.streams else self._read_json()
        count = 0
        with _report_lost_answer(self._connection, self.request_id):
            async for picture in pictures:
                count += 1
                if count > self._bounds[1]:
                    raise self._doubt(f"the provider answered with more than {self._bounds[1]} images")
                yield picture
        if not count:
            raise self._doubt("the provider answered without any image")

    async def _read_json(self) -> AsyncIterator[Picture]:
        reader = PictureReader(*self._bounds)
        try:
            async for piece in self._response.aiter_bytes():
                done = reader.feed(piece)
                while done:
                    yield Picture(done.pop(0), None)
            body = self._cleaner.json(reader.finish())
        except NotBase64:
            raise self._doubt("the provider answered with an image that is not base64") from None
        except TooLarge as error:
            raise self._doubt(f"the provider answered with more than was requested: {error}") from None
        except ValueError:
            raise not_json(self._response, paid=True) from None
        async for picture in self._read_links(fields_of(body)):
            yield picture

    async def _read_links(self, body: Mapping[str, Any]) -> AsyncIterator[Picture]:
        """Read the JSON around the pictures: links to further ones, usage, errors."""
        if error := hidden_error(self._response, body, paid=True):
            raise error
        rows, self.usage = parse_answer(body)
        self.rows = [row for row in rows if isinstance(row.get("b64_json"), int)]
        for row in rows:
            if isinstance(row.get("b64_json"), int):
                continue
            if not row.get("url"):
                raise self._doubt("the provider answered with an image that has neither content nor a link")
            self.rows.append(row)
            yield Picture(None, link_in(str(self._response.request.url), str(row["url"])))

    async def _read_events(self, on_preview: OnPreview | None) -> AsyncIterator[Picture]:
        from openai import APIError, AsyncStream

        stream = AsyncStream(cast_to=object, response=self._response, client=wire_client(self._connection))
        try:
            async for event in stream:
                row = fields_of(self._cleaner.json(event))
                kind = str(row.get("type", ""))
                if kind.endswith(".partial_image"):
                    if on_preview:
                        await on_preview(self._decode(row), _count(row.get("partial_image_index")))
                elif kind.endswith(".completed"):
                    self.rows.append({name: value for name, value in row.items() if name != "b64_json"})
                    self.usage = fields_of(row.get("usage")) or None
                    yield Picture(self._decode(row), None)
        except (ValueError, RecursionError):
            raise self._doubt("the provider's stream broke off within an event") from None
        except APIError as error:
            if type(error) is not APIError:
                raise
            body = {"error": error.body or error.message}
            message = f"the provider's stream ended with an error{quote_provider(self._cleaner.text(error.message))}"
            raise hidden_error(self._response, body, paid=True) or self._doubt(message) from None

    def _decode(self, row: Mapping[str, Any]) -> bytes:
        try:
            return pybase64.b64decode(row.get("b64_json") or "", validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise self._doubt("the provider answered with an image that is not base64") from None

    def _doubt(self, message: str) -> SubmissionInDoubt:
        return SubmissionInDoubt(message, request_id=self.request_id)


@asynccontextmanager
async def post(
    connection: Connection,
    request: ImageRequest | ImageEditRequest,
    uploads: list[tuple[str, Upload]] | None = None,
    *,
    partial_images: int = 0,
    ready: Callable[[], Awaitable[None]] | None = None,
) -> AsyncGenerator[Reply]:
    """Buy images: one request, sent once. The answer is read while the context is open.

    Args:
        connection: The server and the account.
        request: The images to make.
        uploads: The files of an edit.
        partial_images: How many previews to request, 0 to 3.
        ready: Awaited right before the request is sent; an error that it raises stops the request.

    Raises:
        errors.SubmissionInDoubt: The reply was lost.
        errors.MediaError: Any other failure; nothing was bought.
    """
    fields = body_of(request, partial_images)
    options: dict[str, Any] = {"headers": {"X-Stainless-Raw-Response": "stream"}}
    if isinstance(request, ImageEditRequest):
        options["headers"]["Content-Type"] = "multipart/form-data"
        url, files = connection.images_url("edits", request.model), {"files": uploads or []}
    else:
        url, files = connection.images_url("generations", request.model), {}
    async with paid_slots(connection):
        client = wire_client(connection, retries=0)  # a retry would buy again after a lost reply
        send: Any = client.post
        if ready:
            await ready()
        with _report_lost_answer(connection, None):
            response: httpx2.Response = await send(url, cast_to=httpx2.Response, body=fields, options=options, **files)
        try:
            yield Reply(response, connection, request, partial_images)
        finally:
            await response.aclose()


def body_of(request: ImageRequest | ImageEditRequest, partial_images: int = 0) -> dict[str, Any]:
    """The fields of a request as they are sent to the server."""
    fields: dict[str, Any] = {"model": request.model, "prompt": request.prompt, "n": request.n}
    fields |= {name: value for name in FIELDS if (value := getattr(request, name, None)) is not None}
    model = catalog().models.get(plain_name(request.model_family or request.model))
    if model and model.family.url_answers and "response_format" not in request.extra:
        fields["response_format"] = "b64_json"  # the answer contains the bytes, so no link can expire
    if partial_images:
        fields |= {"stream": True, "partial_images": partial_images}
    return fields | request.extra


def link_in(base: str, url: str) -> str:
    """A link in an answer as a full URL; those of SGLang are relative.

    Args:
        base: The URL of the request.
        url: The link.
    """
    try:
        return urljoin(base, url)
    except ValueError:  # malformed; fetching it raises the error
        return url


def parse_answer(body: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], Mapping[str, Any] | None]:
    """The JSON of each picture, and the usage of tokens; None where the answer has no usage."""
    usage = fields_of(body.get("usage"))
    if body.get("svg_usage"):
        usage = {**usage, "svg_usage": body["svg_usage"]}
    rows = [dict(fields_of(row)) for row in rows_of(body) or []]
    for row in rows:
        if not isinstance(row.get("revised_prompt"), str):
            row.pop("revised_prompt", None)
    return [*rows], usage or None


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


@contextmanager
def _report_lost_answer(connection: Connection, request_id: str | None) -> Generator[None]:
    """Raise `SubmissionInDoubt` for an answer that broke off."""
    try:
        with map_errors(paid=True):
            yield
    except httpx2.HTTPError as error:
        what = sentence(cleaner_of(error.request.headers).text(f"{type(error).__name__}: {error}"), 300)
        raise SubmissionInDoubt(
            f"the answer of {connection.host} to a paid request broke off ({what})", request_id=request_id
        ) from None
