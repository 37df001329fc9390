"""Input that can't work is refused before anything is sent, in one sentence that says what to do."""

import pickle

import pytest
from PIL import Image
from prefect_media.tasks import agenerate_images, agenerate_video, apublish, asubmit_video, await_for_video
from pydantic import SecretStr

from prefect_media import (
    AzureOpenAICredentials,
    ImageRequest,
    MediaStore,
    OpenAICredentials,
    RemixRequest,
    VideoRequest,
)
from prefect_media.errors import AuthenticationFailed, InvalidRequest, MediaError, ModelRetired, StoreError
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.settings import settings
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at

TERMS = PurchaseOptions(scope="test", timeout=60)
OPENAI = OpenAICredentials(api_key=SecretStr("sk-x"))
AZURE = AzureOpenAICredentials(base_url="https://me.openai.azure.com", api_key=SecretStr("k"))


@pytest.mark.parametrize(
    ("credentials", "request_", "date", "successor"),
    [
        (OPENAI, ImageRequest(prompt="a", model="dall-e-3"), "2026-05-12", "gpt-image-2"),
        (OPENAI, ImageRequest(prompt="a", model="dall-e-2"), "2026-05-12", "gpt-image-2"),
        (OPENAI, ImageRequest(prompt="a", model="gpt-image-1"), "2026-10-23", "gpt-image-2.5-flare"),
        (OPENAI, VideoRequest(prompt="a", model="sora-2"), "2026-09-24", None),
        (OPENAI, VideoRequest(prompt="a", model="openai/sora-2-pro"), "2026-09-24", None),
        (AZURE, ImageRequest(prompt="a", model="dall-e-3"), "2026-03-04", "gpt-image-2"),
        (AZURE, VideoRequest(prompt="a", model="sora-2"), "2026-10-15", None),
    ],
)
async def test_a_retired_model_is_refused_with_date_and_successor(tmp_path, credentials, request_, date, successor):
    buy = buy_images if isinstance(request_, ImageRequest) else buy_video
    with pytest.raises(ModelRetired) as caught:
        await buy(credentials.connection(), request_, storage_at(str(tmp_path)), TERMS)
    assert (caught.value.date, caught.value.successor) == (date, successor)
    assert not list(tmp_path.rglob("*.json")), "nothing was intended, so nothing is on the ledger"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": "gpt-image-9"}, "gpt-image-2.6-flare"),
        ({"model": "gpt-image-2", "size": "1000x1000"}, "multiples of 16"),
        ({"model": "gpt-image-2", "quality": "hd"}, "auto, low, medium, high"),
        ({"model": "gpt-image-1.5", "size": "512x512"}, "1024x1024, 1536x1024, 1024x1536, auto"),
        ({"model": "gpt-image-2", "extra": {"generate_audio": True}}, "does not take generate_audio"),
    ],
)
async def test_images_at_openai_itself_are_checked_first(tmp_path, fields, said):
    request = ImageRequest(prompt="a", **fields)
    with pytest.raises(InvalidRequest) as caught:
        await buy_images(OPENAI.connection(), request, storage_at(str(tmp_path)), TERMS)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def png(path, size=(64, 64)):
    Image.new("RGB", size).save(path)
    return path


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("no-such-file.png", "no-such-file.png can't be read: No such file"),
        ("/", "is a folder; give a regular file"),
        (b"this is no image", "is not an image"),
        (b"", "is not an image"),
        ("data:image/png;base64", "data URL without content"),
        ("data:image/png;base64,%%%", "not base64"),
        ("data:text/plain,hello", "is not an image"),
        ("http://127.0.0.1:9/fox.png", "http://127.0.0.1:9/fox.png can't be fetched: ConnectError"),
        ("http://no-such-host.invalid/fox.png?secret=1", "http://no-such-host.invalid/fox.png can't be fetched"),
        ("s3://no-such-bucket-here/fox.png", "s3://no-such-bucket-here"),
        ("ftp://example.com/fox.png", "ftp"),
    ],
)
async def test_a_reference_that_is_no_image(media_simulator, tmp_path, image, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(settings(), "allow_private_urls", True)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    request = VideoRequest(prompt="a", model="sora-2", image=image)
    with pytest.raises(InvalidRequest) as caught:
        await buy_video(media_simulator.credentials.connection(), request, storage_at(str(tmp_path)), TERMS)
    assert said in str(caught.value)
    assert "nothing was sent" in str(caught.value)
    assert "secret=1" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not media_simulator.requests


async def test_a_reference_of_another_size_when_it_must_fit(media_simulator, tmp_path):
    image = png(tmp_path / "fox.png")
    request = VideoRequest(prompt="a", model="sora-2", size="1280x720", image=image, fit="error")
    with pytest.raises(InvalidRequest, match=r"64x64.*1280x720.*fit="):
        await buy_video(media_simulator.credentials.connection(), request, storage_at(str(tmp_path)), TERMS)
    assert not media_simulator.requests


async def test_a_cut_off_reference(media_simulator, tmp_path):
    path = tmp_path / "cut.png"
    Image.effect_noise((256, 256), 50).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    request = VideoRequest(prompt="a", model="sora-2", image=path)
    with pytest.raises(InvalidRequest, match="is not an image that can be read"):
        await buy_video(media_simulator.credentials.connection(), request, storage_at(str(tmp_path)), TERMS)
    assert not media_simulator.requests


async def test_an_asset_that_can_not_be_remixed_or_be_a_reference(media_simulator, tmp_path):
    connection, place = media_simulator.credentials.connection(), storage_at(str(tmp_path))
    [still] = await buy_images(connection, ImageRequest(prompt="a", model="gpt-image-2"), place, TERMS)
    del media_simulator.requests[:]
    with pytest.raises(InvalidRequest, match="not an Asset without a job id"):
        await buy_video(connection, RemixRequest(prompt="b", video=still), place, TERMS)
    film = still.model_copy(update={"kind": "video"})
    with pytest.raises(InvalidRequest, match="has to be an image"):
        await buy_video(connection, VideoRequest(prompt="b", model="sora-2", image=film), place, TERMS)
    assert not media_simulator.requests


async def test_a_store_that_can_not_be_written_costs_nothing(media_simulator, tmp_path, s3):
    connection = media_simulator.credentials.connection()
    (tmp_path / "file").write_text("I am no folder")
    missing = s3.store()
    missing = missing.model_copy(update={"url": "s3://no-such-bucket-here"})
    for place, said in ((storage_at(str(tmp_path / "file")), "file"), (missing.storage(), "no-such-bucket-here")):
        with pytest.raises(StoreError) as caught:
            await buy_images(connection, ImageRequest(prompt="a", model="gpt-image-2"), place, TERMS)
        assert said in str(caught.value)
        assert not caught.value.transient
    assert not media_simulator.requests


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        (OpenAICredentials(), "OPENAI_API_KEY"),
        (AzureOpenAICredentials(base_url="https://me.openai.azure.com"), "AZURE_OPENAI_AD_TOKEN"),
    ],
)
def test_no_key(credentials, said):
    with pytest.raises(AuthenticationFailed, match=said):
        credentials.get_client()


