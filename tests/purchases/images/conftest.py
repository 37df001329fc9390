"""A provider of images, what it was asked, a picture to edit, and a folder to store in."""

import pytest
from PIL import Image

from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at


@pytest.fixture(scope="module")
def simulator():
    with Simulator() as running:
        yield running


@pytest.fixture
def seen(simulator):
    del simulator.requests[:], simulator.images[:], simulator.faults[:]
    return simulator.requests


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    path = tmp_path_factory.mktemp("still") / "still.png"
    Image.linear_gradient("L").resize((256, 256)).convert("RGB").save(path)
    return path
