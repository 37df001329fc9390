"""Fixtures for any test suite: `media_simulator`, a running provider, and `media_credentials` for it.

    def test_my_flow(media_credentials):
        assert my_flow(media_credentials).kind == "video"

pytest loads this file in every session, so nothing but pytest is imported before a fixture is used: names of these
packages load on first use.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import prefect_media
from prefect_media import simulator


@pytest.fixture
def media_simulator() -> Iterator[simulator.Simulator]:
    """A running `Simulator`, fresh for each test."""
    with simulator.Simulator() as running:
        yield running


@pytest.fixture
def media_credentials(media_simulator: simulator.Simulator) -> prefect_media.OpenAICredentials:
    """`OpenAICredentials` that lead to `media_simulator`."""
    return media_simulator.credentials
