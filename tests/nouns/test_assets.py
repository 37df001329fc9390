"""References to what was made: saved to files, also when that goes wrong."""

import pytest

from prefect_media import Asset
from prefect_media.errors import StoreError
from prefect_media.storage.store import storage_at


async def test_saving_leaves_nothing_behind_when_it_fails(tmp_path):
    storage = storage_at(str(tmp_path / "store"))
    await storage.put("media/boat.png", b"boat", content_type="image/png")
    asset = Asset(uri=storage.uri("media/boat.png"), kind="image", content_type="image/png", size_bytes=4, sha256="x")
    folder = tmp_path / "out"
    folder.mkdir()
    assert await asset.asave_to(folder) == folder / "boat.png"
    assert (await asset.asave_to(tmp_path / "new" / "a.png")).read_bytes() == b"boat"
    await storage.delete("media/boat.png")
    with pytest.raises(StoreError):
        await asset.asave_to(folder / "b.png")
    assert [file.name for file in folder.iterdir()] == ["boat.png"]
