"""`prefect-media receive`: servers call it when a job is finished, and the flow run that waits for it wakes at once."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

import typer
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from prefect_media.tasks.wake import make_round

from ..errors import MediaError
from ..providers.callbacks import Callbacks, Events, OpenRouterCallbacks, Refused
from ..runtime import clock
from ..storage.store import Storage
from .options import StoreOption
from .signals import end_of_command
from .targets import storage_of_name

SECRETS = ("OPENAI_WEBHOOK_SECRET", "OPENROUTER_WEBHOOK_SECRET", "PREFECT_MEDIA_WEBHOOK_SECRET")
SHORTEST_SECRET = 16

LARGEST_BODY = 64 * 1024
"""Bytes; an event has some hundred."""

SLOWEST_BODY = 10.0
"""Seconds in which it has to be here."""

PER_SECOND = 20
"""Calls that are looked at in a second; the others get 429."""

MOST_WAITING = 1000
"""Verified calls that may wait for their round."""

MOST_CALLERS = 100
"""Connections at once; the others get 503."""

LONGEST_ROUND = 120.0
"""Seconds that the round for a call may take."""


def receive(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8787,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    store: StoreOption = None,
) -> None:
    """Listen until Ctrl-C or SIGTERM.

    Raises:
        errors.MediaError: No secret is set, or one is too short, or the port is taken.
    """
    openai, openrouter, own = map(_secret, SECRETS)
    if not (openai or openrouter or own):
        raise MediaError(
            "nobody could prove who calls: set {} (OpenAI shows it when the webhook is created), {} (from the settings "
            "of the workspace at OpenRouter), or {} for servers of your own".format(*SECRETS)
        )
    receiver = Receiver(
        openai=Callbacks(openai) if openai else None,
        openrouter=OpenRouterCallbacks(openrouter) if openrouter else None,
        own=Callbacks(own) if own else None,
    )
    asyncio.run(_listen(host, port, receiver, store))


def _secret(variable: str) -> str | None:
    secret = os.environ.get(variable)
    if secret is not None and len(secret) < SHORTEST_SECRET:
        raise MediaError(f"{variable} has {len(secret)} characters; use a random one of at least {SHORTEST_SECRET}")
    return secret


async def _listen(host: str, port: int, receiver: Receiver, store: str | None) -> None:
    storage = await storage_of_name(store)
    ended = end_of_command()
    with _listener(host, port) as listener:
        config = uvicorn.Config(receiver.app(), log_config=None, access_log=False, limit_concurrency=MOST_CALLERS)
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        waking = asyncio.create_task(receiver.wake(storage))
        ending = asyncio.create_task(ended.wait())
        typer.echo(f"Listening on http://{host}:{listener.getsockname()[1]}, until Ctrl-C", err=True)
        await asyncio.wait({serving, waking, ending}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        waking.cancel()
        ending.cancel()
    typer.echo("Stopped", err=True)


def _listener(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise MediaError(
            f"can't listen on {host}:{port} ({error.strerror}); choose another --port, 0 is a free one"
        ) from error


class _Server(uvicorn.Server):
    """uvicorn, which leaves signals to the command."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@dataclass(slots=True, kw_only=True)
class Receiver:
    """Takes calls, and wakes whoever waits for the jobs that they are about. A call is a hint: the job is looked at."""

    openai: Callbacks | None
    openrouter: OpenRouterCallbacks | None
    own: Callbacks | None
    _jobs: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(MOST_WAITING))
    _lately: deque[float] = field(default_factory=deque[float])

    def app(self) -> Starlette:
        """The application to be served."""
        return Starlette(
            routes=[
                Route("/openai", self._openai, methods=["POST"]),
                Route("/openrouter", self._openrouter, methods=["POST"]),
                Route("/done/{job_id}", self._done, methods=["POST"]),
            ]
        )

    async def wake(self, storage: Storage) -> None:
        """Make a round for each job that is called finished, one after the other, for ever."""
        while True:
            job_id = await self._jobs.get()
            try:
                async with asyncio.timeout(LONGEST_ROUND):
                    done = await make_round(storage, hint=job_id)
            except MediaError as error:  # the waker's next round may be luckier
                typer.echo(f"Called for {job_id}, and its round failed: {error.message}", err=True)
            except Exception as error:  # one call must not end the others
                typer.echo(f"Called for {job_id}, and its round failed: {type(error).__name__}", err=True)
            else:
                typer.echo(f"Called for {job_id}: {len(done.woken)} resumed", err=True)

    async def _openai(self, request: Request) -> Response:
        return await self._take_event(self.openai, request)

    async def _openrouter(self, request: Request) -> Response:
        return await self._take_event(self.openrouter, request)

    async def _take_event(self, events: Events | None, request: Request) -> Response:
        if events is None:
            return Response(status_code=404)
        return await self._take(events, request, lambda body: events.job_of_event(request.headers, body))

    async def _done(self, request: Request) -> Response:
        own, job_id = self.own, request.path_params["job_id"]
        if own is None:
            return Response(status_code=404)
        return await self._take(own, request, lambda body: own.job_of_call(job_id, request.headers, body))

    async def _take(self, events: Events, request: Request, job_of: Callable[[bytes], str | None]) -> Response:
        now = clock.monotonic()
        while self._lately and self._lately[0] < now - 1:
            self._lately.popleft()
        if len(self._lately) >= PER_SECOND:
            return Response(status_code=429, headers={"retry-after": "2"})
        self._lately.append(now)
        try:
            async with asyncio.timeout(SLOWEST_BODY):
                body = await _body(request)
        except TimeoutError:
            return Response(status_code=408)
        if body is None:
            return Response(status_code=413)
        try:
            job_id = job_of(body)
        except Refused:
            return Response(status_code=401)
        if job_id is not None:
            try:
                self._jobs.put_nowait(job_id)
            except asyncio.QueueFull:
                events.forget(request.headers)
                return Response(status_code=503, headers={"retry-after": "60"})
        return Response(status_code=202)


async def _body(request: Request) -> bytes | None:
    """The body; None when it is too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > LARGEST_BODY:
            return None
    return bytes(body)
