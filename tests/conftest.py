"""What tests share: Prefect's engine, Prefect's server, an S3 server, and stores in them.

Nothing here is used unless a test asks for it, so tests of the core stay at milliseconds.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

# Before anything imports prefect: the tests touch neither the profile nor the server nor the keys of whoever runs them.
for name in list(os.environ):
    if name.startswith(("PREFECT_", "OPENAI_", "AZURE_OPENAI_", "AWS_")):
        del os.environ[name]
HOME = tempfile.mkdtemp(prefix="prefect-media-tests-")
# A test session starts hundreds of processes; each would compile this package anew, which takes 0.7 s of CPU.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ["PREFECT_HOME"] = HOME
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
# As docs/performance.md recommends for a server of one's own: half of what Prefect's server computes in tests.
RECOMMENDED = {"PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100"}
os.environ.update(RECOMMENDED)


def pytest_unconfigure():
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Four at least: half of the time a test waits for servers and processes of its own."""
    return max(os.cpu_count() or 1, 4)


MEASURED = {"catalog", "ledger", "media", "nouns", "providers", "purchases", "runtime", "storage", "waiting"}
"""Rooms whose tests measure the coverage of the core: measuring takes up to 80 % more time, so the others do not."""


@pytest.hookimpl(tryfirst=True)  # before pytest picks tests by their marks
def pytest_collection_modifyitems(items):
    """Mark the tests that run Prefect's engine or server; `make test-oldest` runs them on its oldest version.

    Tests of the core come last. They are short and many, so no worker is left alone with a long file in the end.
    """
    rooms = {item: item.path.relative_to(Path(__file__).parent).parts[0] for item in items}
    items.sort(key=lambda item: rooms[item] in MEASURED)
    for item in items:
        if needs_prefect := bool({"prefect", "prefect_server"} & set(item.fixturenames)):
            item.add_marker("prefect")
        if needs_prefect or rooms[item] not in MEASURED:
            item.add_marker("no_cover")


@pytest.fixture(autouse=True)
def transfers_are_measured(request):
    """Coverage follows threads that begin while it measures, and loses them in a test that it does not measure: so a
    test that it measures has its transfers in new ones."""
    if not request.node.get_closest_marker("no_cover"):
        from prefect_media.runtime import transfers

        transfers._threads.cache_clear()


@pytest.fixture(autouse=True)
def fresh_settings():
    """Settings are read once in a process: each test starts without those of the test before."""
    from prefect_media.settings import settings

    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def configure(fresh_settings, monkeypatch):
    """`configure(lease_seconds=1)` sets settings until the test ends, in the environment, where users set them.

    None takes one out again.
    """
    from prefect_media.settings import settings

    def configure(**values):
        for name, value in values.items():
            if value is None:
                monkeypatch.delenv(f"PREFECT_MEDIA_{name.upper()}")
            else:
                monkeypatch.setenv(f"PREFECT_MEDIA_{name.upper()}", str(value))
        settings.cache_clear()

    return configure


@pytest.fixture
def trust(monkeypatch):
    """`trust(path)` has this process trust a certificate authority until the test ends."""
    from prefect_media.runtime.transfers import _connections, tls

    def forget_connections():
        tls.cache_clear()
        _connections.cache_clear()

    def trust(authority):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        forget_connections()

    yield trust
    forget_connections()


SHORT_PAUSES = {
    "prefect_media.providers.download.BREAK_PAUSE": 0.01,
    "prefect_media.providers.download.NOT_YET_PAUSES": (0.01,) * 2,
    "prefect_media.purchases.batch_submit.LOOKS": (0.0, 0.2, 0.4),
    "prefect_media.purchases.lost_jobs.LOOKS": (0.0, 0.1, 0.2),
    "prefect_media.purchases.sidecar.PAUSES": (0.01,) * 4,
    "prefect_media.purchases.store_images.LINK_PAUSES": (0.01,) * 3,
    "prefect_media.purchases.store_images.PUT_PAUSES": (0.01,) * 4,
    "prefect_media.purchases.store_video.PAUSES": (0.01,) * 5,
    "prefect_media.purchases.submit_once.PAUSES": (0.01,) * 5,
}


