"""A provider whose batches take a moment, and processes that buy."""

from __future__ import annotations

import pytest
from buyer import Nursery

from prefect_media.purchases import batch_submit as batches
from prefect_media.settings import settings
from prefect_media.simulator import Simulator


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("PREFECT_MEDIA_POLL_SECONDS", "0.05")
    monkeypatch.setattr("prefect_media.providers.download.NOT_YET_PAUSES", (0.01,))
    monkeypatch.setattr(batches, "LOOKS", (0.0, 0.2, 0.4))
    settings.cache_clear()
    yield
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def simulator():
    with Simulator(latency=0.3) as simulator:
        yield simulator
