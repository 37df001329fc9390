"""The servers a demo needs: Prefect's own and a bucket's, both local, both gone when we are.

Only the standard library is imported here before something is started.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from ..errors import MediaError
from ..runtime import clock

# The child ends with us however we end, even by SIGKILL: its standard input is a pipe that only we hold open.
_CHILD = """
import os, runpy, signal, sys, threading, time

def end_with_parent():
    while os.read(0, 1024):
        pass
    signal.alarm(10)  # the kernel's: a Python that hangs while it shuts down has stopped this thread
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)  # a server that is still starting up hears of it late
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("prefect", run_name="__main__", alter_sys=True)
"""

OURS = "PREFECT_MEDIA_"


class ServerFailed(MediaError):
    """A server did not come up; the message carries what it said."""


class PrefectServer:
    """Prefect's own server on a free port, with a home of its own that goes with it.

    Attributes:
        home: Its PREFECT_HOME: database, profiles, log.
        url: Address of the user interface.
        api_url: Address of the API.
        env: Environment for everything that is to talk to this server, and to no other.
    """

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="prefect-media-"))
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.api_url = f"{self.url}/api"
        self.log = self.home / "server.log"
        self.env = _without_the_users_prefect() | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml"),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.home / 'prefect.db'}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_API_URL": self.api_url,  # the pages would ask port 4200
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_CLI_PROMPT": "false",
        }
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting until it answers."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, "server", "start", "--host", "127.0.0.1", "--port", str(self._port)],
                env=self.env,
                cwd=self.home,  # a .env or prefect.toml of the user's is not for this server
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we end it in good order
            )

    def wait(self, seconds: float = 120.0) -> None:
        """Return once it answers.

        Raises:
            ServerFailed: It ended, or did not answer in time; the end of its log is in the message.
        """
        process = self._process
        assert process
        deadline = clock.monotonic() + seconds
        while not self._answers():
            if process.poll() is not None:
                raise ServerFailed(f"Prefect's server ended at once; it said:\n{self._last_words()}")
            if clock.monotonic() > deadline:
                raise ServerFailed(f"Prefect's server did not answer within {seconds:g} s:\n{self._last_words()}")
            clock.block(0.05)

    def run(self, *arguments: str, timeout: float = 120.0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run the `prefect` command against this server; raises when it fails.

        Args:
            arguments: Of the command, such as "work-pool", "create".
            timeout: Seconds it may take.
            options: Passed on to `subprocess.run`, such as `cwd`.
        """
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            **options,
        )
        if done.returncode:
            raise ServerFailed(f"prefect {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done

    def stop(self) -> None:
        """End it and remove its home. Does nothing the second time."""
        if self._process:
            stop_process(self._process)
            self._process = None
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.api_url}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


ACCEPT_SECONDS = 1.0
"""How long the bucket's server waits for a connection that was announced."""


class BucketServer:
    """An S3 server in this process (moto's), with no disk behind it."""

    KEY, SECRET = "demo", "demo-secret"

    def __init__(self) -> None:
        self.url = ""
        self._server: Any = None

    def start(self) -> None:
        """Listen on a free port; returns once requests are answered."""
        from moto.server import ThreadedMotoServer

        _make_puts_atomic()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        # A client that hangs up before it is accepted would leave the server waiting for the next one, deaf to `stop`.
        self._server._server.socket.settimeout(ACCEPT_SECONDS)
        self.url = f"http://{host}:{port}"

    def create(self, bucket: str) -> None:
        """Make an empty bucket."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        direct.open(urllib.request.Request(f"{self.url}/{bucket}", method="PUT"), timeout=30).close()

    def stop(self) -> None:
        """Stop listening; what was stored is forgotten with the process."""
        if self._server:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@lru_cache(maxsize=1)
def _make_puts_atomic() -> None:
    """S3 compares and swaps in one step; moto compares, then swaps, and lets another thread in between."""
    from moto.s3.responses import S3Response

    put, lock = S3Response.put_object, threading.Lock()

    def one_at_a_time(self: S3Response) -> Any:
        with lock:
            return put(self)

    S3Response.put_object = one_at_a_time


def stop_process(process: subprocess.Popen[Any], *, patience: float = 10.0) -> None:
    """End a process that leads a session of its own, and all it started; politely, then not."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, patience)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:  # macOS says so of a group that only has zombies left
            pass
        try:
            process.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            continue
    if process.stdin:
        process.stdin.close()


def _without_the_users_prefect() -> dict[str, str]:
    """The environment without the user's Prefect settings, and with our servers behind no proxy."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_") or name.startswith(OURS)
    }
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, [kept.get(name), "127.0.0.1", "localhost"]))
    return kept


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