@pytest.mark.parametrize(
    "base_url", ["localhost:8000", "me.openai.azure.com", "ftp://x", "http://", "https://u:p@x/v1"]
)
def test_a_base_url_that_is_none(base_url):
    for credentials in (
        OpenAICredentials(api_key=SecretStr("k"), base_url=base_url),
        AzureOpenAICredentials(api_key=SecretStr("k"), base_url=base_url),
    ):
        with pytest.raises(InvalidRequest, match="base_url") as caught:
            credentials.connection()
        assert "u:p" not in str(caught.value)


def test_the_key_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1/")
    assert OpenAICredentials().connection().api_key == "sk-env"
    assert OpenAICredentials().connection().base_url == "http://localhost:1/v1"
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "token")
    assert AzureOpenAICredentials(base_url="https://me.openai.azure.com").connection().bearer


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scope": ""}, "scope=''"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": -5}, "timeout=-5"),
        ({"on_doubt": "hope"}, "on_doubt='hope'"),
        ({"store": "no-such-block"}, "'no-such-block'"),
    ],
)
async def test_task_options(prefect, media_simulator, tmp_path, options, said):
    request = ImageRequest(prompt="a", model="gpt-image-2")
    with pytest.raises(InvalidRequest) as caught:
        usual = {"store": str(tmp_path), "scope": "x"}
        await agenerate_images.fn(media_simulator.credentials, request, **{**usual, **options})
    assert said in str(caught.value)
    assert not media_simulator.requests


async def test_credentials_that_were_never_saved(prefect, tmp_path):
    with pytest.raises(InvalidRequest, match="no saved block 'my-openai'"):
        await agenerate_video.fn("my-openai", VideoRequest(prompt="a", model="m"), store=str(tmp_path))


async def test_nothing_to_publish(tmp_path):
    with pytest.raises(InvalidRequest, match="nothing to publish"):
        await apublish.fn([], MediaStore(url=str(tmp_path)))


