"""Every row of the specification, over a real socket: what is asked for reaches the wire and ends as an asset."""

import io
from typing import get_args, get_type_hints

import av
import pytest
from openai.types import ImageModel
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming
from PIL import Image, ImageChops, ImageStat
from pydantic import SecretStr

from prefect_media import AzureOpenAICredentials, ImageRequest, OpenAICredentials, RemixRequest, VideoRequest
from prefect_media.catalog.data import catalog
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.settings import settings
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at

TERMS = PurchaseOptions(scope="test", timeout=60)
JWT = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln"


@pytest.fixture(scope="module")
def simulator():
    with Simulator(latency=0.05) as running:
        yield running


@pytest.fixture
def seen(simulator):
    """The requests of one test."""
    del simulator.requests[:], simulator.jobs[:], simulator.images[:]
    return simulator.requests


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path))


def sent(seen, path):
    """The one body that was sent to a path."""
    [request] = [request for request in seen if request.method == "POST" and request.path.partition("?")[0] == path]
    return request.body


def difference(one, other):
    """Mean difference of two pictures, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


def look_into(asset):
    """Width, height, seconds and whether it moves, as PyAV sees them."""
    with av.open(io.BytesIO(asset.read_bytes())) as file:
        stream = file.streams.video[0]
        frames = [frame.to_image() for frame in file.decode(stream)]
        assert stream.codec_context.name == "h264"
        moves = difference(frames[0], frames[-1]) > 1
        return stream.width, stream.height, round(float(stream.duration * stream.time_base), 2), moves, frames[0]


def test_the_catalog_knows_the_image_models_and_values_of_the_installed_sdk():
    """Whatever a new version of the SDK adds has to be looked at."""
    known = catalog()
    assert literals(ImageModel) <= set(known.models)
    newest = known.families["gpt-image-2.6"]
    values = {
        "quality": set(newest.qualities) | set(known.families["dall-e-3"].qualities),
        "background": set(newest.backgrounds),
        "moderation": set(newest.moderations),
        "output_format": {*newest.formats, *newest.preview_formats},
        "complexity": set(newest.complexities),
    }
    fields = get_type_hints(ImageGenerateParamsNonStreaming)
    for field, allowed in values.items():
        assert literals(fields[field]) == allowed, field


def literals(annotation):
    """The texts a field may be."""
    if isinstance(annotation, str):
        return {annotation}
    return {text for part in get_args(annotation) for text in literals(part)}


IMAGES = [
    ({"model": "dall-e-3", "size": "1792x1024", "quality": "hd", "style": "vivid"}, (1792, 1024)),
    ({"model": "dall-e-3", "size": "1024x1792", "quality": "standard", "style": "natural", "n": 1}, (1024, 1792)),
    ({"model": "dall-e-2", "size": "256x256", "n": 10}, (256, 256)),
    ({"model": "dall-e-2", "size": "512x512", "n": 2}, (512, 512)),
    ({"model": "dall-e-2", "size": "1024x1024"}, (1024, 1024)),
    ({"model": "gpt-image-1.5", "size": "1024x1024", "quality": "low"}, (1024, 1024)),
    ({"model": "gpt-image-1.5", "size": "1536x1024", "quality": "high"}, (1536, 1024)),
    ({"model": "gpt-image-1.5", "size": "1024x1536"}, (1024, 1536)),
    ({"model": "gpt-image-1.5", "size": "auto", "quality": "auto"}, (1024, 1024)),
    ({"model": "gpt-image-2", "size": "1280x720", "quality": "medium", "n": 3}, (1280, 720)),
    ({"model": "gpt-image-2.5-flare", "quality": "xhigh", "moderation": "low"}, (1024, 1024)),
    ({"model": "gpt-image-2.5-sunburst", "output_format": "webp", "output_compression": 60}, (1024, 1024)),
    ({"model": "gpt-image-2.6-flare", "quality": "max", "background": "transparent"}, (1024, 1024)),
    ({"model": "gpt-image-2.6-sunburst", "output_format": "jpeg", "size": "1536x1024"}, (1536, 1024)),
    ({"model": "openai/gpt-image-2", "size": "1024x1024"}, (1024, 1024)),
]


@pytest.mark.parametrize(("fields", "size"), IMAGES, ids=lambda value: str(value)[:60])
async def test_images(simulator, seen, place, fields, size):
    request = ImageRequest(prompt="a paper boat", **fields)
    assets = await buy_images(simulator.credentials.connection(), request, place, TERMS)
    assert len(assets) == request.n
    body = sent(seen, "/v1/images/generations")
    model = fields["model"].removeprefix("openai/")
    assert {**body, "response_format": None} == {
        **fields,
        "model": model,
        "prompt": "a paper boat",
        "n": request.n,
        "response_format": None,
    }
    assert ("response_format" in body) == model.startswith("dall-e")
    for asset in assets:
        picture = Image.open(io.BytesIO(asset.read_bytes()))
        assert (asset.width, asset.height) == picture.size == size
        assert asset.content_type == f"image/{fields.get('output_format', 'png')}"
        assert asset.source.model == model
        assert asset.source.usage if model.startswith("gpt") else asset.source.usage is None
    assert len({asset.uri for asset in assets}) == request.n
    assert len(simulator.images) == 1


async def test_url_answers_and_base64_answers_end_as_the_same_asset(simulator, seen, place):
    connection = simulator.credentials.connection()
    encoded, linked = [
        (
            await buy_images(
                connection,
                ImageRequest(prompt="a fox", model="dall-e-3", size="1024x1024", extra={"response_format": form}),
                place,
                TERMS,
            )
        )[0]
        for form in ("b64_json", "url")
    ]
    assert encoded.sha256 == linked.sha256
    assert encoded.source.revised_prompt and linked.source.revised_prompt


VIDEOS = [
    *({"model": "sora-2", "seconds": seconds, "size": "720x1280"} for seconds in (4, 8, 12)),
    *({"model": "sora-2-pro", "seconds": seconds, "size": "1280x720"} for seconds in (10, 15, 25)),
    {"model": "openai/sora-2", "seconds": 4, "size": "1280x720"},
    {"model": "openai/sora-2-pro", "seconds": 8, "size": "1792x1024"},
]


@pytest.mark.parametrize("fields", VIDEOS, ids=lambda fields: f"{fields['model']}-{fields['seconds']}s")
async def test_text_to_video(simulator, seen, place, fields):
    request = VideoRequest(prompt="waves", **fields)
    asset = await buy_video(simulator.credentials.connection(), request, place, TERMS)
    assert sent(seen, "/v1/videos") == {
        "prompt": "waves",
        "model": fields["model"].removeprefix("openai/"),
        "seconds": str(fields["seconds"]),
        "size": fields["size"],
    }
    width, height, seconds, moves, _ = look_into(asset)
    assert f"{width}x{height}" == f"{asset.width}x{asset.height}" == fields["size"]
    assert seconds == asset.seconds == fields["seconds"]
    assert moves
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]


@pytest.mark.parametrize(
    ("ratio", "size"),
    [("16:9", "1280x720"), ("9:16", "720x1280"), ("1:1", "1024x1024"), ("16:10", "1792x1024"), ("10:16", "1024x1792")],
)
async def test_aspect_ratios(simulator, seen, place, ratio, size):
    request = VideoRequest(prompt="waves", model="sora-2", seconds=4, aspect_ratio=ratio)
    asset = await buy_video(simulator.credentials.connection(), request, place, TERMS)
    assert sent(seen, "/v1/videos")["size"] == size
    assert f"{asset.width}x{asset.height}" == size


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    """A reference image of another size than the videos."""
    picture = Image.linear_gradient("L").resize((640, 640)).convert("RGB")
    path = tmp_path_factory.mktemp("reference") / "gradient.png"
    picture.save(path)
    return path


@pytest.mark.parametrize("form", ["path", "url", "bytes", "data url", "asset", "s3"])
async def test_one_reference_image_in_any_form(simulator, seen, place, png, form, request, monkeypatch):
    monkeypatch.setattr(settings(), "allow_private_urls", True)
    connection = simulator.credentials.connection()
    if form == "asset":
        made = ImageRequest(prompt="a still", model="gpt-image-2", size="1280x720")
        [image] = await buy_images(connection, made, place, TERMS)
        first = Image.open(io.BytesIO(image.read_bytes())).convert("RGB")
    else:
        first = Image.open(png)
    if form == "path":
        image = png
    elif form == "bytes":
        image = png.read_bytes()
    elif form == "data url":
        image = VideoRequest(prompt="x", model="x", image=png.read_bytes()).image
    elif form == "url":
        simulator.faults.append(_serve(png.read_bytes()))
        image = f"{simulator.azure_url}/files/gradient.png"
    elif form == "s3":
        bucket = request.getfixturevalue("s3").store().storage()
        image = (await bucket.put("gradient.png", png.read_bytes(), content_type="image/png")).uri

    asked = VideoRequest(prompt="it moves", model="sora-2", seconds=4, size="1280x720", image=image)
    asset = await buy_video(connection, asked, place, TERMS)
    upload = sent(seen, "/v1/videos")["input_reference"]
    assert Image.open(io.BytesIO(upload.data)).size == (1280, 720)
    width, height, _, moves, frame = look_into(asset)
    assert (width, height, moves) == (1280, 720, True)
    expected = first.resize((1280, 1280)).crop((0, 280, 1280, 1000)) if form != "asset" else first
    assert difference(frame, expected) < 8, "the video does not start from the reference"


def _serve(data):
    from prefect_media.simulator import Fault

    return Fault("GET", "/files/gradient.png", "answer", status=200, body=data, headers={"content-type": "image/png"})


async def test_remix_keeps_its_source_and_names_it(simulator, seen, place):
    connection = simulator.credentials.connection()
    asked = VideoRequest(prompt="a lighthouse", model="sora-2", seconds=4, size="1280x720")
    source = await buy_video(connection, asked, place, TERMS)
    by_asset = await buy_video(connection, RemixRequest(video=source, prompt="at night"), place, TERMS)
    assert sent(seen, f"/v1/videos/{source.source.job_id}/remix") == {"prompt": "at night"}
    assert by_asset.source.remixed_from == source.source.job_id
    assert by_asset.source.operation == "remix"
    assert by_asset.sha256 != source.sha256
    assert look_into(by_asset)[:3] == look_into(source)[:3]
    by_id = await buy_video(connection, RemixRequest(video=source.source.job_id, prompt="at night"), place, TERMS)
    assert by_id == by_asset, "the same remix of the same video is the same purchase"


AZURE = [
    ({"api_key": SecretStr("k")}, None, "/openai/v1/images/generations"),
    ({"api_key": SecretStr("k")}, "preview", "/openai/v1/images/generations?api-version=preview"),
    (
        {"api_key": SecretStr("k")},
        "2025-04-01-preview",
        "/openai/deployments/pictures/images/generations?api-version=2025-04-01-preview",
    ),
    ({"azure_ad_token": SecretStr("any token")}, None, "/openai/v1/images/generations"),
    ({"api_key": SecretStr(JWT)}, None, "/openai/v1/images/generations"),
]


@pytest.mark.parametrize(("secret", "api_version", "path"), AZURE, ids=lambda value: str(value)[:50])
async def test_azure(simulator, seen, place, secret, api_version, path):
    credentials = AzureOpenAICredentials(base_url=simulator.azure_url, api_version=api_version, **secret)
    connection = credentials.connection()
    [still] = await buy_images(
        connection, ImageRequest(prompt="a still", model="pictures", size="1024x1024"), place, TERMS
    )
    clip = await buy_video(
        connection,
        VideoRequest(prompt="it moves", model="films", seconds=4, size="1280x720", image=still),
        place,
        TERMS,
    )
    remix = await buy_video(connection, RemixRequest(video=clip, prompt="again"), place, TERMS)
    assert seen[0].path == path
    query = "?api-version=preview" if api_version == "preview" else ""
    assert [request.path for request in seen if request.method == "POST"][1:] == [
        f"/openai/v1/videos{query}",
        f"/openai/v1/videos/{clip.source.job_id}/remix{query}",
    ]
    for request in seen:
        if "azure_ad_token" in secret or secret["api_key"].get_secret_value() == JWT:
            assert request.headers["authorization"].startswith("Bearer ")
            assert "api-key" not in request.headers
        else:
            assert request.headers["api-key"] == "k"
            assert "authorization" not in request.headers
    assert {asset.source.provider for asset in (still, clip, remix)} == {"azure"}


async def test_an_api_version_in_the_url_wins(simulator, seen, place):
    credentials = AzureOpenAICredentials(
        base_url=f"{simulator.azure_url}/openai/deployments/x/images/generations?api-version=2025-04-01-preview",
        api_version="preview",
        api_key=SecretStr("k"),
    )
    request = ImageRequest(prompt="a still", model="pictures", size="1024x1024")
    await buy_images(credentials.connection(), request, place, TERMS)
    assert seen[0].path == "/openai/deployments/pictures/images/generations?api-version=2025-04-01-preview"


async def test_organization_and_project_are_sent(simulator, seen, place):
    credentials = OpenAICredentials(
        base_url=simulator.url, api_key=SecretStr("sk-x"), organization="org-1", project="proj-1"
    )
    await buy_images(credentials.connection(), ImageRequest(prompt="a", model="gpt-image-2"), place, TERMS)
    assert seen[0].headers["openai-organization"] == "org-1"
    assert seen[0].headers["openai-project"] == "proj-1"
    assert seen[0].headers["authorization"] == "Bearer sk-x"
