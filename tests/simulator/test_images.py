"""The simulator's images endpoints, by the real SDK over a real socket."""

import base64
import io

import httpx
import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image, ImageChops, ImageStat

from prefect_media.simulator import Simulator

MODEL = "gpt-image-2"


@pytest.fixture
def client(media_simulator: Simulator):
    with openai.OpenAI(api_key="any", base_url=media_simulator.url, max_retries=0) as client:
        yield client


def picture(response: ImagesResponse, place: int = 0) -> Image.Image:
    return Image.open(io.BytesIO(content(response, place)))


def content(response: ImagesResponse, place: int = 0) -> bytes:
    assert response.data and response.data[place].b64_json
    return base64.b64decode(response.data[place].b64_json)


def png(size=(1024, 1024), color=(200, 40, 40)) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA" if len(color) == 4 else "RGB", size, color).save(file, "PNG")
    return file.getvalue()


def difference(one: Image.Image, other: Image.Image) -> float:
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


def test_an_image_comes_as_base64_with_what_it_is_and_what_it_used(client, media_simulator):
    raw = client.images.with_raw_response.generate(model=MODEL, prompt="a harbour", size="1536x1024", quality="low")
    answer = ImagesResponse.model_validate_json(raw.content)
    assert set(raw.http_response.json()) == {
        *("created", "data", "background", "output_format", "quality", "size", "usage")
    }
    assert set(raw.http_response.json()["data"][0]) == {"b64_json"}
    assert (answer.size, answer.quality, answer.output_format, answer.background) == (
        *("1536x1024", "low", "png", "opaque"),
    )
    assert answer.usage and answer.usage.output_tokens == round(272 * 1.5)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert picture(answer).size == (1536, 1024)
    (bought,) = media_simulator.images
    assert (bought.operation, bought.model, bought.prompt, bought.n, bought.size) == (
        *("generate", MODEL, "a harbour", 1, "1536x1024"),
    )


def test_size_auto_and_no_size_are_square(client):
    for size in ("auto", openai.omit):
        answer = client.images.generate(model=MODEL, prompt="a hill", size=size)
        assert answer.size == "1024x1024"
        assert picture(answer).size == (1024, 1024)


def test_the_same_request_gives_the_same_bytes_and_another_prompt_others(client):
    first, again = (client.images.generate(model=MODEL, prompt="a hill", size="512x512") for _ in range(2))
    other = client.images.generate(model=MODEL, prompt="a hill!", size="512x512")
    assert content(first) == content(again)
    assert content(first) != content(other)


def test_n_pictures_are_different_pictures_of_one_purchase(client, media_simulator):
    answer = client.images.generate(model=MODEL, prompt="a hill", n=3, size="512x512")
    assert len({content(answer, place) for place in range(3)}) == 3
    assert [image.n for image in media_simulator.images] == [3]


