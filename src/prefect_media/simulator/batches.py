"""The Batch API and the files it needs, for images: each line is answered by the images endpoint itself."""

import json
import time
import uuid
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .api_errors import ApiError, invalid, missing
from .images import Images
from .range_requests import partial_content
from .records import Batch
from .request_bodies import Body, Upload
from .state import State

ENDPOINTS = ["/v1/images/generations", "/v1/images/edits"]
MOST_LINES = 50_000
MOST_BYTES = 200_000_000
MOST_OTHERS = 512_000_000  # a file that is no batch
PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")


class Batches:
    """Handlers of /files and /batches."""

    def __init__(self, state: State, images: Images) -> None:
        self._state, self._images = state, images

    async def upload(self, request: Request) -> Response:
        body = Body.of(request)
        file = body.get("file")
        if not isinstance(file, Upload):
            raise missing("file")
        if body.get("purpose") is None:
            raise missing("purpose")
        purpose = body.choice("purpose", PURPOSES, "")
        if len(file.data) > (MOST_BYTES if purpose == "batch" else MOST_OTHERS):
            raise ApiError(413, "The file is too large.")
        return JSONResponse(_as_json(self._keep(purpose, file.filename, file.data)))

    async def files(self, request: Request) -> Response:
        query = Body(dict(request.query_params))
        limit, after, purpose = query.whole("limit", 1, 10_000, 10_000), query.get("after"), query.get("purpose")
        kept = [file for file in self._state.uploads.values() if purpose in (None, file["purpose"])]
        if query.choice("order", ("asc", "desc"), "desc") == "desc":
            kept.reverse()
        return JSONResponse(_page([_as_json(file) for file in kept], limit, after))

    async def file(self, request: Request) -> Response:
        return JSONResponse(_as_json(self._file(request)))

    async def content(self, request: Request) -> Response:
        return partial_content(request, self._file(request)["content"], "application/octet-stream")

    async def delete(self, request: Request) -> Response:
        file = self._file(request)
        del self._state.uploads[file["id"]]
        return JSONResponse({"id": file["id"], "object": "file", "deleted": True})

    async def create(self, request: Request) -> Response:
        """The moment of purchase."""
        body = Body.of(request)
        for name in ("input_file_id", "endpoint", "completion_window"):
            if body.get(name) is None:
                raise missing(name)
        endpoint = body.choice("endpoint", ENDPOINTS, "")
        body.choice("completion_window", ["24h"], "")
        metadata = body.get("metadata")
        if metadata is not None:
            _check_metadata(metadata)
        file = self._state.uploads.get(str(body.get("input_file_id")))
        if file is None or file["purpose"] != "batch":
            raise invalid("input_file_id", f"Invalid 'input_file_id': no such File object: {body.get('input_file_id')}")
        lines, complaints = _lines(file["content"], endpoint)
        batch = Batch(file["id"], endpoint, metadata, lines, self._state.latency, complaints=complaints)
        self._state.batches.append(batch)
        return JSONResponse(batch.resource())

    async def list(self, request: Request) -> Response:
        query = Body(dict(request.query_params))
        newest = [batch.resource() for batch in reversed(self._state.batches)]
        return JSONResponse(_page(newest, query.whole("limit", 1, 100, 20), query.get("after")))

    async def retrieve(self, request: Request) -> Response:
        batch = self._batch(request)
        if batch.over and not batch.complaints:
            async with batch.making:
                if not batch.made:
                    await self._make(request, batch)
        return JSONResponse(batch.resource())

    async def cancel(self, request: Request) -> Response:
        batch = self._batch(request)
        if batch.over:
            raise ApiError(409, f"Cannot cancel a batch with status '{batch.status}'.")
        if batch.stops_after is None:
            batch.stops_after = int(len(batch.lines) * batch.elapsed / batch.latency)
        batch.cancelled = True
        return JSONResponse(batch.resource())

    async def _make(self, request: Request, batch: Batch) -> None:
        output, errors = bytearray(), bytearray()
        for line in reversed(batch.lines[: batch.stops_after]):  # the order of answers is nobody's promise
            answer = await self._answer(request, batch, line["body"])
            batch.failed += answer["status_code"] != 200
            _write(output if answer["status_code"] == 200 else errors, line, answer)
        if batch.stops_after is not None:
            code, why = "batch_expired", "This request could not be executed before the completion window expired."
            if batch.cancelled:
                code, why = "batch_cancelled", "This request was not executed because the batch was cancelled."
            for line in batch.lines[batch.stops_after :]:
                _write(errors, line, None, {"code": code, "message": why})
        batch.output = self._keep("batch_output", f"{batch.id}_output.jsonl", bytes(output))["id"] if output else None
        batch.errors = self._keep("batch_output", f"{batch.id}_error.jsonl", bytes(errors))["id"] if errors else None
        batch.made = True

    async def _answer(self, request: Request, batch: Batch, fields: dict[str, Any]) -> dict[str, Any]:
        """What the images endpoint answers to one line."""
        headers = [(b"content-type", b"application/json"), (b"host", request.url.netloc.encode())]
        place = {"path": batch.endpoint, "path_params": dict[str, Any](), "headers": headers}
        line_request = Request({**request.scope, **place, "state": {"fields": fields}})
        try:
            if "explode" in str(fields.get("prompt")).lower():
                raise ApiError(500, "The image could not be generated due to a server error.", type="server_error")
            make = self._images.edit if batch.endpoint.endswith("edits") else self._images.generate
            made = await make(line_request)
            status, body = made.status_code, json.loads(cast(bytes, made.body))
        except ApiError as refusal:
            status, body = refusal.status, {"error": refusal.openai}
        return {"status_code": status, "request_id": f"req_{uuid.uuid4().hex}", "body": body}

    def _keep(self, purpose: str, name: str, content: bytes) -> dict[str, Any]:
        about = {"id": f"file-{uuid.uuid4().hex[:24]}", "purpose": purpose, "filename": name}
        file: dict[str, Any] = {**about, "created_at": int(time.time()), "content": content}
        self._state.uploads[file["id"]] = file
        return file

    def _file(self, request: Request) -> dict[str, Any]:
        file = self._state.uploads.get(request.path_params["id"])
        if file is None:
            raise ApiError(404, f"No such File object: {request.path_params['id']}", param="id")
        return file

    def _batch(self, request: Request) -> Batch:
        batch_id = request.path_params["id"]
        match = next((batch for batch in self._state.batches if batch.id == batch_id), None)
        if match is None:
            raise ApiError(404, f"No batch found with id '{batch_id}'.")
        return match


