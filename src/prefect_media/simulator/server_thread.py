"""The telephone line: a server of one socket whose connections the application can cut."""

import asyncio
import contextlib
import logging
import socket
import threading
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

TRANSPORT = "prefect_media.simulator.transport"


class _Line(H11Protocol):
    """uvicorn's connection, with its transport put where a fault can reach it."""

    def __init__(self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        # Our own logger: uvicorn's are shared with any server the user runs in the same process.
        self.logger = logging.getLogger("prefect_media")
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        app = self.app

        async def with_transport(scope: Any, receive: Any, send: Any) -> None:
            scope[TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = with_transport


class Switchboard:
    """Serves an ASGI application from a thread with a loop of its own."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._app = app
        self._listener = listener
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="media-simulator", daemon=True)

    def open(self) -> None:
        """Answer calls; returns once the line is open."""
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Cut every connection and end the thread."""
        assert self._loop and self._closing
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        # uvicorn.Server is left out: it wants the signal handlers, and takes a tenth of a second to stop.
        config = uvicorn.Config(_quiet(self._app), log_config=None, ws="none", lifespan="off", server_header=False)
        config.load()
        state = ServerState()
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        server = await self._loop.create_server(lambda: _Line(config, state, {}), sock=self._listener)
        self._ready.set()
        await self._closing.wait()
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # lets the connections learn that they are cut


def _quiet(app: ASGIApp) -> ASGIApp:
    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        # Stopped in the middle of an answer: the client sees a cut line, and uvicorn is to log no failure.
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return run
