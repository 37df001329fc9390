"""Every model of the catalog with every parameter, over a real socket; previews; many images at once."""

import base64
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
)
from openai.types.image_edit_params import ImageEditParamsNonStreaming, ImageEditParamsStreaming
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming, ImageGenerateParamsStreaming
from PIL import Image
from pydantic import ConfigDict, TypeAdapter

from prefect_media import ImageEditRequest, ImageRequest
from prefect_media.catalog import data as catalog
from prefect_media.errors import ContentRejected, InvalidRequest, RateLimited, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers.connection import wire_client
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.simulator import Fault, Simulator
from prefect_media.simulator.request_bodies import Upload
from prefect_media.storage.store import storage_at

TERMS = PurchaseOptions(scope="test", timeout=60)
MODELS = [model for model in catalog.catalog().models.values() if model.family.kind == "image"]

VALUES = {
    "size": ["256x256", "512x512", "1024x1024", "1792x1024", "1536x1024", "auto", "1280x720", "1000x1000", "64x64"],
    "quality": ["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"],
    "style": ["vivid", "natural", "loud"],
    "background": ["transparent", "opaque", "auto", "glass"],
    "output_format": ["png", "jpeg", "webp", "gif", "svg", "tiff"],
    "output_compression": [0, 50],
    "moderation": ["auto", "low", "none"],
    "complexity": ["low", "medium", "high", "huge"],
    "safety_identifier": ["user-hash"],
    "frame_count": [2, 16],
    "frame_duration_ms": [100],
    "input_fidelity": ["high", "low", "perfect"],
}
BESIDE = {"output_compression": {"output_format": "jpeg"}}
GIF = {"output_format": "gif", "size": "384x384"}
BESIDE |= {"frame_count": GIF, "frame_duration_ms": GIF}


def takes(model, field, value):
    """What providers.md says, put another way than the code does: by the model's name."""
    name = model.name
    gpt = not name.startswith("dall-e")
    fixed = name.startswith(("gpt-image-1", "chatgpt"))
    newest = name.startswith("gpt-image-2.6")
    fifth = newest or name.startswith("gpt-image-2.5")
    match field:
        case "size" if name == "dall-e-2":
            return value in ("256x256", "512x512", "1024x1024")
        case "size" if name == "dall-e-3":
            return value in ("1024x1024", "1792x1024")
        case "size" if fixed:
            return value in ("1024x1024", "1536x1024", "auto")
        case "size":
            return value in ("1024x1024", "1792x1024", "1536x1024", "auto", "1280x720")
        case "quality" if gpt:
            return value in ("auto", "low", "medium", "high") or (fifth and value in ("xhigh", "max"))
        case "quality":
            return name == "dall-e-3" and value in ("standard", "hd")
        case "style":
            return name == "dall-e-3" and value != "loud"
        case "output_format":
            return (gpt and value in ("png", "jpeg", "webp")) or (newest and value in ("gif", "svg"))
        case "output_compression" | "safety_identifier":
            return gpt
        case "background":
            return gpt and value != "glass"
        case "moderation":
            return gpt and value != "none"
        case "complexity":
            return newest and value != "huge"
        case "frame_count" | "frame_duration_ms":
            return newest
        case "input_fidelity":
            return (name == "gpt-image-1-mini" and value == "low") or (
                fixed and name != "gpt-image-1-mini" and value != "perfect"
            )
    raise AssertionError(field)


@pytest.fixture(scope="module")
def simulator():
    with Simulator() as running:
        yield running


@pytest.fixture
def seen(simulator):
    del simulator.requests[:], simulator.images[:], simulator.faults[:]
    return simulator.requests


