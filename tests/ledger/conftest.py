"""A provider and stores for tests of the ledger."""

from __future__ import annotations

import pytest

from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at


@pytest.fixture
def simulator():
    with Simulator(latency=0.05) as simulator:
        yield simulator


@pytest.fixture
def storage(store):
    return store.storage()


@pytest.fixture
def folder(tmp_path):
    """One kind of store is enough where only requests and answers matter."""
    return storage_at(str(tmp_path / "store"))


@pytest.fixture
def short_lease(configure):
    configure(lease_seconds=0.4)
    return 0.4