def test_no_error_carries_a_key(tmp_path):
    connection = OpenAICredentials(api_key=SecretStr("sk-very-secret"), base_url="http://127.0.0.1:9/v1").connection()
    assert "sk-very-secret" not in repr(connection)
    with pytest.raises(MediaError) as caught:
        import asyncio

        request = ImageRequest(prompt="a", model="m")
        asyncio.run(buy_images(connection, request, storage_at(str(tmp_path)), TERMS))
    assert "sk-very-secret" not in repr(caught.value) + str(caught.value)
    assert b"sk-very-secret" not in pickle.dumps(caught.value)
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"sk-very-secret" not in path.read_bytes()


async def test_a_model_that_is_gone_does_not_hide_what_was_bought_from_it(media_simulator, tmp_path, monkeypatch):
    from prefect_media.catalog import data as catalog

    connection, place = media_simulator.credentials.connection(), storage_at(str(tmp_path))
    still, motion = (
        ImageRequest(prompt="a", model="dall-e-3", size="1024x1024"),
        VideoRequest(prompt="a", model="sora-2", seconds=4, aspect_ratio="16:9"),
    )
    [image] = await buy_images(connection, still, place, TERMS)
    video = await buy_video(connection, motion, place, TERMS)
    retired = catalog.catalog().models
    for name in ("dall-e-3", "sora-2"):  # as if these servers had the dates of OpenAI's
        monkeypatch.setitem(retired[name].retired, "other", retired[name].retired["openai"])
    assert await buy_images(connection, still, place, TERMS) == [image]
    assert await buy_video(connection, motion, place, TERMS) == video
    for request, buy in ((still, buy_images), (motion, buy_video)):
        with pytest.raises(ModelRetired):
            await buy(connection, request.model_copy(update={"variant": 1}), place, TERMS)
    assert (len(media_simulator.images), len(media_simulator.jobs)) == (1, 1)


CALLS = [
    (agenerate_images, {"request": [1]}, "request is a list; pass an ImageRequest; for many at once, use .map"),
    (agenerate_images, {"request": VideoRequest(prompt="a", model="m")}, "request is a VideoRequest"),
    (agenerate_images, {"request": {"model": "m"}}, "request is no ImageRequest: prompt: Field required"),
    (agenerate_video, {"request": None}, "request is None"),
    (asubmit_video, {"request": {"model": "m", "prompt": "a"}}, "request is a dict; pass a VideoRequest or"),
    (await_for_video, {"job": "video_1"}, "job is a str; pass a VideoJob as submit_video returns it"),
    (agenerate_video, {"credentials": object()}, "credentials is an object; pass OpenAICredentials"),
    (agenerate_video, {"store": 5}, "store is an int; pass a MediaStore"),
    (agenerate_video, {"store": ""}, 'store="" is empty'),
    (agenerate_video, {"timeout": "5m"}, "timeout='5m' is not a time to wait"),
    (agenerate_video, {"timeout": float("nan")}, "timeout=nan is not a time to wait"),
    (agenerate_video, {"scope": None}, "scope=None is not possible"),
    (agenerate_video, {"scope": "Forever"}, "scope='Forever' is not possible"),
    (agenerate_video, {"budget": "five"}, "budget='five' is not possible"),
]


@pytest.mark.parametrize(("task", "given", "said"), CALLS, ids=[said for *_, said in CALLS])
async def test_things_of_another_kind(media_simulator, tmp_path, task, given, said):
    usual = {"credentials": media_simulator.credentials, "store": tmp_path}
    if task is not await_for_video:
        usual["scope"] = "x"
        kind = ImageRequest if task is agenerate_images else VideoRequest
        usual["request"] = kind(prompt="a", model="m")
    with pytest.raises(InvalidRequest) as caught:
        await task.fn(**usual | given)
    assert said in str(caught.value)
    assert not [request for request in media_simulator.requests if request.method == "POST"]


async def test_a_request_as_json_has_it(media_simulator, tmp_path):
    request = ImageRequest(prompt="a", model="gpt-image-2", size="1024x1024")
    [asset] = await agenerate_images.fn(
        media_simulator.credentials, request.model_dump(mode="json"), store=tmp_path, scope="x"
    )
    assert await agenerate_images.fn(media_simulator.credentials, request, store=str(tmp_path), scope="x") == [asset]


async def test_what_is_published_has_to_be_assets(tmp_path):
    for assets in ("file:///x", [["nested"]]):
        with pytest.raises(InvalidRequest, match=r"assets has a (str|list) in it"):
            await apublish.fn(assets, tmp_path)


def test_a_prompt_of_blanks():
    with pytest.raises(ValueError, match="it contains only blanks"):
        ImageRequest(prompt=" \n", model="m")