@pytest.fixture
def place(tmp_path):
    return storage_at(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    path = tmp_path_factory.mktemp("still") / "still.png"
    Image.linear_gradient("L").resize((256, 256)).convert("RGB").save(path)
    return path


@pytest.mark.parametrize("field", VALUES)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
async def test_every_model_with_every_parameter(simulator, seen, place, still, model, field):
    connection = simulator.credentials.connection()
    for value in VALUES[field]:
        del seen[:]
        fields = {"prompt": "a fox", "model": model.name, **BESIDE.get(field, {}), field: value}
        if field == "output_format" and value == "gif":
            fields |= GIF
        edit = field == "input_fidelity"
        request = ImageEditRequest(images=[still], **fields) if edit else ImageRequest(**fields)
        if not takes(model, field, value):
            with pytest.raises(InvalidRequest, match=model.name):
                await buy_images(connection, request, place, TERMS)
            assert not seen
            continue
        [asset] = await buy_images(connection, request, place, TERMS)
        [sent] = [each for each in seen if each.method == "POST"]
        body = {name: each for name, each in sent.body.items() if name != "response_format"}
        if edit:
            fields |= {"image": body["image"]}
        assert body == {**fields, "n": "1" if edit else 1}
        assert ("response_format" in sent.body) == model.name.startswith("dall-e")
        validate(sent)
        assert asset.size_bytes


def strict(kind):
    kind.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    return TypeAdapter(kind)


PARAMS = {
    ("generations", False): strict(ImageGenerateParamsNonStreaming),
    ("generations", True): strict(ImageGenerateParamsStreaming),
    ("edits", False): strict(ImageEditParamsNonStreaming),
    ("edits", True): strict(ImageEditParamsStreaming),
}


def validate(request):
    """Check a recorded request against the SDK's own types, every field of them."""
    operation = request.path.partition("?")[0].rpartition("/")[2]
    body = {name: untexted(name, value) for name, value in request.body.items()}
    PARAMS[operation, bool(body.get("stream"))].validate_python(body)


def untexted(name, value):
    if isinstance(value, Upload):
        return value.data
    if isinstance(value, list):
        return [untexted(name, each) for each in value]
    if name in ("n", "output_compression", "partial_images", "frame_count", "frame_duration_ms"):
        return int(value)
    return value == "true" if name == "stream" and isinstance(value, str) else value


@pytest.mark.parametrize(
    ("operation", "wrong"),
    [
        ("generations", {"quality": "best"}),
        ("generations", {"no_such_field": 1}),
        ("generations", {"size": 1024}),
        ("edits", {"n": "2.5"}),
        ("edits", {"image": 7}),
    ],
)
def test_the_validation_has_teeth(operation, wrong):
    good = {"prompt": "a", "model": "gpt-image-2", "image": b"png"} if operation == "edits" else {"prompt": "a"}
    validate(SimpleNamespace(path=f"/v1/images/{operation}", body=good))
    with pytest.raises(ValueError):
        validate(SimpleNamespace(path=f"/v1/images/{operation}", body={**good, **wrong}))


@pytest.mark.parametrize("model", ["gpt-image-1.5", "gpt-image-2", "gpt-image-2.6-flare", "dall-e-3"])
@pytest.mark.parametrize("operation", ["generations", "edits"])
async def test_answers_are_what_the_sdk_says_they_are(simulator, seen, still, model, operation):
    if (model, operation) == ("dall-e-3", "edits"):
        model = "dall-e-2"
    connection = simulator.credentials.connection()
    form = {"model": model, "prompt": "a fox", "n": 1}
    client = wire_client(connection)
    if operation == "edits":
        raw = await client.images.with_raw_response.edit(image=[still.read_bytes()], **form)
    else:
        raw = await client.images.with_raw_response.generate(**form)
    answer = ImagesResponse.model_validate_json(raw.http_response.content, strict=True)
    assert not unknown(answer)


EVENTS = {
    "image_generation.partial_image": ImageGenPartialImageEvent,
    "image_generation.completed": ImageGenCompletedEvent,
    "image_edit.partial_image": ImageEditPartialImageEvent,
    "image_edit.completed": ImageEditCompletedEvent,
}


@pytest.mark.parametrize("operation", ["generations", "edits"])
async def test_events_are_what_the_sdk_says_they_are(simulator, seen, still, operation):
    client = wire_client(simulator.credentials.connection())
    form = {"model": "gpt-image-2", "prompt": "a fox", "stream": True, "partial_images": 2}
    if operation == "edits":
        stream = await client.images.edit(image=[still.read_bytes()], **form)
    else:
        stream = await client.images.generate(**form, safety_identifier="hash")
    kinds = []
    async for event in stream:
        again = EVENTS[event.type].model_validate_json(event.model_dump_json(), strict=True)
        assert not unknown(again)
        kinds.append(event.type.rpartition(".")[2])
    assert kinds == ["partial_image", "partial_image", "completed"]
    validate(seen[-1])


def unknown(model):
    """Fields that the SDK's type does not have, at any depth."""
    found = list(model.model_extra or {})
    for name in type(model).model_fields:
        value = getattr(model, name)
        for each in value if isinstance(value, list) else [value]:
            if hasattr(each, "model_extra"):
                found += unknown(each)
    return found


# ---------------------------------------------------------------- previews


@pytest.mark.parametrize("edit", [False, True], ids=["generate", "edit"])
@pytest.mark.parametrize("count", [1, 2, 3])
async def test_previews_come_before_the_image_and_cost_one_request(simulator, seen, place, still, edit, count):
    previews = []
    terms = PurchaseOptions(
        scope="x", timeout=60, on_partial=lambda data, number: previews.append((number, data)), partial_images=count
    )
    request = (
        ImageEditRequest(prompt="fog", model="gpt-image-2", images=[still])
        if edit
        else ImageRequest(prompt="fog", model="gpt-image-2", size="1024x1024")
    )
    [asset] = await buy_images(simulator.credentials.connection(), request, place, terms)
    assert [number for number, _ in previews] == list(range(count))
    final = Image.open(io.BytesIO(asset.read_bytes()))
    assert all(Image.open(io.BytesIO(data)).size == final.size for _, data in previews)
    assert asset.sha256 not in {data for _, data in previews}
    assert asset.source.usage["output_tokens"] > 0
    assert len(simulator.images) == len(seen) == 1
    validate(seen[0])
    [again] = await buy_images(
        simulator.credentials.connection(), request, place, PurchaseOptions(scope="x", timeout=60)
    )
    assert again == asset, "with or without previews it is the same purchase"
    assert len(seen) == 1


async def test_a_preview_that_can_not_be_shown_fails_nothing(simulator, seen, place, caplog):
    async def broken(data, number):
        raise RuntimeError("no screen")

    terms = PurchaseOptions(scope="x", timeout=60, on_partial=broken, partial_images=2)
    [asset] = await buy_images(
        simulator.credentials.connection(), ImageRequest(prompt="fog", model="gpt-image-2"), place, terms
    )
    assert asset.size_bytes
    assert caplog.text.count("no screen") == 2


@pytest.mark.parametrize("nbytes", [200, 250_000])
async def test_a_stream_that_breaks_is_a_doubt(simulator, seen, place, nbytes):
    simulator.faults.append(Fault("POST", "/images", "truncate", nbytes=nbytes))
    terms = PurchaseOptions(scope="x", timeout=60, on_partial=lambda *_: None, partial_images=2)
    request = ImageRequest(prompt="fog", model="gpt-image-2")
    connection = simulator.credentials.connection()
    with pytest.raises(SubmissionInDoubt):
        await buy_images(connection, request, place, terms)
    [record] = [record async for record in Ledger(place).purchases()]
    assert record.state == "in_doubt"
    with pytest.raises(SubmissionInDoubt):
        await buy_images(connection, request, place, terms)
    assert len(simulator.images) == 1, "bought once, and not again unasked"


def sse(*events):
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events)


