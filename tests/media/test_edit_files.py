"""Edits: pictures and masks in any form reach the wire as documented, and are bought once."""

import base64
import io

import pytest
from PIL import Image, ImageChops, ImageStat
from pydantic import SecretStr

from prefect_media import AzureOpenAICredentials, ImageEditRequest, ImageRequest
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at

TERMS = PurchaseOptions(scope="test", timeout=60)
SIZE = (256, 192)


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


STILL = Image.linear_gradient("L").resize(SIZE).convert("RGB")
PNG = encoded(STILL)
MASK = Image.new("RGBA", SIZE, (0, 0, 0, 255))
MASK.paste((0, 0, 0, 0), (0, 0, 128, 192))


@pytest.fixture(scope="module")
def simulator():
    with Simulator() as running:
        yield running


@pytest.fixture
def seen(simulator):
    del simulator.requests[:], simulator.images[:]
    return simulator.requests


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path / "store"))


def edit(**fields):
    return ImageEditRequest(prompt="at night", **{"model": "gpt-image-2", **fields})


@pytest.mark.parametrize("form", ["path", "bytes", "data url", "asset", "s3"])
async def test_a_picture_in_any_form(simulator, seen, place, tmp_path, form, request):
    connection = simulator.credentials.connection()
    content = PNG
    if form == "path":
        image = tmp_path / "still.png"
        image.write_bytes(PNG)
    elif form == "bytes":
        image = PNG
    elif form == "data url":
        image = "data:image/png;base64," + base64.b64encode(PNG).decode()
    elif form == "asset":
        [image] = await buy_images(connection, ImageRequest(prompt="a", model="gpt-image-2"), place, TERMS)
        content = image.read_bytes()
        del seen[:], simulator.images[:]
    else:
        s3 = request.getfixturevalue("s3")
        store = s3.store()
        stored = await store.storage().put("still.png", PNG, content_type="image/png")
        image = stored.uri
        for name, value in s3.env.items():
            request.getfixturevalue("monkeypatch").setenv(name, value)
    [asset] = await buy_images(connection, edit(images=[image]), place, TERMS)
    [sent] = seen
    assert sent.path == "/v1/images/edits"
    assert sent.headers["content-type"].startswith("multipart/form-data")
    [upload] = sent.body["image"]
    assert upload.data == content, "byte for byte"
    assert upload.content_type == "image/png"
    assert (asset.source.operation, asset.kind) == ("edit", "image")
    [bought] = simulator.images
    assert bought.operation == "edit"


async def test_sixteen_pictures_keep_their_order(simulator, seen, place):
    pictures = [encoded(Image.new("RGB", (64, 64), (number * 15, 0, 0))) for number in range(16)]
    await buy_images(simulator.credentials.connection(), edit(images=pictures), place, TERMS)
    assert [upload.data for upload in seen[0].body["image"]] == pictures
    assert [upload.filename for upload in seen[0].body["image"]] == [f"image-{number}.png" for number in range(1, 17)]


async def test_a_mask_is_sent_and_only_what_is_transparent_is_made_anew(simulator, seen, place):
    request = edit(images=[PNG], mask=encoded(MASK), size="1024x768")
    [asset] = await buy_images(simulator.credentials.connection(), request, place, TERMS)
    assert seen[0].body["mask"].data == encoded(MASK)
    assert set(seen[0].body) == {"model", "prompt", "n", "size", "image", "mask"}
    made = Image.open(io.BytesIO(asset.read_bytes())).convert("RGB")
    kept = ImageChops.difference(made, STILL.resize(made.size)).crop((560, 0, 1000, 400))
    anew = ImageChops.difference(made, STILL.resize(made.size)).crop((0, 0, 480, 400))
    assert sum(ImageStat.Stat(kept).mean) < 6 < sum(ImageStat.Stat(anew).mean)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (encoded(STILL, "JPEG"), "image/jpeg"),
        (encoded(STILL, "WEBP"), "image/webp"),
        (encoded(STILL, "GIF"), "image/png"),
        (encoded(STILL, "BMP"), "image/png"),
        (encoded(STILL, "TIFF"), "image/png"),
    ],
    ids=["jpeg", "webp", "gif", "bmp", "tiff"],
)
async def test_formats_the_provider_does_not_take_are_converted(simulator, seen, place, image, kind):
    await buy_images(simulator.credentials.connection(), edit(images=[image]), place, TERMS)
    [upload] = seen[0].body["image"]
    assert upload.content_type == kind
    assert (upload.data == image) == (kind != "image/png")
    assert Image.open(io.BytesIO(upload.data)).size == SIZE


