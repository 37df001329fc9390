"""What stands in for HTTP: the openai SDK's client as `wire.py` and `images.py` use it, and the content of a URL."""

from __future__ import annotations

from typing import Any, ClassVar

import httpx2
import orjson
from openai import APIConnectionError, APIStatusError, APITimeoutError

from prefect_media.errors import DownloadCorrupt, JobExpired, ProviderUnavailable
from prefect_media.providers.limits import BOUND, JSON_BYTES, Bound

from .loop import PROCESS

ROOT = "https://api.openai.com/v1"

REQUEST = httpx2.Request("POST", ROOT, headers={"authorization": "Bearer sk-simulated"})


class Sent:
    """As much of a request as is read of one, in place of httpx2.Request: that one's headers are slow."""

    headers: ClassVar = {"authorization": "Bearer sk-simulated"}
    method, url = REQUEST.method, REQUEST.url


class Lost(Exception):
    """The answer to a request never came."""

    def __init__(self, why: str) -> None:
        self.why = why


class Response:
    """As much of an answer as is read of one."""

    request = Sent()
    status_code = 200
    history = ()

    def __init__(self, body: Any, headers: dict[str, str], pieces: tuple[bytes | Exception, ...] = ()) -> None:
        self.body, self.headers, self.pieces = body, headers, pieces
        self.extensions = {BOUND: Bound(JSON_BYTES)}

    @property
    def content(self) -> bytes:
        return b"not JSON" if self.body is None else orjson.dumps(self.body)

    async def aiter_bytes(self, chunk_size: int | None = None):
        world = PROCESS.get().machine.world
        for piece in self.pieces:
            await world.pause(world.jitter()[0])
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        pass


class Client:
    """The SDK's client; like it, it asks again for what costs nothing."""

    def __init__(self, retries: int | None) -> None:
        self._retries = 2 if retries is None else retries

    async def post(self, url: str, *, cast_to: object, body: Any = None, options: Any = None, files: Any = None):
        return await self._send("POST", url, body, files)

    async def get(self, url: str, *, cast_to: object, options: Any = None):
        return await self._send("GET", url, None, None)

    async def delete(self, url: str, *, cast_to: object, options: Any = None):
        return await self._send("DELETE", url, None, None)

    async def _send(self, method: str, url: str, body: Any, files: Any) -> Response:
        process = PROCESS.get()
        world = process.machine.world
        for left in range(self._retries, -1, -1):
            try:
                status, headers, answer, pieces = await world.provider.exchange(process, method, url, body, files)
            except Lost as lost:
                if left:
                    await world.pause(0.5)
                    continue
                error, cause = _lost(lost.why)
                raise error from cause
            if status < 300:
                return Response(answer, headers, pieces)
            if left and (status in (408, 409, 429) or status >= 500):
                await world.pause(min(8.0, float(headers.get("retry-after", 0.5))))
                continue
            response = httpx2.Response(status, headers=headers, json=answer, request=REQUEST)
            raise APIStatusError("refused", response=response, body=answer.get("error", answer))
        raise AssertionError("unreachable")


def _lost(why: str) -> tuple[Exception, Exception]:
    """What the SDK raises for an answer that never came, and the cause it gives."""
    if why == "hangs":
        return APITimeoutError(request=REQUEST), httpx2.ReadTimeout("silence", request=REQUEST)
    cause = (httpx2.ConnectError if why == "unreachable" else httpx2.ReadError)("reset", request=REQUEST)
    return APIConnectionError(request=REQUEST), cause


class Content:
    """What a URL holds, in place of `providers.content.Content`."""

    def __init__(self, url: str, headers: object, host: str, job_id: str, *_: object, **__: object) -> None:
        self.size: int | None = None
        self.digest = None
        self._url, self._job_id = url, job_id
        self._world = PROCESS.get().machine.world

    def stop(self) -> None:
        pass

    def check(self) -> None:
        pass

    def __iter__(self):
        found = self._world.provider.content(self._url)
        if found is None:
            raise JobExpired(f"the content of job {self._job_id} is gone", job_id=self._job_id, status_code=404)
        data, broken = found
        self.size = len(data)
        if broken == "away":
            raise ProviderUnavailable("the content can't be had now", job_id=self._job_id)
        if broken:
            yield data[: len(data) // 2]
            raise DownloadCorrupt("the download broke off", job_id=self._job_id)
        yield data