REFUSAL = {
    "type": "image_generation_user_error",
    "code": "moderation_blocked",
    "message": "no",
    "moderation_details": {"moderation_stage": "output", "categories": ["violence"]},
}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (sse({"type": "error", "error": REFUSAL}), ContentRejected),
        (sse({"type": "error", "error": {"message": "boom", "code": "server_error"}}), SubmissionInDoubt),
        (sse(), SubmissionInDoubt),
        (sse({"type": "image_generation.completed", "b64_json": "%%%"}), SubmissionInDoubt),
        ("data: {broken\n\n", SubmissionInDoubt),
    ],
    ids=["moderation", "failure", "nothing", "no base64", "no json"],
)
async def test_what_a_stream_can_end_with(simulator, seen, place, body, kind):
    simulator.faults.append(
        Fault("POST", "/images", "answer", status=200, body=body, headers={"content-type": "text/event-stream"})
    )
    terms = PurchaseOptions(scope="x", timeout=60, on_partial=lambda *_: None, partial_images=2)
    with pytest.raises(kind) as caught:
        await buy_images(
            simulator.credentials.connection(), ImageRequest(prompt="a", model="gpt-image-2"), place, terms
        )
    if kind is ContentRejected:
        assert (caught.value.stage, caught.value.categories) == ("output", ("violence",))


async def test_a_server_that_does_not_stream_answers_as_ever(simulator, seen, place):
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    body = {"data": [{"b64_json": base64.b64encode(png.getvalue()).decode()}]}
    simulator.faults.append(Fault("POST", "/images", "answer", status=200, body=body))
    terms = PurchaseOptions(scope="x", timeout=60, on_partial=lambda *_: None, partial_images=2)
    [asset] = await buy_images(simulator.credentials.connection(), ImageRequest(prompt="a", model="m"), place, terms)
    assert (asset.width, asset.source.cost_usd) == (8, None)


