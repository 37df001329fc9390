"""Forms: short, without nulls, with living suggestions; what a form sends is the same as flat JSON."""

import json
from datetime import date

import jsonschema
import pytest
from pydantic import TypeAdapter, ValidationError

from prefect_media import (
    Budget,
    ImageEditRequest,
    ImageRequest,
    RemixRequest,
    VideoEditRequest,
    VideoExtendRequest,
    VideoRequest,
)
from prefect_media.budget import OptionalBudget
from prefect_media.catalog.data import catalog
from prefect_media.form_schema import CHOICES, suggested_models
from prefect_media.runtime import clock

REQUESTS = [ImageRequest, ImageEditRequest, VideoRequest, RemixRequest, VideoEditRequest, VideoExtendRequest]


def fields_under_options(schema):
    as_usual, choose = schema["properties"]["options"]["anyOf"]
    assert as_usual["properties"] == {}
    return choose["properties"]


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        (ImageRequest, ["prompt", "model", "aspect_ratio", "n"]),
        (ImageEditRequest, ["prompt", "model", "images", "aspect_ratio", "n"]),
        (VideoRequest, ["prompt", "model", "seconds", "aspect_ratio"]),
        (RemixRequest, ["video", "prompt"]),
        (VideoExtendRequest, ["video", "prompt", "seconds"]),
    ],
)
def test_what_matters_comes_first_and_every_other_field_is_an_option(kind, first):
    schema = TypeAdapter(kind).json_schema()
    in_order = sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"])
    assert in_order == [*first, "options"]
    assert {*first, *fields_under_options(schema)} == set(kind.model_fields)


@pytest.mark.parametrize("kind", REQUESTS)
def test_no_form_asks_for_null_and_every_option_is_explained(kind):
    schema = TypeAdapter(kind).json_schema()
    assert '"null"' not in json.dumps(schema)
    assert "$defs" not in schema  # an asset is an editor, not a form of thirty fields
    for name, field in fields_under_options(schema).items():
        assert field.get("description"), name


def test_what_a_request_becomes_in_json_is_described_as_it_is():
    schema = TypeAdapter(ImageRequest).json_schema(mode="serialization")
    assert "options" not in schema["properties"]
    assert set(schema["properties"]) == set(ImageRequest.model_fields)


@pytest.mark.parametrize(
    ("kind", "flat", "form"),
    [
        (
            ImageRequest,
            {"prompt": "a", "model": "m", "size": "64x64", "quality": "low", "n": 2},
            {"prompt": "a", "model": "m", "n": 2, "options": {"size": "64x64", "quality": "low"}},
        ),
        (VideoRequest, {"prompt": "a", "model": "m"}, {"prompt": "a", "model": "m", "options": {}}),
        (VideoRequest, {"prompt": "a", "model": "m"}, {"prompt": "a", "model": "m", "options": None}),
        (
            RemixRequest,
            {"prompt": "a", "video": "video_1", "extra": {"seed": 7}},
            {"prompt": "a", "video": "video_1", "options": {"extra": {"seed": 7}}},
        ),
    ],
)
def test_options_are_the_fields_themselves(kind, flat, form):
    assert kind.model_validate(form) == kind.model_validate(flat)
    assert kind.model_validate_json(json.dumps(form)).model_dump_json() == kind(**flat).model_dump_json()


def test_a_field_given_twice_counts_as_in_the_options():
    form = {"prompt": "a", "model": "m", "quality": "low", "options": {"quality": "high"}}
    assert ImageRequest.model_validate(form).quality == "high"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colour": "red"}, "ImageRequest has no field colour"),
        ({"options": {}}, "ImageRequest has no field options"),
        ({"output_compression": 101}, "less than or equal to 100"),
        ("quality", "options='quality' is not an object; pass fields of the request in it"),
    ],
)
def test_options_are_checked_as_fields_are(options, said):
    with pytest.raises(ValidationError) as caught:
        ImageRequest.model_validate({"prompt": "a", "model": "m", "options": options})
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", REQUESTS)
def test_the_schema_allows_every_field_flat(kind):
    """Prefect's server checks the parameters of a run against it; deployments of before give fields flat."""
    schema = TypeAdapter(kind).json_schema()
    start = {"prompt": "a", "model": "m", "video": "video_1", "images": ["a.png"], "seconds": 4}
    flat = {name: value for name, value in start.items() if name in kind.model_fields}
    flat |= {"extra": {"seed": 1}, "variant": 2}
    if kind is ImageRequest:
        flat |= {"quality": "word of another server", "size": "64x64", "output_compression": 7}
    jsonschema.validate(flat, schema)
    kind.model_validate(flat)


def test_the_schema_checks_what_a_form_sends():
    schema = TypeAdapter(ImageRequest).json_schema()
    jsonschema.validate({"prompt": "a", "model": "m", "options": {"quality": "low"}}, schema)
    for wrong in ({"options": {"output_compression": 101}}, {"options": {"background": "red"}}, {"n": 0}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"prompt": "a", "model": "m", **wrong}, schema)


def test_models_are_suggested_while_they_live(monkeypatch):
    monkeypatch.setattr(clock, "today", lambda: date(2026, 11, 29))
    names = suggested_models("image")
    assert names[0] == "gpt-image-2.6-sunburst"
    assert "gpt-image-1-mini" in names  # ends at OpenAI in two days, lives on at Azure
    assert not {"dall-e-3", "gpt-image-1", "chatgpt-image-latest"} & set(names)
    assert suggested_models("video") == []
    assert TypeAdapter(ImageRequest).json_schema()["properties"]["model"]["anyOf"][1]["enum"] == names
    assert TypeAdapter(VideoRequest).json_schema()["properties"]["model"]["type"] == "string"
    monkeypatch.setattr(clock, "today", lambda: date(2027, 4, 1))
    assert "gpt-image-1-mini" not in suggested_models("image")


def test_the_choices_are_those_of_models_that_live():
    offered = {
        "quality": "qualities",
        "background": "backgrounds",
        "output_format": "formats",
        "complexity": "complexities",
        "style": "styles",
        "moderation": "moderations",
        "input_fidelity": "fidelities",
    }
    assert set(offered) == set(CHOICES)
    families = [catalog().models[name].family for name in suggested_models("image")]
    for field, column in offered.items():
        for family in families:
            taken = {*getattr(family, column), *(family.preview_formats if field == "output_format" else ())}
            assert taken <= set(CHOICES[field]), (field, family.name)


def test_a_budget_that_was_left_alone_is_none():
    budget = TypeAdapter(OptionalBudget)
    assert budget.validate_python({}) is None
    assert budget.validate_python(None) is None
    assert budget.validate_python({"usd": 20}) == Budget(usd=20)
    with pytest.raises(ValidationError, match="usd"):
        budget.validate_python({"period": "month"})
    for accepted in (None, {}, {"usd": 20, "period": "month", "unpriced_usd": None}):
        jsonschema.validate(accepted, budget.json_schema())
    assert '"null"' not in json.dumps(budget.json_schema())
