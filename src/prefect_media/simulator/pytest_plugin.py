"""Fixtures for any test suite: `media_simulator`, a running provider, and `media_credentials` for it.

    def test_my_flow(media_credentials):
        assert my_flow(media_credentials).kind == "video"

pytest loads this file in every session, so nothing but pytest is imported before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prefect_media.blocks import OpenAICredentials

    from .server import Simulator


@pytest.fixture
def media_simulator() -> Iterator[Simulator]:
    """A running `Simulator`, fresh for each test."""
    from . import Simulator

    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def media_credentials(media_simulator: Simulator) -> OpenAICredentials:
    """`OpenAICredentials` that lead to `media_simulator`."""
    return media_simulator.credentials
