"""The front desk: writes down every request and makes the planted faults happen."""

import asyncio
import uuid
from dataclasses import dataclass
from email.utils import formatdate

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .api_errors import is_azure
from .faults import Fault
from .records import SeenRequest
from .request_bodies import read_fields
from .server_thread import TRANSPORT
from .state import State

Headers = list[tuple[bytes, bytes]]


@dataclass
class _Reply:
    status: int
    headers: Headers
    body: bytes
    sent: bool = False
    """Whether it went out while it was being made."""


class FrontDesk:
    """ASGI middleware around the whole application.

    It holds the complete request before the application runs and the complete reply before anything is sent, so
    that "accepted" and "answered" are two moments a fault can stand between.
    """

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = await _read(receive)
        if raw is None:  # the client left before it had asked
            return
        query = scope["query_string"].decode("latin-1")
        path = f"{scope['path']}?{query}" if query else str(scope["path"])
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        fields = await read_fields(scope, raw)
        seen = SeenRequest(str(scope["method"]), path, headers, fields if fields is not None else raw or None)
        self._state.requests.append(seen)
        fault = self._state.take_fault(seen.method, path)

        if fault and fault.before_acceptance:
            fault.struck()
        if fault and fault.action == "refuse":
            return await _hang_up(scope, receive)
        if fault and fault.action == "hold":
            await asyncio.sleep(fault.seconds)

        if fault and fault.action == "answer":
            reply = _fault_reply(fault)
        else:
            live = send if fault is None or fault.before_acceptance else None
            reply = await self._ask({**scope, "state": {"fields": fields}}, raw, live, _request_id(path))
            if fault and not fault.before_acceptance:
                fault.struck()
                if fault.after_accept:
                    await asyncio.to_thread(fault.after_accept)

        if fault and fault.action == "lose_reply":
            return await _hang_up(scope, receive)
        if fault and fault.action in ("answer_after", "corrupt"):
            reply = _fault_reply(fault)
        if fault and fault.action == "hold_reply":
            await asyncio.sleep(fault.seconds)

        if reply.sent:
            seen.status = reply.status
            return
        reply.headers.append(_request_id(path))
        if all(header != b"date" for header, _ in reply.headers):
            reply.headers.append((b"date", formatdate(usegmt=True).encode()))
        for header, value in self._state.profile.headers.items():
            reply.headers.append((header.encode(), value.encode()))
        seen.status = reply.status
        await _send(reply, fault, scope, send)

    async def _ask(self, scope: Scope, raw: bytes, live: Send | None, request_id: tuple[bytes, bytes]) -> _Reply:
        """Let the application answer into our hands; a stream of events goes straight on by `live`, if there is one."""
        reply = _Reply(500, [], b"")

        asked = False

        async def receive() -> Message:
            nonlocal asked
            if asked:
                await asyncio.Event().wait()  # for ever: who streams waits here for a client that hangs up
            asked = True
            return {"type": "http.request", "body": raw, "more_body": False}

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                reply.status, reply.headers = message["status"], list(message["headers"])
                events = any(value.startswith(b"text/event-stream") for _, value in reply.headers)
                reply.sent = live is not None and events
                message = {**message, "headers": [*reply.headers, request_id]}
            elif not reply.sent:
                reply.body += message.get("body", b"")
            if live and reply.sent:
                await live(message)

        await self._app(scope, receive, collect)
        return reply


def _request_id(path: str) -> tuple[bytes, bytes]:
    if is_azure(path):
        return b"apim-request-id", str(uuid.uuid4()).encode()
    return b"x-request-id", f"req_{uuid.uuid4().hex}".encode()


async def _read(receive: Receive) -> bytes | None:
    raw = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        raw += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(raw)


def _fault_reply(fault: Fault) -> _Reply:
    kind, body = fault.content()
    status = 200 if fault.action == "corrupt" else fault.status
    headers = {"content-type": kind, "content-length": str(len(body))}
    if fault.action != "corrupt":
        headers |= {name.lower(): value for name, value in fault.headers.items()}
    return _Reply(status, [(name.encode(), value.encode()) for name, value in headers.items()], body)


async def _hang_up(scope: Scope, receive: Receive) -> None:
    scope[TRANSPORT].abort()
    while (await receive())["type"] != "http.disconnect":  # return once uvicorn knows, or it answers 500
        pass


async def _send(reply: _Reply, fault: Fault | None, scope: Scope, send: Send) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    if fault and fault.action == "truncate":
        part = reply.body[: max(0, min(fault.nbytes, len(reply.body) - 1))]
        await send({"type": "http.response.body", "body": part, "more_body": True})
        scope[TRANSPORT].close()  # sends what is written, then closes
        await asyncio.sleep(0)
        return
    if fault and fault.action == "drip":
        for start in range(0, len(reply.body), fault.nbytes):
            part = reply.body[start : start + fault.nbytes]
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(fault.seconds)
        reply.body = b""
    await send({"type": "http.response.body", "body": reply.body})