@pytest.fixture
def short_pauses(configure, monkeypatch):
    """Retries, looks and lookups are as many as ever, with pauses for a server that is on this machine.

    `tests/nouns/test_jobs.py` and `tests/simulation` test the real ones on a clock that does not wait.
    """
    from prefect_media.waiting.deadlines import Patience

    for name, pauses in SHORT_PAUSES.items():
        monkeypatch.setattr(name, pauses)
    for room in ("purchases.batch_fetch", "waiting.wait"):
        monkeypatch.setattr(f"prefect_media.{room}.Patience", partial(Patience, unknown=0.5))
    configure(poll_seconds=0.05)


@pytest.fixture(scope="session")
def prefect():
    """Prefect's engine with a server of its own in the background: ask for it to run flows and tasks in a test."""
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOGGING_TO_API_ENABLED,
        PREFECT_SERVER_ANALYTICS_ENABLED,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    settings = {
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # its thread keeps every sync flow waiting for a second
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with temporary_settings(settings), prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="session")
def prefect_server():
    """A real `prefect server` in a process of its own, for tests with workers and command lines.

    Has `url`, `api_url`, `home`, `env` for the subprocesses of a test, and `run("deploy", "--all")` for the
    `prefect` command. It has nothing to do with the engine in this process.
    """
    from prefect_media.cli.demo_servers import PrefectServer

    server = PrefectServer()
    server.env |= RECOMMENDED
    with server:
        yield server


@pytest.fixture(autouse=True)
def events_go_where_the_test_says(request):
    """Prefect sends the events of a process to the server that was the first to be used; with each test, that ends."""
    yield
    if "prefect_server" in request.fixturenames and (worker := sys.modules.get("prefect.events.worker")):
        with ThreadPoolExecutor(1) as pool:  # the loop of this thread may be that of the browser's driver
            pool.submit(worker.EventsWorker.drain_all, 30).result()


class Family:
    """A process and all it starts, told by a mark in the environment that children inherit."""

    def __init__(self):
        self.env = {"PREFECT_MEDIA_TEST_FAMILY": uuid.uuid4().hex}

    def members(self):
        """The command lines of those that are alive, by their process ids."""
        [mark] = (f"{name}={value}".encode() for name, value in self.env.items())
        alive = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it ended meanwhile, or is not ours to look at
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    alive[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return alive

    def wait_for(self, count, within=120.0):
        """Until so many are alive. A slow machine imports Prefect for half a minute."""
        deadline = time.monotonic() + within
        while len(self.members()) < count:
            assert time.monotonic() < deadline, f"after {within:g} s there are {self.members()}"
            time.sleep(0.05)

    def gone(self, within=10.0):
        """Whether nobody is left, now or a little later."""
        deadline = time.monotonic() + within
        while self.members() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.members()


@pytest.fixture
def family():
    """Give `family.env` to a process; `family.gone()` tells whether it and its children are."""
    family = Family()
    yield family
    for process in family.members():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


class Buckets:
    """An S3 server: `url`, and a `store()` in a bucket of its own as often as you like."""

    def __init__(self, server):
        self.server = server
        self.url = server.url
        self.key, self.secret = server.KEY, server.SECRET

    def bucket(self):
        """The name of a fresh, empty bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.server.create(name)
        return name

    def store(self, prefix=""):
        """A `MediaStore` in a fresh bucket."""
        from prefect_media.blocks import MediaStore

        return MediaStore(
            url=f"s3://{self.bucket()}/{prefix}",
            endpoint_url=self.url,
            region="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )

    @property
    def env(self):
        """The environment of a subprocess that is to reach the buckets by `s3://` URLs alone."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
        }


@pytest.fixture(scope="session")
def s3():
    """An S3 server behind a real socket; `s3.store()` is a `MediaStore` in a bucket of its own."""
    from prefect_media.cli.demo_servers import BucketServer

    with BucketServer() as server:
        yield Buckets(server)


@pytest.fixture(scope="session")
def nursery():
    """Starts processes that buy, and that die where a test says: see `tests/support/buyer.py`."""
    from buyer import Nursery

    with Nursery() as nursery:
        yield nursery


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path: Path):
    """An empty `MediaStore`, once in a folder and once in a bucket."""
    from prefect_media.blocks import MediaStore

    if request.param == "folder":
        return MediaStore(url=str(tmp_path / "store"))
    return request.getfixturevalue("s3").store("some/prefix")
