"""`az://` on a real server: what a store must be able to do, purchases, a race, and processes that are killed."""

import asyncio
import base64
import os
import signal
import uuid

import pytest
from azurite import ACCOUNT, KEY, Azurite, Missing, install
from buyer import MODEL, Nursery, clip, connection, plan, terms
from stores import MB, address, body, child, complaint, count_together, keys, upload, whole

from prefect_media.errors import StoreError
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import ImageRequest
from prefect_media.simulator import Simulator
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import Storage


@pytest.fixture(scope="session")
def azurite(tmp_path_factory):
    try:
        script = install()
    except Missing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    with Azurite(script, tmp_path_factory.mktemp("azurite")) as azurite:
        yield azurite


LOGIN = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}


@pytest.fixture(autouse=True)
def login(monkeypatch, short_pauses):
    for name in list(os.environ):
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture(scope="module")
def nursery():
    """Its processes have the login, too."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in LOGIN.items():
            environment.setenv(name, value)
        with Nursery() as nursery:
            yield nursery


@pytest.fixture
def container(azurite):
    name = f"films-{uuid.uuid4().hex[:8]}"
    azurite.create(name)
    return name


@pytest.fixture
def store(azurite, container):
    return Storage(f"az://{container}/some prefix/ü", StorageOptions(endpoint_url=azurite.url))


@pytest.fixture
def simulator():
    with Simulator(latency=0.25) as simulator:
        yield simulator


async def test_check(store):
    await store.check()
    await store.ensure_conditional()
    assert await keys(store) == {}


async def test_by_connection_string(azurite, container, login):
    login.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    login.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    string = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={azurite.url};"
    await Storage(f"az://{container}/by field", StorageOptions(azure_connection_string=string)).check()
    login.setenv("AZURE_STORAGE_CONNECTION_STRING", string)
    await Storage(f"az://{container}/by string").check()


async def test_what_goes_wrong(azurite, container, login):
    options = StorageOptions(endpoint_url=azurite.url)
    assert "az://never-made does not exist" in await complaint(Storage("az://never-made", options))
    wrong = base64.b64encode(b"the key of another account").decode()
    login.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    said = await complaint(Storage(f"az://{container}", options))
    assert "do not allow this (403 AuthorizationFailure)" in said and wrong not in said


async def test_media(store):
    """Small and large, whole and in parts; links; copies inside the server."""
    small, large = whole(1000), whole(12 * MB)
    await upload(store, "a.mp4", body(1000), size=1000)
    await upload(store, "b.mp4", body(12 * MB), size=12 * MB)
    await upload(store, "c.mp4", body(12 * MB))
    await store.copy("b.mp4", store, "d.mp4", content_type="video/mp4")
    assert await store.read("a.mp4") == small
    assert await store.read("b.mp4") == await store.read("c.mp4") == await store.read("d.mp4") == large
    assert await keys(store) == {"a.mp4": 1000, "b.mp4": 12 * MB, "c.mp4": 12 * MB, "d.mp4": 12 * MB}
    with pytest.raises(StoreError, match="there is nothing at"):
        await store.read("never.mp4")


async def test_a_video_and_an_image_are_bought_once(store, simulator):
    image = ImageRequest(prompt="a paper boat", model=MODEL, size="64x64")
    for _ in range(2):
        video = await buy_video(connection(simulator), clip(), store, terms())
        [still] = await buy_images(connection(simulator), image, store, terms())
    assert len(simulator.jobs) == len(simulator.images) == 1
    kept = await keys(store)
    for asset in (video, still):
        key = store.key_of(asset.uri)
        assert kept[key] == asset.size_bytes and f"{key}.json" in kept
    assert [record.state async for record in Ledger(store).purchases()] == ["done", "done"]


async def test_eight_processes_want_the_same(store, simulator, nursery):
    order = plan(simulator, store, clip())
    buyers = [nursery.start(order) for _ in range(8)]
    assets = [asset for buyer in buyers for asset in await asyncio.to_thread(lambda buyer=buyer: buyer.assets)]
    assert len(assets) == 8 and len({asset.uri for asset in assets}) == 1
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize("point", ["after the reply", "within the download", "after the store"])
async def test_a_buyer_that_is_killed(point, store, simulator, nursery):
    killed = nursery.start(plan(simulator, store, clip(), die=point))
    assert await asyncio.to_thread(killed.wait) == -signal.SIGKILL
    [asset] = await asyncio.to_thread(lambda: nursery.start(plan(simulator, store, clip())).assets)
    assert len(simulator.jobs) == 1
    assert await store.size(store.key_of(asset.uri)) == asset.size_bytes


async def test_killed_in_the_middle_of_an_upload(store):
    """The key never exists, and the next process can write it."""
    script = """
def body():
    for _ in range(20):
        yield bytes(1024 * 1024)
    print("flowing", flush=True)
    time.sleep(60)
asyncio.run(upload("v.mp4", body()))
"""
    with child(script, address(store)) as process:
        assert await asyncio.to_thread(process.stdout.readline) == "flowing\n"
        process.send_signal(signal.SIGKILL)
    assert await keys(store) == {} and await store.size("v.mp4") is None
    await upload(store, "v.mp4", body(1000))
    assert await keys(store) == {"v.mp4": 1000}


async def test_eight_processes_count(store):
    """No update is lost between processes."""
    await store.create("ledger/counter", b"0")
    await count_together(store)
    assert await store.read("ledger/counter") == b"80"
