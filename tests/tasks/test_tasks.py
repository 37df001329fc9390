"""The tasks in Prefect's real engine: sync and async, blocks by name, retries, publishing, the gallery."""

import inspect
import json

import httpx
import pytest
from prefect import flow
from prefect.artifacts import Artifact
from prefect.states import Failed
from prefect_media.flows.storyboard import storyboard
from pydantic import SecretStr

import prefect_media
from prefect_media import (
    Asset,
    AzureOpenAICredentials,
    ImageRequest,
    Manifest,
    MediaStore,
    OpenAICredentials,
    RemixRequest,
    VideoRequest,
    agenerate_images,
    agenerate_video,
    apublish,
    aremix_video,
    generate_images,
    generate_video,
    publish,
    remix_video,
)
from prefect_media.errors import ContentRejected, InvalidRequest, RateLimited
from prefect_media.simulator import Fault

pytestmark = pytest.mark.usefixtures("prefect")

STILL = ImageRequest(prompt="a paper boat", model="gpt-image-2", size="1280x720")
MOTION = VideoRequest(prompt="it sails", model="sora-2", seconds=4, size="1280x720")
TWINS = [
    "generate_images",
    "generate_video",
    "remix_video",
    "publish",
    "edit_video",
    "extend_video",
    "submit_video",
    "wait_for_video",
    "fetch_video",
]


@pytest.mark.parametrize("name", TWINS)
def test_twins_are_tasks_with_the_same_signature(name):
    twin, original = getattr(prefect_media, name), getattr(prefect_media, f"a{name}")
    assert not inspect.iscoroutinefunction(twin.fn)
    assert inspect.iscoroutinefunction(original.fn)
    assert inspect.signature(twin.fn) == inspect.signature(original.fn)
    assert twin.fn.__name__ == name
    assert f"sync twin of `a{name}`" in twin.fn.__doc__
    assert twin.name == original.name == name
    assert (twin.retries, twin.retry_jitter_factor) == (original.retries, original.retry_jitter_factor) == (4, 0.5)


def test_a_sync_flow_of_sync_tasks(media_credentials, store):
    @flow
    def make() -> Manifest:
        [still] = generate_images(media_credentials, STILL, store=store)
        clip = generate_video(media_credentials, MOTION.model_copy(update={"image": still}), store=store)
        remix = remix_video(media_credentials, RemixRequest(video=clip, prompt="at night"), store=store)
        return publish([still, clip, remix], store, prefix="out")

    manifest = make()
    assert [asset.kind for asset in manifest.assets] == ["image", "video", "video"]
    assert json.loads(_read(store, "out/manifest.json"))["assets"][0]["sha256"] == manifest.assets[0].sha256
    for asset in manifest.assets:
        assert "/out/" in asset.uri
        assert len(asset.read_bytes()) == asset.size_bytes


async def test_an_async_flow_of_async_tasks(media_credentials, store):
    @flow
    async def make() -> Asset:
        [still] = await agenerate_images(media_credentials, STILL, store=store)
        clip = await agenerate_video(media_credentials, MOTION.model_copy(update={"image": still}), store=store)
        return await aremix_video(media_credentials, RemixRequest(video=clip, prompt="at night"), store=store)

    remix = await make()
    assert remix.source.operation == "remix"
    assert remix.source.remixed_from


def test_submit_and_map(media_simulator, store):
    @flow
    def make() -> list[Asset]:
        requests = [STILL.model_copy(update={"prompt": prompt}) for prompt in ("one", "two", "three")]
        from prefect import unmapped

        images = generate_images.map(unmapped(media_simulator.credentials), requests, store=unmapped(store))
        clip = generate_video.submit(media_simulator.credentials, MOTION, store=store)
        return [*(image for [image] in images.result()), clip.result()]

    assets = make()
    assert [asset.kind for asset in assets] == ["image", "image", "image", "video"]
    assert len({asset.sha256 for asset in assets}) == 4
    assert (len(media_simulator.images), len(media_simulator.jobs)) == (3, 1)


async def test_blocks_by_name_and_the_default_store(media_simulator, tmp_path, configure):
    await media_simulator.credentials.asave("by-name", overwrite=True)
    await media_simulator.azure_credentials.asave("by-name-azure", overwrite=True)
    await MediaStore(url=str(tmp_path / "block")).asave("by-name", overwrite=True)

    @flow
    async def make(credentials: str, store: str | None) -> Asset:
        [asset] = await agenerate_images(credentials, STILL, store=store)
        return asset

    assert (await make("by-name", "by-name")).uri.startswith((tmp_path / "block").as_uri())
    assert (await make("openai-media-credentials/by-name", "media-store/by-name")).source.provider == "openai"
    assert (await make("by-name-azure", str(tmp_path / "folder"))).source.provider == "azure"
    configure(store=tmp_path / "default")
    assert (await make("by-name", None)).uri.startswith((tmp_path / "default").as_uri())
    configure(store=None)
    assert "/media/media/" in (await make("by-name", None)).uri, "the default is a folder under the Prefect home"