# ---------------------------------------------------------------- many


async def test_more_images_than_the_model_makes_at_once(simulator, seen, place):
    request = ImageRequest(prompt="a fox", model="gpt-image-2", n=25, size="1024x1024")
    connection = simulator.credentials.connection()
    assets = await buy_images(connection, request, place, TERMS)
    assert len({asset.uri for asset in assets}) == 25
    assert sorted(image.n for image in simulator.images) == [5, 10, 10]
    assert await buy_images(connection, request, place, TERMS) == assets, "in the same order"
    assert len(simulator.images) == 3
    await buy_images(connection, request.model_copy(update={"n": 10}), place, TERMS)
    assert len(simulator.images) == 4, "ten of them alone are another purchase"


async def test_dall_e_3_makes_several_one_by_one(simulator, seen, place):
    request = ImageRequest(prompt="a fox", model="dall-e-3", n=3, size="1024x1024")
    assets = await buy_images(simulator.credentials.connection(), request, place, TERMS)
    assert len(assets) == 3
    assert [image.n for image in simulator.images] == [1, 1, 1]


async def test_the_failure_of_one_does_not_lose_the_others(simulator, seen, place):
    request = ImageRequest(prompt="a fox", model="gpt-image-2", n=25)
    connection = simulator.credentials.connection()
    simulator.faults.append(Fault("POST", "/images", "answer", status=429, body={"error": {"message": "slow down"}}))
    with pytest.raises(RateLimited, match=r"1 of 3 purchases failed.*slow down.*stored and on record") as caught:
        await buy_images(connection, request, place, TERMS)
    assert caught.value.transient
    made = len(simulator.images)
    assert made == 2
    assert len(await buy_images(connection, request, place, TERMS)) == 25
    assert len(simulator.images) == 3, "only what was missing was bought"


MANY = """
import asyncio, os, sys, threading, time
from prefect_media.providers.connection import Connection
from prefect_media.purchases.images import buy_images
from prefect_media.requests import ImageRequest
from prefect_media.storage.store import storage_at
from prefect_media.purchase_options import PurchaseOptions

url, folder, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = Connection(provider="openai", base_url=url, api_key="sk-x", max_concurrency=16)
place, terms = storage_at(folder), PurchaseOptions(scope="x", timeout=120)
page = os.sysconf("SC_PAGE_SIZE")
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * page

def lines():
    rows = (row.split() for row in open("/proc/net/tcp").read().splitlines()[1:])
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)

def buy(variant):
    return buy_images(connection, ImageRequest(prompt="a fox", model="wide", variant=variant), place, terms)

async def main():
    await asyncio.gather(*(buy(variant) for variant in range(1000, 1032)))  # small ones: all threads and lines are up
    base, peak, most, over = rss(), 0, 0, False

    def watch():
        nonlocal peak, most
        while not over:
            peak, most = max(peak, rss()), max(most, lines())
            time.sleep(0.004)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assets = await asyncio.gather(*(buy(variant) for variant in range(100)))
    over = True
    watcher.join()
    assert len({asset.uri for [asset] in assets}) == 100
    assert len({asset.sha256 for [asset] in assets}) == 1
    print(assets[0][0].size_bytes, peak - base, most)

asyncio.run(main())
"""


def noise(width, height):
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), os.urandom(3 * width * height)).save(file, "PNG", compress_level=0)
    return file.getvalue()


def test_a_hundred_images_at_once_in_bounded_memory(tmp_path):
    small, large = (base64.b64encode(noise(*size)).decode() for size in ((8, 8), (1000, 900)))
    with Simulator() as simulator:
        for times, encoded in ((32, small), (100, large)):
            body = json.dumps({"created": 1, "data": [{"b64_json": encoded}]})
            simulator.faults.append(Fault("POST", "/images", "answer", times=times, status=200, body=body))
        port = simulator.url.rpartition(":")[2].partition("/")[0]
        done = subprocess.run(
            [sys.executable, "-c", MANY, simulator.url, str(tmp_path), port],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        image_bytes, grown, lines = map(int, done.stdout.split())
        assert len(simulator.requests) == 132
    assert image_bytes > 2_500_000
    assert grown < 6 * len(large), f"{grown / len(large):.1f} answers' worth of base64"
    assert 16 <= lines <= 40  # of a hundred: 16 at work, and those that are being closed still count