@pytest.mark.parametrize(("output_format", "pillow"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_the_format_asked_for_is_the_format_sent(client, output_format, pillow):
    answer = client.images.generate(model=MODEL, prompt="a hill", output_format=output_format, size="512x512")
    assert answer.output_format == output_format
    assert picture(answer).format == pillow


def test_compression_makes_a_jpeg_smaller(client):
    fine, coarse = (
        client.images.generate(model=MODEL, prompt="a", size="512x512", output_format="jpeg", output_compression=share)
        for share in (100, 20)
    )
    assert len(content(coarse)) < len(content(fine)) / 2


def test_a_transparent_background_is_transparent(client):
    answer = client.images.generate(model=MODEL, prompt="a hill", background="transparent", size="512x512")
    alpha = picture(answer).getchannel("A")
    assert (alpha.getpixel((0, 0)), alpha.getpixel((256, 256))) == (0, 255)
    assert answer.background == "transparent"


def test_dall_e_answers_links_and_base64_on_request(client):
    answer = client.images.generate(model="dall-e-3", prompt="a hill")
    assert answer.data and answer.data[0].url and answer.data[0].b64_json is None
    assert answer.data[0].revised_prompt and "a hill" in answer.data[0].revised_prompt
    assert answer.usage is None
    linked = httpx.get(answer.data[0].url)
    assert linked.headers["content-type"] == "image/png"
    inline = client.images.generate(model="dall-e-3", prompt="a hill", response_format="b64_json")
    assert content(inline) == linked.content


def test_an_edit_is_made_from_its_reference(client, media_simulator):
    red, blue = png(color=(220, 30, 30)), png(color=(30, 30, 220))
    edits = [client.images.edit(model=MODEL, image=each, prompt="make it foggy") for each in (red, blue)]
    assert difference(picture(edits[0]), picture(edits[1])) > 10
    assert media_simulator.images[0].operation == "edit"
    assert edits[0].usage and edits[0].usage.input_tokens_details.image_tokens > 0


def test_several_references_are_all_shown(client):
    one = client.images.edit(model=MODEL, image=[png()], prompt="x")
    two = client.images.edit(model=MODEL, image=[png(), png((64, 64), (20, 220, 20))], prompt="x")
    corner = (700, 0, 1024, 300)
    assert difference(picture(one).crop(corner), picture(two).crop(corner)) > 5


def test_a_mask_changes_only_what_is_transparent_in_it(client):
    mask = Image.new("RGBA", (1024, 1024), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (512, 0, 1024, 1024))
    file = io.BytesIO()
    mask.save(file, "PNG")
    edited = picture(client.images.edit(model=MODEL, image=png(), mask=file.getvalue(), prompt="a hill"))
    kept, changed = (100, 300, 400, 600), (600, 300, 900, 600)
    reference = Image.open(io.BytesIO(png()))
    assert difference(edited.crop(kept), reference.crop(kept)) < 1
    assert difference(edited.crop(changed), reference.crop(changed)) > 10


def test_an_edit_by_json_takes_data_urls_and_links_and_equals_the_form(client, media_simulator):
    data_url = "data:image/png;base64," + base64.b64encode(png()).decode()
    body = {"model": MODEL, "prompt": "foggy", "images": [{"image_url": data_url}], "moderation": "low"}
    answer = client.post("/images/edits", body=body, cast_to=ImagesResponse)
    assert content(answer) == content(client.images.edit(model=MODEL, image=png(), prompt="foggy"))
    linked = client.images.generate(model="dall-e-2", prompt="a hill").data[0].url
    client.post("/images/edits", body=body | {"images": [{"image_url": linked}]}, cast_to=ImagesResponse)
    assert len(media_simulator.images) == 4


def rejected(call, *, code: str | None, param: str | None) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        call()
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.request_id and caught.value.request_id.startswith("req_")
    return caught.value


def test_moderation_refuses_the_word_forbidden_and_charges_nothing(client, media_simulator):
    error = rejected(
        lambda: client.images.generate(model=MODEL, prompt="a FORBIDDEN hill"), code="moderation_blocked", param=None
    )
    assert error.type == "image_generation_user_error"
    assert isinstance(error.body, dict)
    assert error.body["moderation_details"] == {"moderation_stage": "input", "categories": ["violence"]}
    assert error.body["message"].endswith("safety_violations=[violence].")
    assert media_simulator.images == []


@pytest.mark.parametrize(
    ("model", "parameters", "code", "param"),
    [
        (MODEL, {"response_format": "b64_json"}, "unknown_parameter", "response_format"),
        (MODEL, {"style": "vivid"}, "unknown_parameter", "style"),
        (MODEL, {"input_fidelity": "high"}, "unknown_parameter", "input_fidelity"),
        (MODEL, {"size": "1000x1000"}, "invalid_value", "size"),  # not divisible by 16
        (MODEL, {"size": "256x1024"}, "invalid_value", "size"),  # narrower than 1:3
        (MODEL, {"size": "3856x2160"}, "invalid_value", "size"),
        (MODEL, {"size": "large"}, "invalid_value", "size"),
        (MODEL, {"quality": "xhigh"}, "invalid_value", "quality"),
        (MODEL, {"quality": "hd"}, "invalid_value", "quality"),
        (MODEL, {"n": 0}, "integer_below_min_value", "n"),
        (MODEL, {"n": 11}, "integer_above_max_value", "n"),
        (MODEL, {"n": "two"}, "invalid_type", "n"),
        (MODEL, {"output_format": "tiff"}, "invalid_value", "output_format"),
        (MODEL, {"output_compression": 50}, "invalid_value", "output_compression"),
        (MODEL, {"output_format": "jpeg", "background": "transparent"}, "invalid_value", "background"),
        (MODEL, {"prompt": "x" * 32_001}, "string_above_max_length", "prompt"),
        (MODEL, {"prompt": ""}, "empty_string", "prompt"),
        (MODEL, {"prompt": None}, "missing_required_parameter", "prompt"),
        (MODEL, {"model": None}, "missing_required_parameter", "model"),
        ("gpt-image-1.5", {"size": "1536x864"}, "invalid_value", "size"),
        ("gpt-image-1-mini", {"quality": "max"}, "invalid_value", "quality"),
        ("dall-e-3", {"n": 2}, "integer_above_max_value", "n"),
        ("dall-e-3", {"size": "auto"}, "invalid_value", "size"),
        ("dall-e-3", {"background": "opaque"}, "unknown_parameter", "background"),
        ("dall-e-2", {"style": "vivid"}, "unknown_parameter", "style"),
        ("dall-e-2", {"size": "1792x1024"}, "invalid_value", "size"),
    ],
)
def test_what_a_model_does_not_take_is_refused_by_name(client, media_simulator, model, parameters, code, param):
    body = {"model": model, "prompt": "a hill"} | parameters
    rejected(lambda: client.post("/images/generations", body=body, cast_to=ImagesResponse), code=code, param=param)
    assert media_simulator.images == []


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (MODEL, {"size": "1536x864"}),
        ("gpt-image-2-2026-04-21", {"size": "512x1536"}),
        ("gpt-image-2.5-flare", {"quality": "max", "size": "512x512"}),
        ("gpt-image-1.5", {"input_fidelity": "high"}),
        ("dall-e-3", {"style": "natural", "quality": "hd", "size": "1792x1024"}),
        ("dall-e-2", {"size": "256x256", "n": 2}),
        ("somebody/open-model", {"size": "640x360", "guidance_scale": 7.5, "response_format": "url"}),
    ],
)
def test_what_a_model_takes_is_served(client, media_simulator, model, parameters):
    body = {"model": model, "prompt": "a hill"} | parameters
    client.post("/images/generations", body=body, cast_to=ImagesResponse)
    assert media_simulator.images[0].size == parameters.get("size", "1024x1024")


def test_an_edit_needs_images_that_are_images(client):
    def send(**fields):
        return lambda: client.images.edit(model=MODEL, prompt="x", **fields)

    rejected(send(image=b"no image"), code="invalid_image_file", param="image")
    rejected(send(image=[]), code="missing_required_parameter", param="image")
    rejected(send(image=[png((16, 16))] * 17), code="invalid_value", param="image")
    rejected(send(image=png(), mask=png((16, 16))), code="invalid_value", param="mask")
    rejected(send(image=png(), extra_body={"moderation": "low"}), code="unknown_parameter", param="moderation")
