"""What can't work is refused before anything is sent: the value, what is possible, and what to do."""

import base64
import io

import pytest
from PIL import Image

from prefect_media import ImageEditRequest, ImageRequest
from prefect_media.errors import InvalidRequest
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at


def png(mode="RGB", size=(64, 64), colour=0, form="PNG"):
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form)
    return file.getvalue()


STILL = png()
HOLE = png("RGBA")
GIF = {"model": "gpt-image-2.6-flare", "output_format": "gif"}
PREVIEWS = {"_previews": 2}

# fields, the value as it is named, what is possible, what to do
BAD = [
    *(({"size": size}, repr(size), "multiples of 16", near) for size, near in [
        ("1000x1000", "992x992"), ("1025x1024", "1024x1024"), ("1280x721", "1280x720"), ("999x1001", "992x1008"),
    ]),
    ({"size": "0x1024"}, "'0x1024'", "an edge is 0", "is near it"),
    ({"size": "1024x0"}, "'1024x0'", "an edge is 0", "is near it"),
    ({"size": "3872x2176"}, "'3872x2176'", "longer than 3840", "is near it"),
    ({"size": "3200x1024"}, "'3200x1024'", "between 1:3 and 3:1", "is near it"),
    ({"size": "1024x3200"}, "'1024x3200'", "between 1:3 and 3:1", "is near it"),
    ({"size": "512x512"}, "'512x512'", "655,360", "816x816"),
    ({"size": "3840x3840"}, "'3840x3840'", "8,294,400", "is near it"),
    ({"model": "gpt-image-1.5", "size": "512x512"}, "'512x512'", "1536x1024, 1024x1536, auto", "allowed: "),
    ({"model": "gpt-image-1.5", "size": "1792x1024"}, "'1792x1024'", "1536x1024", "allowed: "),
    ({"model": "gpt-image-1-mini", "size": "256x256"}, "'256x256'", "1024x1024", "allowed: "),
    ({"model": "chatgpt-image-latest", "size": "1280x720"}, "'1280x720'", "1024x1024", "allowed: "),
    ({"model": "dall-e-3", "size": "512x512"}, "'512x512'", "1792x1024", "allowed: "),
    ({"model": "dall-e-3", "size": "auto"}, "'auto'", "1024x1024", "allowed: "),
    ({"model": "dall-e-2", "size": "1792x1024"}, "'1792x1024'", "256x256, 512x512, 1024x1024", "allowed: "),
    ({"size": "1024x1024", "aspect_ratio": "1:1"}, "'1024x1024'", "aspect_ratio='1:1'", "pass only one"),
    *(({"quality": each}, repr(each), "auto, low, medium, high", "allowed: ") for each in
      ["hd", "standard", "max", "xhigh", "best", "HIGH", ""]),
    ({"model": "gpt-image-1.5", "quality": "max"}, "'max'", "auto, low, medium, high", "allowed: "),
    ({"model": "gpt-image-2.5-flare", "quality": "hd"}, "'hd'", "xhigh, max", "allowed: "),
    ({"model": "gpt-image-2.6-sunburst", "quality": "ultra"}, "'ultra'", "xhigh, max", "allowed: "),
    ({"model": "dall-e-3", "quality": "high"}, "'high'", "standard, hd", "allowed: "),
    ({"model": "dall-e-2", "quality": "hd"}, "'hd'", "does not take quality", "leave it out"),
    *(({"model": model, "style": "vivid"}, "'vivid'", "does not take style", "describe the style in the prompt")
      for model in ["gpt-image-1.5", "gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.6-flare"]),
    ({"model": "dall-e-2", "style": "vivid"}, "'vivid'", "does not take style", "leave it out"),
    ({"model": "dall-e-3", "style": "loud"}, "'loud'", "vivid, natural", "allowed: "),
    ({"background": "glass"}, "'glass'", "transparent, opaque, auto", "allowed: "),
    ({"model": "dall-e-3", "background": "opaque"}, "'opaque'", "does not take background", "leave it out"),
    ({"background": "transparent", "output_format": "jpeg"}, "'transparent'", "png or webp", "not jpeg"),
    ({**GIF, "background": "transparent"}, "'transparent'", "png or webp", "not gif"),
    ({"output_format": "tiff"}, "'tiff'", "png, jpeg, webp", "allowed: "),
    ({"output_format": "jpg"}, "'jpg'", "png, jpeg, webp", "allowed: "),
    ({"output_format": "gif"}, "'gif'", "png, jpeg, webp", "allowed: "),
    ({"output_format": "svg"}, "'svg'", "png, jpeg, webp", "allowed: "),
    ({"model": "gpt-image-2.5-flare", "output_format": "gif"}, "'gif'", "png, jpeg, webp", "allowed: "),
    ({"model": "gpt-image-2.6-flare", "output_format": "bmp"}, "'bmp'", "png, jpeg, webp, gif, svg", "allowed: "),
    ({"model": "dall-e-3", "output_format": "webp"}, "'webp'", "does not take output_format", "leave it out"),
    ({"_azure": True, "output_format": "webp"}, "'webp' on Azure", "png, jpeg", "allowed: "),
    ({"_azure": True, "model": "mine", "output_format": "webp"}, "'webp' on Azure", "png, jpeg", "allowed: "),
    ({"_azure": True, "model": "gpt-image-2.6-flare", "output_format": "gif"}, "'gif' on", "png, jpeg", "allowed: "),
    ({"output_compression": 50}, "output_compression=50", "jpeg or webp", "not png"),
    ({"output_compression": 50, "output_format": "png"}, "output_compression=50", "jpeg or webp", "not png"),
    ({**GIF, "output_compression": 10}, "output_compression=10", "jpeg or webp", "not gif"),
    ({"frame_count": 4}, "frame_count=4", "output_format gif", "not png"),
    ({"frame_duration_ms": 100, "output_format": "jpeg"}, "frame_duration_ms=100", "output_format gif", "not jpeg"),
    ({**GIF, "size": "1024x1024", "frame_count": 16}, "frame_count=16", "8,294,400", "allowed: 7 frames"),
    ({**GIF, "size": "1024x1024"}, "frame_count=9", "8,294,400", "or smaller ones"),
    ({**GIF, "size": "500x500"}, "'500x500'", "multiples of 16", "must be"),
    ({"moderation": "none"}, "'none'", "auto, low", "allowed: "),
    ({"moderation": "high"}, "'high'", "auto, low", "allowed: "),
    ({"model": "dall-e-3", "moderation": "low"}, "'low'", "does not take moderation", "leave it out"),
    ({"complexity": "high"}, "'high'", "does not take complexity", "leave it out"),
    ({"model": "gpt-image-2.6-flare", "complexity": "max"}, "'max'", "low, medium, high", "allowed: "),
    ({"model": "dall-e-2", "safety_identifier": "h"}, "'h'", "does not take safety_identifier", "leave it out"),
    ({"extra": {"seed": 3}}, "3", "does not take seed", "ask for another variant"),
    ({"extra": {"negative_prompt": "fog"}}, "'fog'", "does not take negative_prompt", "say in the prompt"),
    ({"extra": {"generate_audio": True}}, "True", "does not take generate_audio", "leave it out"),
    ({"extra": {"response_format": "url"}}, "'url'", "does not take response_format", "leave it out"),
    ({"extra": {"size": "1024x1024"}}, "'1024x1024'", "a field of its own", "pass size="),
    ({"model": "my-own", "extra": {"n": 4}}, "4", "a field of its own", "pass n="),
    ({"model": "my-own", "extra": {"stream": True}}, "'stream'", "can't be sent", "pass on_partial"),
    ({"extra": {"partial_images": 2}}, "'partial_images'", "can't be sent", "pass it to the task"),
    ({"extra": {"image": "fox.png"}}, "'image'", "can't be sent", "use ImageEditRequest"),
    ({"model": "dall-e-2", "prompt": "x" * 1001}, "1,001", "at most 1,000", "shorten it"),
    ({"model": "dall-e-3", "prompt": "x" * 4001}, "4,001", "at most 4,000", "shorten it"),
    ({"model": "sora-2"}, "'sora-2'", "makes videos, not images", "gpt-image-2"),
    ({"model": "my-own", "model_family": "dalle"}, "'dalle'", "gpt-image-2", "leave it out"),
    ({"model": "my-own", "model_family": "sora-2"}, "'my-own'", "makes videos, not images", "gpt-image-2"),
    ({"model": "my-own", "model_family": "gpt-image-2", "quality": "hd"}, "'hd'", "auto, low, medium", "allowed: "),
    ({"model": "my-own", "model_family": "gpt-image-2", "size": "64x64"}, "'64x64'", "655,360", "is near it"),
    ({**PREVIEWS, "model": "dall-e-3"}, "dall-e-3", "no previews", "leave on_partial and preview out"),
    ({**PREVIEWS, "n": 2}, "n=2", "n=1", "several requests"),
    ({**PREVIEWS, **GIF, "size": "384x384"}, "gif", "png or jpeg or webp", "previews need"),
    # edits
    ({"images": [STILL], "input_fidelity": "high"}, "'high'", "does not take input_fidelity", "leave it out"),
    ({"images": [STILL], "model": "gpt-image-1-mini", "input_fidelity": "high"}, "'high'", "low", "allowed: "),
    ({"images": [STILL], "model": "gpt-image-1.5", "input_fidelity": "full"}, "'full'", "high, low", "allowed: "),
    ({"images": [STILL], "model": "dall-e-3"}, "dall-e-3", "gpt-image-2", "those that can"),
    ({"images": [STILL, STILL], "model": "dall-e-2"}, "2 were given", "at most 1", "leave some out"),
    ({"images": [STILL], "markup": HOLE}, "markup", "does not take markup", "pass a mask"),
    ({"images": [STILL], "model": "gpt-image-2.5-flare", "markup": HOLE, "mask": HOLE}, "mask", "exclude", "only one"),
    ({"images": [STILL], **GIF, "mask": HOLE}, "mask", "png or jpeg or webp", "not gif"),
    ({"images": [STILL], "mask": png("RGBA", (32, 64))}, "32x64", "64x64", "resize the mask"),
    ({"images": [STILL], "mask": png("RGB")}, "RGB", "RGBA and LA", "make transparent"),
    ({"images": [STILL], "mask": png("L")}, "mode is L", "RGBA and LA", "make transparent"),
    ({"images": [STILL], "mask": png("RGB", form="JPEG")}, "JPEG", "PNG", "save it as PNG"),
    ({"images": [STILL], "mask": png("RGBA", form="WEBP")}, "WEBP", "PNG", "save it as PNG"),
    ({"images": [STILL], "mask": png("RGBA", colour=(0, 0, 0, 255))}, "alpha 255", "needed is 0", "make a part of it"),
    ({"images": [STILL], "mask": png("RGBA", colour=(0, 0, 0, 90))}, "alpha 90", "needed is 0", "make a part of it"),
    ({"images": [STILL], "model": "gpt-image-2.5-flare", "markup": png("RGB")}, "RGB", "RGBA and LA", "stay unmarked"),
    ({"images": [b"no image"]}, "data:application/octet-s...", "PNG, JPEG or WebP", "give a"),
    ({"images": [STILL, "no-such.png"]}, "no-such.png", "can't be read", "No such file"),
    ({"images": [STILL], "mask": "no-such.png"}, "no-such.png", "can't be read", "No such file"),
    ({"images": ["data:image/png;base64,%%%"]}, "data URL", "base64", "nothing was sent"),
]  # fmt: skip