def _page(rows: list[dict[str, Any]], limit: int, after: str | None) -> dict[str, Any]:
    start = next((place + 1 for place, row in enumerate(rows) if row["id"] == after), 0)
    page = rows[start : start + limit]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return {"object": "list", "data": page, **ends, "has_more": len(rows) > start + limit}


def _as_json(file: dict[str, Any]) -> dict[str, Any]:
    about = {name: value for name, value in file.items() if name != "content"}
    return {**about, "object": "file", "bytes": len(file["content"]), "status": "processed"}


def _write(file: bytearray, line: dict[str, Any], answer: dict[str, Any] | None, error: object = None) -> None:
    row = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": line["custom_id"], "response": answer, "error": error}
    file += json.dumps(row).encode() + b"\n"


def _check_metadata(metadata: object) -> None:
    pairs = cast(dict[Any, Any], metadata) if isinstance(metadata, dict) else None
    if pairs is None or len(pairs) > 16:
        raise invalid("metadata", "Invalid 'metadata': expected an object with at most 16 keys.")
    for name, value in pairs.items():
        if not isinstance(value, str) or len(value) > 512 or len(str(name)) > 64:
            raise invalid("metadata", f"Invalid 'metadata.{name}': at most 64 and 512 characters are possible.")


def _lines(content: bytes, endpoint: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of a file, and what is wrong with them; OpenAI says so some time after it took the batch."""
    lines: list[dict[str, Any]] = []
    complaints: list[dict[str, Any]] = []
    ids, models = set[str](), set[str]()

    def complain(code: str, message: str, number: int | None) -> None:
        complaints.append({"code": code, "message": message, "param": None, "line": number})

    for number, text in enumerate(content.splitlines(), 1):
        try:
            line: Any = json.loads(text)
            custom_id, method, url, body = (line[name] for name in ("custom_id", "method", "url", "body"))
        except (ValueError, KeyError, TypeError):
            complain("invalid_json_line", "This line is not parseable as a request.", number)
            continue
        if custom_id in ids:
            complain("duplicate_custom_id", "The custom_id for this request is a duplicate.", number)
        if (method, url) != ("POST", endpoint):
            complain("mismatched_endpoint", f"The url of this line must be {endpoint}, with POST.", number)
        ids.add(custom_id)
        models.add(str(body.get("model")))
        lines.append(line)
    if len(models) > 1:
        complain("mismatched_model", "The provided batch contains requests for several models.", None)
    if not lines:
        complain("empty_file", "The input file contains no requests.", None)
    if len(lines) > MOST_LINES:
        complain("too_many_tasks", f"The batch contains more than {MOST_LINES} requests.", None)
    return lines, complaints
