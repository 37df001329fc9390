"""Every model of the catalog with every parameter, over a real socket; requests and answers are of the SDK's types."""

from types import SimpleNamespace

import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
)
from sdk_types import validate

from prefect_media import ImageEditRequest, ImageRequest
from prefect_media.catalog import data as catalog
from prefect_media.errors import InvalidRequest
from prefect_media.providers.connection import wire_client
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images

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
