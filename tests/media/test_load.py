"""Reference images: fitted to the size of the video, upright, and untouched where they fit already."""

import hashlib
import io

import pytest
from PIL import Image

from prefect_media import Asset, VideoRequest, agenerate_video
from prefect_media.errors import InvalidRequest, JobFailed, StoreError
from prefect_media.media.fit import fit_image
from prefect_media.media.load import describe
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.videos import buy_video
from prefect_media.storage.store import storage_at


def picture(size=(100, 50), mode="RGB", kind="PNG", **options):
    """Left half red, right half blue."""
    image = Image.new(mode, size, "red")
    image.paste(Image.new(mode, (size[0] // 2, size[1]), "blue"), (size[0] // 2, 0))
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def encoded(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def opened(upload):
    return Image.open(io.BytesIO(upload[1]))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("size", ["100x50", None])
def test_what_fits_is_passed_on_byte_for_byte(kind, size):
    data = picture(kind=kind)
    assert fit_image(data, size, "error") == (f"reference.{kind.lower()}", data, f"image/{kind.lower()}")


def test_crop_fills_the_size_and_keeps_the_middle():
    image = opened(fit_image(picture(), "50x50", "crop"))
    assert image.size == (50, 50)
    assert image.getpixel((2, 25)) == (255, 0, 0)
    assert image.getpixel((47, 25)) == (0, 0, 255)


def test_pad_shows_everything_on_black():
    image = opened(fit_image(picture(), "50x50", "pad"))
    assert image.size == (50, 50)
    assert image.getpixel((25, 2)) == (0, 0, 0)
    assert image.getpixel((5, 25)) == (255, 0, 0)


def test_error_names_both_sizes():
    with pytest.raises(InvalidRequest, match=r"100x50.*50x50"):
        fit_image(picture(), "50x50", "error")


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    data = picture(kind="JPEG", exif=exif)
    name, content, _ = fit_image(data, None, "error")
    image = Image.open(io.BytesIO(content))
    assert image.size == (50, 100)
    assert name == "reference.png"
    assert image.convert("RGB").getpixel((25, 10))[0] > 200, "what was left is on top now"


@pytest.mark.parametrize("mode", ["P", "L", "RGBA", "CMYK", "1"])
def test_every_kind_of_colours_becomes_something_a_server_reads(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    image = Image.new("RGB", (64, 64), "red").convert(mode)
    out = io.BytesIO()
    image.save(out, kind)
    upload = fit_image(out.getvalue(), "32x48", "crop")
    assert (opened(upload).format, opened(upload).size) == ("PNG", (32, 48))


def test_an_animation_gives_its_first_picture():
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    image = opened(fit_image(out.getvalue(), None, "crop"))
    assert image.format == "PNG"
    assert image.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


def test_what_is_shown_of_a_reference_has_no_content_and_no_query():
    assert describe("data:image/png;base64," + "A" * 100) == "data:image/png;base64,AA..."
    assert describe("https://x.example/a.png?token=secret") == "https://x.example/a.png"
    assert describe(b"123") == "3 bytes"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_black_in_a_video(mode):
    picture = Image.new("RGBA", (64, 36), (255, 0, 0, 255))
    picture.paste((255, 0, 0, 0), (0, 0, 32, 36))
    data = encoded(picture.quantize() if mode == "P" else picture.convert(mode))
    name, content, kind = fit_image(data, "64x36", "crop", alpha=False)
    flat = Image.open(io.BytesIO(content))
    assert (name, kind, flat.mode, flat.size) == ("reference.png", "image/png", "RGB", (64, 36))
    assert flat.getpixel((5, 5)) == (0, 0, 0)
    assert flat.getpixel((60, 5)) != (0, 0, 0)
    assert fit_image(data, "64x36", "crop")[1] == data, "images are edited with their transparency"


def test_an_alpha_channel_through_which_nothing_shines_is_passed_on():
    data = encoded(Image.new("RGBA", (64, 36), (255, 0, 0, 255)))
    assert fit_image(data, "64x36", "crop", alpha=False)[1] == data


# What is kept of it


SMALL = VideoRequest(prompt="it sails", model="wan", seconds=2, size="64x36")


@pytest.fixture
def original(tmp_path):
    path = tmp_path / "original.png"
    path.write_bytes(encoded(Image.linear_gradient("L").resize((200, 200)).convert("RGB")))
    return path


async def made(simulator, request, store, scope="a test"):
    return await agenerate_video.fn(simulator.credentials, request, store=store, scope=scope)


async def test_the_image_as_it_was_sent_is_kept_and_named(media_simulator, store, original):
    asset = await made(media_simulator, SMALL.model_copy(update={"image": str(original)}), store)
    sent = media_simulator.jobs[0].film.reference
    key = store.storage().key_of(asset.source.reference_uri)
    kept = await store.storage().read(key)
    assert kept == sent
    assert key == (f"references/{hashlib.sha256(sent).hexdigest()}.png")
    assert Image.open(io.BytesIO(kept)).size == (64, 36)


async def test_the_same_image_is_kept_once(media_simulator, store, original):
    for number in range(3):
        request = SMALL.model_copy(update={"image": str(original), "variant": number})
        await made(media_simulator, request, store)
    kept = [key async for key, _ in store.storage().list("references/") if "/notes/" not in key]
    assert len(kept) == 1


@pytest.mark.parametrize("form", ["path", "asset", "s3"])
async def test_a_resume_does_not_need_the_original(media_simulator, store, original, s3, form, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    image, vanish = str(original), original.unlink
    if form != "path":
        elsewhere = storage_at(f"s3://{s3.bucket()}/private")
        stored = await elsewhere.put("still.png", original.read_bytes(), content_type="image/png")
        image, vanish = stored.uri, None
        if form == "asset":
            facts = {"kind": "image", "content_type": "image/png", "sha256": stored.sha256}
            image = Asset(uri=stored.uri, size_bytes=stored.size_bytes, **facts)
    request = SMALL.model_copy(update={"image": image})
    asset = await made(media_simulator, request, store)
    if vanish:
        vanish()
    else:
        await elsewhere.delete("still.png")
    assert await made(media_simulator, request, store) == asset
    with pytest.raises(InvalidRequest, match=r"the reference image .*can't be read"):
        await made(media_simulator, request, store, scope="another")
    assert len(media_simulator.jobs) == 1


async def test_what_is_bought_again_is_sent_again_from_what_was_kept(media_simulator, store, original):
    request = SMALL.model_copy(update={"image": str(original), "prompt": "explode"})
    with pytest.raises(JobFailed):
        await made(media_simulator, request, store)
    original.unlink()
    with pytest.raises(JobFailed):
        await agenerate_video.fn(media_simulator.credentials, request, store=store, scope="a test", retry_failed=True)
    first, second = media_simulator.jobs
    assert second.film.reference == first.film.reference


async def test_an_original_that_became_another_is_another_purchase(media_simulator, store, original):
    request = SMALL.model_copy(update={"image": str(original)})
    first = await made(media_simulator, request, store)
    original.write_bytes(encoded(Image.new("RGB", (64, 36), "red")))
    second = await made(media_simulator, request, store)
    assert first.source.purchase != second.source.purchase
    original.write_bytes(b"not an image any more")
    with pytest.raises(InvalidRequest, match="not an image that can be read"):
        await made(media_simulator, request, store)
    original.unlink()
    assert await made(media_simulator, request, store) == second, "the last one that it was"


async def test_a_store_that_can_not_keep_it_costs_nothing(media_simulator, tmp_path, original, monkeypatch):
    storage = storage_at(str(tmp_path / "store"))

    async def full(key, *args, **kwargs):
        raise StoreError("the disk is full", transient=False)

    monkeypatch.setattr(storage, "put", full)
    with pytest.raises(StoreError, match="the disk is full"):
        await buy_video(
            media_simulator.credentials.connection(),
            SMALL.model_copy(update={"image": str(original)}),
            storage,
            PurchaseOptions(scope="a test", timeout=10),
        )
    assert not media_simulator.jobs
