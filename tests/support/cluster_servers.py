"""What a cluster is made of, on one machine: PostgreSQL, Prefect's server on it, workers, and their keeper.

Each can be taken away and brought back: the database and the server are restarted, a worker is killed or frozen with
all its processes, as if its machine were.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from prefect_media.cli.demo_servers import PrefectServer, stop_process

MARK = "PREFECT_MEDIA_CLUSTER"
"""Environment variable that tells a worker's processes, whoever started them."""


def find_postgres(install: bool = False) -> Path | None:
    """The folder of PostgreSQL's programs, installed from Debian's packages if allowed to; None without them."""
    if path := next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)), None):
        return path.parent
    if path := shutil.which("postgres"):
        return Path(path).resolve().parent
    if not install or os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "postgresql"]):
        subprocess.run(["apt-get", "-qq", *command], check=True, stdout=subprocess.DEVNULL, timeout=600)
    return find_postgres()


class Postgres:
    """A PostgreSQL of our own on a free port; its data goes with it.

    Args:
        programs: The folder of `initdb` and `pg_ctl`.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="prefect-media-postgres-"))
        self._port = free_port()
        self.url = f"postgresql+asyncpg://prefect@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Postgres:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root; its package brings a user
            shutil.chown(self._folder, "postgres")
        self._run("initdb", "--auth=trust", "--username=prefect", "--encoding=UTF8", "--no-sync")
        self._control("start")
        return self

    def __exit__(self, *_: object) -> None:
        self._control("stop", "--mode=immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def restart(self) -> None:
        """Break all connections, stop, and start again."""
        self._control("restart", "--mode=fast")

    def _control(self, verb: str, *more: str) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {self._folder} -c max_connections=200"
        started = ["-o", options] if verb != "stop" else []
        self._run("pg_ctl", verb, "--wait", "--timeout=120", f"--log={self._folder / 'log'}", *started, *more)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments, f"--pgdata={self._folder}"]
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run([*as_user, *command], check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=180)


class ClusterServer(PrefectServer):
    """Prefect's server on a database that stays while it restarts."""

    def __init__(self, database: Postgres, logs: Path) -> None:
        super().__init__()
        self.log = logs / "server.log"
        self.env["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database.url

    def restart(self) -> None:
        """End it, and start it again on the same port."""
        assert self._process
        stop_process(self._process)
        self.log = self.log.with_name("server-again.log")
        self.start()
        self.wait()

    def wait(self, seconds: float = 300.0) -> None:
        """Return once it answers, which takes it longer while the workers keep the machine busy."""
        super().wait(seconds)


class Kept:
    """A command that is started again when it ends by itself, as systemd or Kubernetes would.

    Attributes:
        name: What to call it.
        ended: How often it ended by itself.
        is_whole: Whether it is neither killed nor frozen.
    """

    def __init__(self, name: str, command: list[str], env: dict[str, str], log: Path) -> None:
        self.name, self.ended, self.is_whole = name, 0, True
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        variable, value = self._mark.split("=")
        self._command, self._env, self._log = command, {**env, variable: value}, log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Kept:
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        self.signal(signal.SIGTERM if error is None else signal.SIGKILL)
        if not self.gone(20):
            self.signal(signal.SIGKILL)
        self._thread.join()

    def _keep(self) -> None:
        with self._log.open("ab") as log:
            while not self._over.is_set():
                process = self._start(log)
                process.wait()
                self.ended += not self._over.is_set()
                self._over.wait(1)

    def _start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def members(self) -> dict[int, str | None]:
        """Its processes, and the flow run that each executes."""
        alive: dict[int, str | None] = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile, or is not ours to look at
                environment = (process / "environ").read_bytes().split(b"\0")
                if self._mark.encode() in environment:
                    runs = [each.decode()[-36:] for each in environment if each.startswith(b"PREFECT__FLOW_RUN_ID=")]
                    alive[int(process.name)] = next(iter(runs), None)
        return alive

    def flow_runs(self) -> set[str]:
        """The flow runs that its processes execute."""
        return {run for run in self.members().values() if run is not None}

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        for process in self.members():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def freeze(self) -> None:
        """Stop all its processes where they are."""
        self.is_whole = False
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        self.signal(signal.SIGCONT)
        self.is_whole = True

    def kill(self) -> None:
        """Lose it with all its processes at once, like a machine; it does not come back."""
        self.is_whole = False
        self._over.set()
        while self.members():  # those that were just being started, too
            self.signal(signal.SIGKILL)
            time.sleep(0.05)

    def gone(self, within: float) -> bool:
        """Whether nobody is left, now or a little later."""
        deadline = time.monotonic() + within
        while self.members() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.members()


def start_workers(stack: ExitStack, count: int, pool: str, room: int, env: dict[str, str], folder: Path) -> list[Kept]:
    """Start process workers, each with room for so many flow runs."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"]
    return [
        stack.enter_context(Kept(name, [*command, "--limit", str(room), "--name", name], env, folder / f"{name}.log"))
        for name in (f"worker-{number}" for number in range(1, count + 1))
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
