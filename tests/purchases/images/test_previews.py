"""Previews come before the image and cost nothing more, and a stream may end in any way."""

import base64
import io
import json

import pytest
from PIL import Image
from sdk_types import validate

from prefect_media import ImageEditRequest, ImageRequest
from prefect_media.errors import ContentRejected, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.simulator import Fault


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
