"""A provider and stores for tests of lost replies."""

from __future__ import annotations

import pytest

from prefect_media.simulator import Simulator


@pytest.fixture
def simulator():
    with Simulator(latency=0.05) as simulator:
        yield simulator


@pytest.fixture
def storage(store):
    return store.storage()
