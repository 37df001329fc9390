"""A server that lies, in every way we could think of: each ends soon, in an error of ours or in a right result.

And nothing is bought twice, no key is told to anybody, nobody is asked whom a lie points at, and memory stays small.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import hostile_buyer
import pytest
from hostile_server import Hostile, film, png
from lies import KEY, LIES

from prefect_media import errors

MEMORY = 200.0
"""MiB that the buyer may take at its peak, with three liars at once."""


class Stranger:
    """Somebody whom a lie points at: counts who comes."""

    def __init__(self) -> None:
        self.came: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.2", 0))
        self.url = f"http://127.0.0.2:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self.listener.accept()
                line.settimeout(2)
                with line, suppress(OSError):
                    self.came.append(line.recv(65536))
                    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")


class Results:
    """What came of all the lies, told to one buyer."""

    def __init__(self, folder: Path) -> None:
        Hostile.film, Hostile.picture = film(), png()
        self.strangers = {name: Stranger() for name, lie in LIES.items()}
        self.servers = {name: Hostile(lie, self.strangers[name].url) for name, lie in LIES.items()}
        self.folders = {name: folder / str(number) for number, name in enumerate(LIES)}
        rows = [[name, lie.buy, self.servers[name].url, str(self.folders[name])] for name, lie in LIES.items()]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, hostile_buyer.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PREFECT_MEDIA_POLL_SECONDS": "0.05"},
            )
            out, _ = process.communicate("\n".join(map(json.dumps, rows)).encode(), timeout=540)
        self.outcomes = {row["name"]: row for row in map(json.loads, out.splitlines())}
        for server in (*self.servers.values(), *self.strangers.values()):
            server.close()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return Results(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("name", LIES)
def test_a_lie(results, name):
    lie, outcome, server = LIES[name], results.outcomes[name], results.servers[name]
    kind = outcome["outcome"]
    assert kind == "right" or issubclass(getattr(errors, kind, object), errors.MediaError), outcome["text"][-3000:]
    if lie.outcome:
        assert kind in lie.outcome, outcome["text"][-3000:]
    assert server.posts <= lie.posts, f"{server.posts} paid requests"
    assert not results.strangers[name].came
    assert not outcome["key"], outcome["text"]
    assert outcome["length"] < 100_000
    for path in results.folders[name].rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), f"the key is in {path}"


def test_no_key_is_in_any_log(results):
    with results.log.open("rb") as log:
        assert [line[:2000] for line in log if KEY.encode() in line] == []


def test_memory_stays_small(results):
    assert len(results.outcomes) == len(LIES)
    assert max(row["peak"] for row in results.outcomes.values()) < MEMORY