@pytest.fixture(scope="module")
def simulator():
    with Simulator() as running:
        yield running


def test_there_are_enough_of_them():
    assert len(BAD) >= 80


def named(fields):
    return ", ".join(f"{name}={value!r}"[:40] for name, value in fields.items())


@pytest.mark.parametrize(
    ("fields", "value", "possible", "remedy"), BAD, ids=lambda each: named(each) if isinstance(each, dict) else ""
)
async def test_bad_input_costs_nothing(simulator, tmp_path, monkeypatch, fields, value, possible, remedy):
    monkeypatch.chdir(tmp_path)
    fields = {"prompt": "a fox", "model": "gpt-image-2", **fields}
    partial = fields.pop("_previews", 0)
    connection = simulator.credentials.connection()
    if fields.pop("_azure", False):
        connection = azure()
    request = (ImageEditRequest if "images" in fields else ImageRequest)(**fields)
    terms = PurchaseOptions(scope="x", timeout=5, on_partial=print if partial else None, partial_images=partial)
    with pytest.raises(InvalidRequest) as caught:
        await buy_images(connection, request, storage_at(str(tmp_path)), terms)
    said = str(caught.value)
    for part in (value, possible, remedy, "nothing was sent"):
        assert part in said
    assert "\n" not in said
    assert not simulator.requests
    assert not list(tmp_path.rglob("*.json")), "nothing was intended, so nothing is on the ledger"