async def test_a_mask_fits_a_photograph_that_lies_on_its_side(simulator, seen, place):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encoded(STILL, "JPEG", exif=exif)
    mask = MASK.transpose(Image.Transpose.ROTATE_90)
    await buy_images(simulator.credentials.connection(), edit(images=[photo], mask=encoded(mask)), place, TERMS)
    [upload] = seen[0].body["image"]
    assert Image.open(io.BytesIO(upload.data)).size == mask.size


async def test_a_palette_with_a_transparent_colour_is_a_mask_too(simulator, seen, place):
    mask = encoded(MASK.convert("P"), transparency=0)
    assert "A" not in Image.open(io.BytesIO(mask)).getbands()
    await buy_images(simulator.credentials.connection(), edit(images=[PNG], mask=mask), place, TERMS)
    assert Image.open(io.BytesIO(seen[0].body["mask"].data)).mode == "RGBA"


async def test_markup_goes_to_the_models_that_read_it(simulator, seen, place):
    request = edit(model="gpt-image-2.5-flare", images=[PNG], markup=encoded(MASK))
    await buy_images(simulator.credentials.connection(), request, place, TERMS)
    assert seen[0].body["markup"].data == encoded(MASK)


async def test_the_same_edit_is_bought_once_whatever_form_its_pictures_come_in(simulator, seen, place, tmp_path):
    connection = simulator.credentials.connection()
    path = tmp_path / "still.png"
    path.write_bytes(PNG)
    first = await buy_images(connection, edit(images=[PNG]), place, TERMS)
    assert await buy_images(connection, edit(images=[path]), place, TERMS) == first
    assert len(simulator.images) == 1
    for other in (
        edit(images=[PNG, PNG]),
        edit(images=[encoded(STILL, "JPEG")]),
        edit(images=[PNG], mask=encoded(MASK)),
        edit(images=[PNG], variant=1),
    ):
        assert await buy_images(connection, other, place, TERMS) != first
    assert len(simulator.images) == 5


async def test_more_edits_than_the_model_makes_at_once(simulator, seen, place):
    assets = await buy_images(simulator.credentials.connection(), edit(images=[PNG], n=12), place, TERMS)
    assert len({asset.uri for asset in assets}) == 12
    assert sorted(image.n for image in simulator.images) == [2, 10]


@pytest.mark.parametrize(
    ("api_version", "path"),
    [
        (None, "/openai/v1/images/edits"),
        ("preview", "/openai/v1/images/edits?api-version=preview"),
        ("2025-04-01-preview", "/openai/deployments/pictures/images/edits?api-version=2025-04-01-preview"),
    ],
)
async def test_edits_on_azure(simulator, seen, place, api_version, path):
    credentials = AzureOpenAICredentials(
        base_url=simulator.azure_url, api_version=api_version, api_key=SecretStr("k"), model_family="gpt-image-2"
    )
    request = edit(model="pictures", images=[PNG], mask=encoded(MASK))
    [asset] = await buy_images(credentials.connection(), request, place, TERMS)
    assert seen[0].path == path
    assert [len(seen[0].body["image"]), seen[0].body["mask"].data] == [1, encoded(MASK)]
    assert (asset.source.provider, asset.source.operation) == ("azure", "edit")
    assert asset.source.cost_usd > 0


@pytest.mark.parametrize("twin", ["edit_images", "aedit_images"])
def test_the_task_and_a_preview_that_sharpens(prefect, simulator, seen, tmp_path, twin):
    import asyncio
    import inspect

    from prefect import flow
    from prefect.artifacts import Artifact

    import prefect_media

    task = getattr(prefect_media, twin)
    keys = []

    def note(data, number):
        keys.append(number)

    options = {"store": str(tmp_path), "preview": True, "on_partial": note, "partial_images": 3}
    request = edit(images=[PNG], variant=len(twin))

    if inspect.iscoroutinefunction(task.fn):

        @flow
        async def run():
            return await task(simulator.credentials, request, **options)

        [asset] = asyncio.run(run())
    else:

        @flow
        def run():
            return task(simulator.credentials, request, **options)

        [asset] = run()
    from prefect_media.tasks.preview import Preview

    artifact = asyncio.run(Artifact.aget(Preview(request).key))
    assert keys == [0, 1, 2]
    assert "Done" in artifact.data and asset.uri in artifact.data
    assert "data:image/jpeg;base64," in artifact.data
    assert len(simulator.images) == 1
