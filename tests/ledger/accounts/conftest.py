"""Prices, and a store and buckets, for tests of budgets."""

import pytest
from faulty_server import FaultyBuckets

from prefect_media import MediaStore


@pytest.fixture(autouse=True)
def prices(tmp_path, configure, short_pauses):
    """0.10 USD a second for the model that films."""
    path = tmp_path / "prices.toml"
    path.write_text('[prices."boats-1"]\nper_second = 0.1\n')
    configure(prices=path)
    return path


@pytest.fixture
def folder(tmp_path):
    return MediaStore(url=str(tmp_path / "store"))


@pytest.fixture
def buckets(s3):
    buckets = FaultyBuckets(s3)
    yield buckets
    buckets.close()
