"""A store that an earlier version wrote is read as if it were ours: nothing in it is bought or copied again.

`tests/data/store-0.1.0` was written by version 0.1.0 at commit 79ea72d, against two simulators on the ports below, into
the folder that its addresses still name.
"""

import json
import shutil
from pathlib import Path

import pytest

from prefect_media import (
    Budget,
    ImageBatch,
    ImageEditRequest,
    ImageRequest,
    Manifest,
    VideoRequest,
    aedit_images,
    afetch_image_batch,
    agenerate_images,
    agenerate_video,
    apublish,
    asubmit_image_batch,
)
from prefect_media.errors import ContentRejected
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.sidecar import Sidecar
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at

WRITTEN_AT = "file:///tmp/store"
IMAGES, VIDEOS = 18611, 18612
LOOK = {"model": "gpt-image-2", "size": "1024x640", "output_format": "webp", "output_compression": 10}


@pytest.fixture
def old(tmp_path):
    """The store of before, in a folder of its own."""
    target = tmp_path / "store"
    shutil.copytree(Path(__file__).parents[1] / "data" / "store-0.1.0", target)
    for path in target.rglob("*.json*"):
        path.write_text(path.read_text().replace(WRITTEN_AT, target.as_uri()))
    return str(target)


@pytest.fixture
def providers():
    """The two servers it was bought at, who would sell again."""
    with Simulator(port=IMAGES) as images, Simulator(profile="vllm-omni", port=VIDEOS) as videos:
        yield images, videos
        assert images.images == images.batches == videos.jobs == []


async def test_nothing_is_bought_again(old, providers):
    images, videos = providers
    terms = {"store": old, "scope": "forever", "budget": Budget(usd=5, period="forever", unpriced_usd=0.1)}

    boats = await agenerate_images.fn(images.credentials, ImageRequest(prompt="a paper boat", n=2, **LOOK), **terms)
    edit = ImageEditRequest(prompt="at night", images=[boats[0]], **LOOK)
    [night] = await aedit_images.fn(images.credentials, edit, **terms)
    drift = VideoRequest(prompt="a boat drifts", model="wan-2.2", size="128x128", seconds=1)
    clip = await agenerate_video.fn(videos.credentials, drift, **terms)
    with pytest.raises(ContentRejected):
        refused = ImageRequest(prompt="refused forbidden", model="gpt-image-2", size="1024x640")
        await agenerate_images.fn(images.credentials, refused, **terms)

    for asset in (*boats, night, clip):
        assert len(await asset.aread_bytes()) == asset.size_bytes
    assert [asset.kind for asset in (*boats, night, clip)] == ["image", "image", "image", "video"]


async def test_a_batch_is_found(old, providers):
    images, _ = providers
    requests = [ImageRequest(prompt=f"boat {number}", **LOOK) for number in (1, 2)]
    batch = await asubmit_image_batch.fn(images.credentials, requests, store=old, scope="forever")
    assert isinstance(batch, ImageBatch) and batch.count == 2
    results = await afetch_image_batch.fn(images.credentials, batch, store=old)
    assert [len(result.assets) for result in results] == [1, 1]


async def test_every_record_is_read_and_written_back_the_same(old):
    """What an older version wrote means the same to this one, and what this one adds has a default."""
    ledger = Ledger(storage_at(old))
    records = [record async for record in ledger.purchases()]
    assert sorted(record.state for record in records) == ["done"] * 6 + ["failed", "submitted"]
    for record in records:
        path = Path(old) / "ledger" / "purchases" / f"{record.key}.json"
        before, after = json.loads(path.read_text()), json.loads(record.model_dump_json())
        assert {name: after[name] for name in before} == before


async def test_sidecars_and_manifest_are_read(old):
    sidecars = sorted(Path(old, "media").rglob("*.json"))
    assert len(sidecars) == 6
    for path in sidecars:
        assert Sidecar.model_validate_json(path.read_text()).asset.size_bytes == path.with_suffix("").stat().st_size
    manifest = await Manifest.aload(f"{old}/published/manifest.json")
    assert (await manifest.averify()).ok
    before = {path: path.stat().st_mtime_ns for path in Path(old, "published").iterdir() if path.suffix != ".json"}
    await apublish.fn(list(manifest.assets), old, prefix="published")
    assert before == {path: path.stat().st_mtime_ns for path in before}