def azure():
    from prefect_media import AzureOpenAICredentials

    return AzureOpenAICredentials(base_url="https://me.openai.azure.com", api_key="k").connection()


async def test_a_mask_that_is_too_heavy(simulator, tmp_path):
    import os

    noisy = Image.frombytes("RGBA", (1100, 1100), os.urandom(4 * 1100 * 1100))
    noisy.putpixel((0, 0), (0, 0, 0, 0))
    file = io.BytesIO()
    noisy.save(file, "PNG")
    request = ImageEditRequest(prompt="a", model="gpt-image-2", images=[png(size=(1100, 1100))], mask=file.getvalue())
    with pytest.raises(InvalidRequest, match=r"smaller than 4,194,304 bytes.*one colour; nothing was sent"):
        await buy_images(
            simulator.credentials.connection(), request, storage_at(str(tmp_path)), PurchaseOptions("x", 5)
        )
    assert not simulator.requests


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"images": []}, "at least 1 item"),
        ({"images": [STILL] * 17}, "at most 16 items"),
        ({"images": [STILL], "n": 0}, "greater than or equal to 1"),
        ({"images": [STILL], "n": 1001}, "less than or equal to 1000"),
        ({"images": [STILL], "frame_count": 17}, "less than or equal to 16"),
        ({"images": [STILL], "frame_count": 1}, "greater than or equal to 2"),
        ({"images": [STILL], "moderation": "low"}, "has no field moderation"),
        ({"images": [STILL], "style": "vivid"}, "has no field style"),
        ({"images": [STILL], "mask": [HOLE, HOLE]}, "expected one picture, got 2; choose one"),
        ({}, "images"),
    ],
)
def test_a_wrong_shape_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        ImageEditRequest(prompt="a", model="gpt-image-2", **fields)


def test_one_picture_is_as_good_as_a_list_of_one():
    request = ImageEditRequest(prompt="a", model="m", images=STILL)
    assert request.images == ("data:application/octet-stream;base64," + base64.b64encode(STILL).decode(),)
    assert ImageEditRequest.model_validate_json(request.model_dump_json()) == request
