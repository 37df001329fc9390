"""Shops whose provider and store break: see `film_shop`."""

import pytest
from faulty_server import FaultyBuckets, FaultyProvider
from film_shop import FILM, Shop

from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at


@pytest.fixture
def open_shop(request, tmp_path):
    """`open_shop("folder")` or `open_shop("s3")`."""
    shops = []
    with Simulator(latency=0.05) as simulator:

        def open_(kind, film=FILM):
            buckets = FaultyBuckets(request.getfixturevalue("s3")) if kind == "s3" else None
            storage = buckets.storage() if buckets else storage_at(str(tmp_path / "store"))
            shops.append(Shop(simulator, FaultyProvider(simulator, film), storage, buckets))
            return shops[-1]

        yield open_
        for shop in shops:
            shop.provider.close()
            if shop.buckets:
                shop.buckets.close()
            assert shop.checked
            shop.nothing_left()


@pytest.fixture
def shop(open_shop):
    """One kind of store is enough where only the way to it matters."""
    return open_shop("folder")


@pytest.fixture
def s3_shop(open_shop):
    return open_shop("s3")
