"""A server that lies where it is told to, and says what an honest server says everywhere else."""

from __future__ import annotations

import base64
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO

Parts = list[object]
"""Bytes to send, seconds to wait, functions that give bytes piece by piece, RESET; then the connection ends."""
RESET = object()


def answer(body: object = b"", status: int = 200, kind: str = "application/json", **headers: object) -> Parts:
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    rows = {"Content_Type": kind, "Content_Length": len(data), **headers}
    head = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in rows.items() if text is not None)
    return [f"HTTP/1.1 {status} X\r\n{head}\r\n".encode("latin-1") + data]


def job(number: int = 1, status: str = "completed", **fields: object) -> dict[str, object]:
    row = {"id": f"video_{number:06d}", "object": "video", "model": "boats-1", "status": status, "progress": 100}
    row |= {"prompt": f"boat {number}", "size": "64x64", "seconds": "1", "created_at": int(time.time())}
    return {**row, **fields}


def film() -> bytes:
    from prefect_media.simulator.drawing.film import Film, shoot

    return shoot(Film("a paper boat", "boats-1", (64, 64), 1))


def png() -> str:
    from PIL import Image

    buffer = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False, default=b"")


Tell = Callable[["Hostile", Asked], Parts]


@dataclass
class Lie:
    """What a server does otherwise than an honest one, by route, and what has to come of it.

    Attributes:
        answers: What it says in place of the truth, by route: create, look, content, list, images, models, batch, ...
        buy: What is bought from it: "video", "many", "image" or "batch".
        outcome: What has to come of it, by name: "right", or classes of errors; any of ours where nothing is named.
        posts: How many paid requests it may get.
    """

    answers: dict[str, Tell]
    buy: str = "video"
    outcome: tuple[str, ...] = ()
    posts: int = 1


class Hostile:
    """Answers each connection in a thread; what a lie does not name is answered honestly."""

    film = b""
    picture = ""

    def __init__(self, lie: Lie, stranger: str) -> None:
        self.lie, self.stranger = lie, stranger
        self.asked: list[Asked] = []
        self.count: Counter[str] = Counter()
        self.jobs: list[dict[str, object]] = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.origin = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.url = f"{self.origin}/v1"
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def posts(self) -> int:
        """Paid requests that it got."""
        return self.count["create"] + self.count["images"] + self.count["order"]

    def close(self) -> None:
        self.listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self.listener.accept()
                threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with line, line.makefile("rb") as file, suppress(OSError, ValueError):
            while (asked := read(file)) is not None:
                with self.lock:
                    self.asked.append(asked)
                    route = route_of(asked)
                    self.count[route] += 1
                    if route == "create":
                        number = re.search(rb"boat (\d+)", asked.body)
                        self.jobs.append(job(int(number[1]) if number else 1))
                tell = self.lie.answers.get(route, HONEST.get(route, lambda server, asked: answer({}, 404)))
                for part in tell(self, asked):
                    if part is RESET:
                        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    if isinstance(part, int | float):
                        time.sleep(part)
                    elif callable(part):
                        for piece in part():
                            line.sendall(piece)
                    else:
                        line.sendall(part)  # pyright: ignore[reportArgumentType]
                if self.lie.answers.get(route):
                    return


def read(file) -> Asked | None:
    first = file.readline(65536).decode("latin-1")
    if not first.strip():
        return None
    method, path, _ = first.split(" ", 2)
    headers: dict[str, str] = {}
    while (row := file.readline(65536).decode("latin-1").strip()) != "":
        name, _, text = row.partition(":")
        headers[name.lower()] = text.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while (size := int(file.readline().split(b";")[0], 16)) > 0:
            body += file.read(size)
            file.readline()
        file.readline()
    else:
        body = file.read(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, body)


def route_of(asked: Asked) -> str:
    path = asked.path.partition("?")[0].removeprefix("/v1")
    if path == "/videos":
        return "create" if asked.method == "POST" else "list"
    if path.startswith("/videos/"):
        return "content" if path.endswith("/content") else "look"
    if path.startswith("/batches"):
        return "order" if asked.method == "POST" else "batches" if path == "/batches" else "batch"
    if path.startswith("/files"):
        return "upload" if asked.method == "POST" else "answers"
    return {"/images/generations": "images", "/models": "models"}.get(path, path)


def own(server: Hostile, asked: Asked) -> dict[str, object]:
    """The job that a request is about."""
    named = re.search(r"/videos/video_(\d+)", asked.path)
    number = re.search(rb"boat (\d+)", asked.body)
    return job(int(named[1]) if named else int(number[1]) if number else 1)


def batch(server: Hostile, asked: Asked) -> Parts:
    key = json.loads(next(a for a in server.asked if route_of(a) == "order").body)["metadata"]["prefect-media"]
    return answer(
        {"id": "batch_1", "status": "completed", "metadata": {"prefect-media": key}, "output_file_id": "file_2"}
    )


def lines(server: Hostile) -> list[str]:
    """The keys of what was uploaded for a batch."""
    sent = next(asked for asked in server.asked if route_of(asked) == "upload").body
    return [key.decode() for key in re.findall(rb'"custom_id":"(\w+)"', sent)]


def line(key: str, **fields: object) -> str:
    made = {"status_code": 200, "request_id": "r", "body": {"data": [{"b64_json": Hostile.picture}]}}
    return json.dumps({"custom_id": key, "response": made, "error": None, **fields}) + "\n"


HONEST: dict[str, Tell] = {
    "create": lambda server, asked: answer({**own(server, asked), "status": "queued", "progress": 0}),
    "look": lambda server, asked: answer(own(server, asked)),
    "list": lambda server, asked: answer({"object": "list", "data": server.jobs[::-1], "has_more": False}),
    "content": lambda server, asked: answer(server.film, kind="video/mp4"),
    "images": lambda server, asked: answer({"created": 1, "data": [{"b64_json": server.picture}]}),
    "models": lambda server, asked: answer({"object": "list", "data": []}),
    "upload": lambda server, asked: answer({"id": "file_1", "object": "file"}),
    "order": batch,
    "batch": batch,
    "batches": lambda server, asked: answer({"object": "list", "data": [], "has_more": False}),
    "answers": lambda server, asked: answer("".join(map(line, lines(server))), kind="application/jsonl"),
}