@pytest.mark.parametrize(
    ("extra", "operation"),
    [
        ({"seconds": 12}, "generate"),
        ({"prompt": "b"}, "generate"),
        ({"image": "x"}, "generate"),
        ({"prompt": "b"}, "remix"),
    ],
)
async def test_extra_replaces_nothing_that_the_request_says_itself(media_simulator, tmp_path, extra, operation):
    """The ledger, the budget and the search after a lost reply would know nothing of it."""
    request = VideoRequest(prompt="a", model="m", seconds=4, size="64x64", extra=extra)
    if operation == "remix":
        request = RemixRequest(video="video_1", prompt="a", extra=extra)
    with pytest.raises(InvalidRequest, match=r"a field of its own|which the request sets itself"):
        await buy_video(media_simulator.credentials.connection(), request, storage_at(str(tmp_path)), TERMS)
    assert not media_simulator.jobs


async def test_extra_replaces_no_field_by_the_name_that_a_server_has_for_it(tmp_path):
    request = VideoRequest(prompt="a", model="m", seconds=4, size="1280x720", extra={"duration": 12})
    with Simulator(profile="openrouter") as server:
        line = server.credentials.model_copy(update={"dialect": "openrouter"}).connection()
        with pytest.raises(InvalidRequest, match="extra has duration, which the request sets itself"):
            await buy_video(line, request, storage_at(str(tmp_path)), TERMS)
        assert not server.jobs


@pytest.mark.parametrize("key", ["sk-TOP\nsk-SECRET", "sk-TOP\u200bSECRET", "sk-TOP\u00a0SECRET"])
@pytest.mark.parametrize("place", ["block", "environment"])
async def test_a_key_that_can_not_be_sent_is_said_without_showing_it(tmp_path, monkeypatch, key, place):
    monkeypatch.setenv("OPENAI_API_KEY", key if place == "environment" else "sk-x")
    credentials = OpenAICredentials(api_key=SecretStr(key) if place == "block" else None)
    with pytest.raises(
        AuthenticationFailed, match="the key contains an invalid character, such as a line break; paste it again"
    ) as caught:
        await agenerate_images.fn(credentials, ImageRequest(prompt="a", model="gpt-image-2"), store=str(tmp_path))
    assert "TOP" not in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert not list(tmp_path.rglob("*.json"))


def test_the_line_break_at_the_end_of_a_file_is_no_part_of_a_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x\n")
    assert OpenAICredentials().connection().api_key == "sk-x"
    with pytest.raises(AuthenticationFailed, match="the organization contains an invalid character"):
        OpenAICredentials(organization="Größe").connection()


@pytest.mark.parametrize("url", ["s3:/bucket/x", "S3:bucket", "gs:bucket", "file:/x"])
def test_a_mistyped_url_is_no_folder(url):
    with pytest.raises(StoreError, match="looks like a URL; write"):
        storage_at(url)


async def test_a_name_is_a_block_and_a_folder_has_a_slash(prefect, media_simulator, tmp_path, monkeypatch, configure):
    """Otherwise it would depend on the working directory which ledger a purchase is on."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shelf").mkdir()
    await MediaStore(url=str(tmp_path / "elsewhere")).asave("shelf", overwrite=True)
    request = ImageRequest(prompt="a", model="gpt-image-2", size="1024x1024")
    places = {
        "shelf": "elsewhere",
        "media-store/shelf": "elsewhere",
        "./shelf": "shelf",
        "out/on/shelf": "out/on/shelf",
    }
    places |= {"out/": "out", "out.d/shelf": "out.d/shelf", "out/on/shelf": "out/on/shelf"}
    for store, place in places.items():
        [asset] = await agenerate_images.fn(media_simulator.credentials, request, store=store, scope="x")
        assert asset.uri.startswith((tmp_path / place).as_uri() + "/")
    configure(store="shelf")
    [asset] = await agenerate_images.fn(media_simulator.credentials, request, scope="x")
    assert asset.uri.startswith((tmp_path / "elsewhere").as_uri())


async def test_what_is_recommended_is_alive(tmp_path):
    for request, said in (
        (ImageRequest(prompt="a", model="sora-2"), "gpt-image-2"),
        (VideoRequest(prompt="a", model="gpt-image-2"), "on other servers: give their base_url"),
    ):
        buy = buy_images if isinstance(request, ImageRequest) else buy_video
        with pytest.raises(InvalidRequest) as caught:
            await buy(OPENAI.connection(), request, storage_at(str(tmp_path)), TERMS)
        assert said in str(caught.value)
        assert "dall-e" not in str(caught.value)
