"""A provider whose batches take a moment, and processes that buy."""

from __future__ import annotations

import pytest

from prefect_media.simulator import Simulator


@pytest.fixture(autouse=True)
def quick(short_pauses):
    """Looks and retries of all tests here wait for milliseconds."""


@pytest.fixture
def simulator():
    with Simulator(latency=0.3) as simulator:
        yield simulator