@pytest.mark.parametrize("twin", [generate_images, agenerate_images], ids=["sync", "async"])
def test_what_passes_by_itself_is_tried_again(media_simulator, tmp_path, twin):
    hurried = twin.with_options(retry_delay_seconds=0.05)
    busy = Fault("POST", "/images", "answer", times=2, status=429, body={"error": {"message": "slow down"}})
    media_simulator.faults.append(busy)
    [asset] = _in_flow(hurried, media_simulator.credentials, STILL, store=str(tmp_path))
    assert asset.kind == "image"
    assert busy.hits == 2
    assert len(media_simulator.images) == 1


@pytest.mark.parametrize("twin", [generate_images, agenerate_images], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (STILL.model_copy(update={"prompt": "forbidden"}), ContentRejected),
        (STILL.model_copy(update={"size": "1000x1000"}), InvalidRequest),
    ],
)
def test_what_does_not_is_raised_at_once(media_simulator, tmp_path, twin, request_, error):
    with pytest.raises(error):
        _in_flow(
            twin.with_options(retry_delay_seconds=0.05), media_simulator.credentials, request_, store=str(tmp_path)
        )
    assert len(media_simulator.requests) == (error is ContentRejected)


def test_trying_again_has_an_end(media_simulator, tmp_path):
    busy = Fault("POST", "/images", "answer", times=None, status=429, body={"error": {"message": "slow down"}})
    media_simulator.faults.append(busy)
    with pytest.raises(RateLimited):
        _in_flow(
            generate_images.with_options(retry_delay_seconds=0.05),
            media_simulator.credentials,
            STILL,
            store=str(tmp_path),
        )
    assert busy.hits == 5


def _in_flow(task, *args, **kwargs):
    if inspect.iscoroutinefunction(task.fn):
        import asyncio

        @flow
        async def run():
            return await task(*args, **kwargs)

        return asyncio.run(run())

    @flow
    def run_sync():
        return task(*args, **kwargs)

    return run_sync()


async def test_results_are_small_references_and_no_secret_is_in_them(media_credentials, tmp_path):
    state = await agenerate_images(media_credentials, STILL, store=str(tmp_path), scope="x", return_state=True)
    result = await state.aresult()
    text = json.dumps([asset.model_dump(mode="json") for asset in result])
    assert len(text) < 3000
    assert "sk-simulated" not in text


async def test_publishing_twice_writes_the_same_keys(media_credentials, store, tmp_path):
    [still] = await agenerate_images.fn(media_credentials, STILL, store=str(tmp_path / "work"), scope="x")
    first = await apublish.fn(still, store)
    again = await apublish.fn(still, store)
    assert first.uri == again.uri
    assert first.assets == again.assets
    assert sorted([key async for key, _ in store.storage().list("")]) == sorted(
        store.storage().key_of(uri) for uri in (first.uri, first.assets[0].uri)
    )
    assert first.assets[0].read_bytes() == still.read_bytes()


async def test_the_gallery_shows_every_asset(media_credentials, s3, tmp_path):
    store = s3.store()
    manifest = await storyboard(media_credentials, STILL, MOTION, "at night", store=str(tmp_path), destination=store)
    artifact = await Artifact.aget("storyboard")
    text = artifact.data
    assert text.count("data:image/jpeg;base64,") == 3
    for asset in manifest.assets:
        assert asset.uri in text
        assert asset.sha256 in text
    assert len(text) < 200_000
    url = manifest.assets[1].url()
    async with httpx.AsyncClient() as client:
        played = (await client.get(url)).content
    assert played == manifest.assets[1].read_bytes(), "the signed link plays the video"


def test_retry_condition_looks_at_the_error_itself():
    from prefect_media.tasks.retried import worth_retrying

    assert worth_retrying(None, None, Failed(data=RateLimited("slow")))
    assert not worth_retrying(None, None, Failed(data=InvalidRequest("no")))
    assert not worth_retrying(None, None, Failed(data=ValueError("no")))


def test_a_retired_model_is_refused_in_the_task_itself(tmp_path):
    credentials = AzureOpenAICredentials(base_url="https://me.openai.azure.com", api_key=SecretStr("k"))
    with pytest.raises(prefect_media.errors.ModelRetired):
        generate_video.fn(credentials, MOTION, store=str(tmp_path), scope="x")
    with pytest.raises(prefect_media.errors.ModelRetired):
        generate_video.fn(OpenAICredentials(api_key=SecretStr("k")), MOTION, store=str(tmp_path), scope="x")


def _read(store, key):
    from prefect_media.runtime.sync import run_sync

    return run_sync(store.storage().read(key))
