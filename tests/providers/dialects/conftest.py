"""A simulator of each kind of server, over real sockets."""

import pytest
from dialect_servers import NAMES

from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at


@pytest.fixture(scope="module")
def servers():
    """A simulator of every kind, all running."""
    running = {name: Simulator(profile=name, latency=0.05) for name in NAMES}
    for server in running.values():
        server.start()
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(params=NAMES)
def server(request, servers):
    server = servers[request.param]
    server.name = request.param
    del server.requests[:], server.jobs[:], server.faults[:]
    return server


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path))
