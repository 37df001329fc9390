"""The file beside every stored image and video: complete, written in time, and never in the way of what was paid."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import urllib.request

import pytest
from buyer import MODEL, clip, connection, terms
from PIL import Image
from watched_bucket import WatchedBuckets

import prefect_media
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.sidecar import Sidecar
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageEditRequest, ImageRequest, RemixRequest
from prefect_media.simulator import Fault, Simulator
from prefect_media.storage.store import storage_at

KEY = "sk-never-on-record"
STILLS = ImageRequest(prompt="A neon fox", model="gpt-image-2", size="1024x1024", n=2)


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def simulator():
    with Simulator(latency=0.05) as simulator:
        yield simulator


@pytest.fixture
def storage(store):
    return store.storage()


@pytest.fixture
def folder(tmp_path):
    return storage_at(str(tmp_path / "store"))


@pytest.fixture
def watched(s3):
    watched = WatchedBuckets(s3)
    yield watched
    watched.close()


def picture(colour):
    file = io.BytesIO()
    Image.new("RGB", (1280, 720), colour).save(file, "PNG")
    return file.getvalue()


def sha(data):
    return hashlib.sha256(data).hexdigest()


async def beside(storage, asset):
    key = storage.key_of(asset.uri)
    return Sidecar.model_validate_json(await storage.read(f"{key}.json"))


async def names(storage):
    return sorted([key.rpartition("/")[2] async for key, _ in storage.list("media/")])


async def test_beside_a_video(simulator, storage):
    line = connection(simulator, api_key=KEY)
    how = terms(flow_run_id="019ab8a2-5d7e-7c31-b1a4-3f0e9d2c7b61", flow_name="storyboard")
    asset = await buy_video(line, clip(image=picture("red"), size="1280x720"), storage, how)
    found = await beside(storage, asset)
    [record] = [record async for record in Ledger(storage).purchases()]
    assert found.asset == asset == record.assets[0]
    assert found.request == record.request
    assert found.request["prompt"] == "a paper boat"
    assert found.lineage.references == (sha(picture("red")),)
    assert found.lineage.remixed_from is None
    purchase = found.purchase
    assert (purchase.key, purchase.scope, purchase.attempt) == (record.key, "test", 1)
    assert (purchase.flow_run_id, purchase.flow_name) == (how.flow_run_id, "storyboard")
    assert found.versions["prefect-media"]
    assert {"openai", "prefect", "python"} <= set(found.versions)
    assert storage.key_of(asset.uri).split("/")[2] == "storyboard-9d2c7b61"
    assert KEY.encode() not in await storage.read(f"{storage.key_of(asset.uri)}.json")

    remix = await buy_video(line, RemixRequest(video=asset, prompt="at night"), storage, how)
    lineage = (await beside(storage, remix)).lineage
    assert (lineage.remixed_from, lineage.references) == (asset.source.job_id, ())


async def test_beside_every_image(simulator, storage):
    assets = await buy_images(connection(simulator), STILLS, storage, terms())
    assert [asset.uri.rpartition("/")[2][:14] for asset in assets] == ["01-a-neon-fox-", "02-a-neon-fox-"]
    for asset in assets:
        found = await beside(storage, asset)
        assert found.asset == asset, "with what is only known once all have arrived, such as its cost"
        assert found.asset.source.usage == asset.source.usage is not None
    keys = [asset.uri.rpartition("/")[2] for asset in assets]
    assert await names(storage) == sorted([*keys, *(f"{key}.json" for key in keys)])


async def test_beside_an_edit(simulator, folder):
    mask = io.BytesIO()
    Image.new("RGBA", (1280, 720)).save(mask, "PNG")
    request = ImageEditRequest(
        prompt="a hat", model="gpt-image-2", images=[picture("red"), picture("blue")], mask=mask.getvalue()
    )
    [asset] = await buy_images(connection(simulator), request, folder, terms())
    lineage = (await beside(folder, asset)).lineage
    assert lineage.references == (sha(picture("red")), sha(picture("blue")))
    assert lineage.mask == sha(mask.getvalue())


async def test_its_form_is_described():
    schema = Sidecar.model_json_schema()
    assert schema["properties"]["schema_version"]["const"] == 1
    for form in (schema, *schema["$defs"].values()):
        for name, field in form["properties"].items():
            assert field.get("description"), name


async def test_found_again_it_is_left_alone(simulator, storage):
    first = await buy_video(connection(simulator), clip(), storage, terms())
    before = await storage.fetch(f"{storage.key_of(first.uri)}.json")
    assert await buy_video(connection(simulator), clip(), storage, terms()) == first
    assert await storage.fetch(f"{storage.key_of(first.uri)}.json") == before


@pytest.mark.parametrize("kind", ["video", "images"])
async def test_written_when_the_content_is_whole_and_before_it_counts_as_done(simulator, watched, kind):
    storage = watched.store().storage()
    if kind == "video":
        await buy_video(connection(simulator), clip(), storage, terms())
    else:
        await buy_images(connection(simulator), STILLS, storage, terms())
    put = [asked.path.partition("?")[0] for asked in watched.asked("PUT")]
    media = [at for at, path in enumerate(put) if "/media/" in path and not path.endswith(".json")]
    sidecars = [at for at, path in enumerate(put) if "/media/" in path and path.endswith(".json")]
    done = max(at for at, path in enumerate(put) if "/ledger/purchases/" in path)
    assert len(media) == len(sidecars) == (1 if kind == "video" else 2)
    assert max(media) < min(sidecars)
    assert max(sidecars) < done


@pytest.mark.parametrize("kind", ["video", "images"])
async def test_a_store_that_hesitates_gets_it_all_the_same(simulator, watched, kind):
    refused = []

    def refuse(asked):
        if asked.method == "PUT" and "/media/" in asked.path and ".json" in asked.path and len(refused) < 2:
            refused.append(asked)
            return 408, b""
        return None

    watched.refuse = refuse
    storage = watched.store().storage()
    if kind == "video":
        assets = [await buy_video(connection(simulator), clip(), storage, terms())]
    else:
        assets = await buy_images(connection(simulator), STILLS, storage, terms())
    assert len(refused) == 2
    for asset in assets:
        assert (await beside(storage, asset)).asset == asset


@pytest.mark.parametrize("kind", ["video", "images"])
@pytest.mark.parametrize("status", [403, 408])
async def test_what_was_paid_for_does_not_depend_on_it(simulator, watched, kind, status, caplog):
    """Refused for good, or for too long: the purchase is done, and the log says what is missing."""

    def refuse(asked):
        return (status, b"") if asked.method == "PUT" and "/media/" in asked.path and ".json" in asked.path else None

    watched.refuse = refuse
    storage = watched.store().storage()
    with caplog.at_level(logging.WARNING, "prefect_media"):
        if kind == "video":
            assets = [await buy_video(connection(simulator), clip(), storage, terms())]
        else:
            assets = await buy_images(connection(simulator), STILLS, storage, terms())
    [record] = [record async for record in Ledger(storage).purchases()]
    assert (record.state, record.assets) == ("done", tuple(assets))
    assert not [name for name in await names(storage) if name.endswith(".json")]
    told = [each.getMessage() for each in caplog.records if "could not be written" in each.getMessage()]
    assert len(told) == len(assets)
    assert all(f"the ledger has the same under {record.key[:12]}" in each for each in told)


@pytest.mark.parametrize("kind", ["video", "images"])
async def test_forgotten_and_bought_anew_both_stay_what_they_are(simulator, storage, kind):
    """On the same day, with the same words: the second never lies where the first one does."""

    async def buy():
        if kind == "video":
            return [await buy_video(connection(simulator), clip(), storage, terms())]
        return await buy_images(connection(simulator), STILLS, storage, terms())

    first = await buy()
    [record] = [record async for record in Ledger(storage).purchases()]
    await Ledger(storage).forget(record.key)
    second = await buy()
    assert {asset.uri for asset in first}.isdisjoint(asset.uri for asset in second)
    for asset in (*first, *second):
        assert sha(await asset.aread_bytes()) == asset.sha256
        assert (await beside(storage, asset)).asset == asset


async def test_content_that_is_not_whole_has_none(simulator, folder):
    simulator.faults.append(Fault("GET", "/content$", "corrupt", times=None))
    with pytest.raises(prefect_media.errors.DownloadCorrupt):
        await buy_video(connection(simulator), clip(), folder, terms())
    assert await names(folder) == []


async def test_what_is_stored_is_what_the_provider_sent(simulator, folder):
    """Nothing of it goes into the media themselves, which would break their signatures."""
    asset = await buy_video(connection(simulator), clip(), folder, terms())
    url = f"{simulator.url}/videos/{simulator.jobs[0].id}/content"
    request = urllib.request.Request(url, headers={"Authorization": "Bearer sk-anybody"})
    sent = await asyncio.to_thread(lambda: urllib.request.urlopen(request).read())
    assert sent == await asset.aread_bytes()
    assert json.loads(await folder.read(f"{folder.key_of(asset.uri)}.json"))["request"]["model"] == MODEL


async def test_a_template_that_can_not_work_is_refused_before_anything_is_bought(simulator, folder, configure):
    configure(key_template="{date}/{words}")
    for buy in (
        lambda: buy_video(connection(simulator), clip(), folder, terms()),
        lambda: buy_images(connection(simulator), STILLS, folder, terms()),
    ):
        with pytest.raises(ValueError, match=r"lacks \{hash\}, which tells purchases apart"):
            await buy()
    assert simulator.requests == []
    assert [key async for key, _ in folder.list()] == []


async def test_a_template_that_changed_meanwhile(simulator, folder, configure):
    """It counts for jobs under way; what is done stays where it is, also when it has to be fetched again."""
    first = await buy_video(connection(simulator), clip(), folder, terms())
    configure(key_template="mine/{hash}-{index}")
    assert (await buy_video(connection(simulator), clip(), folder, terms())).uri == first.uri
    await folder.delete(folder.key_of(first.uri))
    again = await buy_video(connection(simulator), clip(), folder, terms())
    assert (again.uri, again.sha256) == (first.uri, first.sha256)
    assert len(simulator.jobs) == 1
    other = await buy_video(connection(simulator), clip(variant=1), folder, terms())
    assert folder.key_of(other.uri).startswith("media/mine/")
