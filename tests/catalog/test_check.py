"""What the catalog says of models: its data is sound, and its rules refuse what can't work."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from prefect_media.catalog import data as catalog
from prefect_media.catalog import retirements
from prefect_media.catalog.check import check
from prefect_media.errors import InvalidRequest, ModelRetired
from prefect_media.requests import ImageRequest, VideoRequest

TODAY = date(2026, 11, 24)
MODELS = catalog.catalog().models


@pytest.fixture
def validation(configure):
    def set_to(value):
        configure(validation=value)

    return set_to


def image(**fields):
    return ImageRequest(prompt="a fox", **{"model": "gpt-image-2", **fields})


def video(**fields):
    return VideoRequest(prompt="a fox", **{"model": "sora-2", **fields})


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_every_row_says_where_it_is_from_and_its_successor_lives(model):
    assert model.source
    assert model.family.source
    assert model.family.sizes
    for day in model.retired.values():
        assert isinstance(day, date)
    if model.family.kind == "image" and model.retired.get("openai"):
        successor = MODELS[model.successor]
        assert successor.retired.get("openai", date.max) > TODAY
    if model.family.kind == "video":
        assert model.successor is None
        assert model.family.seconds


@pytest.mark.parametrize(
    ("model", "host", "last_day"),
    [
        ("dall-e-3", "openai", date(2026, 5, 11)),
        ("dall-e-2", "openai", date(2026, 5, 11)),
        ("dall-e-3", "azure", date(2026, 3, 3)),
        ("gpt-image-1", "openai", date(2026, 10, 22)),
        ("gpt-image-1.5", "openai", date(2026, 11, 30)),
        ("gpt-image-1.5", "azure", date(2026, 12, 15)),
        ("sora-2", "openai", date(2026, 9, 23)),
        ("sora-2", "azure", date(2026, 10, 14)),
        ("sora-2-pro", "openai", date(2026, 9, 23)),
    ],
)
def test_a_model_works_until_its_last_day_on_that_host(model, host, last_day):
    request = video(model=model) if model.startswith("sora") else image(model=model)
    check(request, host, today=last_day)
    with pytest.raises(ModelRetired) as caught:
        check(request, host, today=last_day + timedelta(days=1))
    assert caught.value.date == (last_day + timedelta(days=1)).isoformat()
    assert caught.value.date in str(caught.value)
    assert caught.value.successor == MODELS[model].successor
    if caught.value.successor:
        assert caught.value.successor in str(caught.value)
    check(request, "other", today=last_day + timedelta(days=1000))


def test_the_openai_prefix_is_taken_off_where_the_rest_is_known():
    assert check(video(model="openai/sora-2"), "other").model == "sora-2"
    assert check(video(model="openai/gpt-5-video"), "other").model == "openai/gpt-5-video"
    assert check(video(model="Wan-AI/Wan2.2"), "other").model == "Wan-AI/Wan2.2"


@pytest.mark.parametrize("host", ["azure", "other"])
def test_an_unknown_name_passes_where_names_are_free(host):
    request = video(model="my-deployment", seconds=7, size="333x111", extra={"seed": 1})
    assert check(request, host) == request


def test_an_unknown_name_at_openai_is_refused_with_what_it_serves():
    with pytest.raises(InvalidRequest, match=r"'gpt-image-9'.*gpt-image-2\.6-flare"):
        check(image(model="gpt-image-9"), "openai")
    with pytest.raises(InvalidRequest, match="no video model since 2026-09-24"):
        check(video(model="sora-3"), "openai")


def test_a_family_gives_a_deployment_its_rules():
    with pytest.raises(InvalidRequest, match="1792x1024"):
        check(image(model="pictures", size="1x1"), "azure", family="dall-e-3")
    with pytest.raises(InvalidRequest, match="model_family='dalle'"):
        check(image(model="pictures"), "azure", family="dalle")
    with pytest.raises(InvalidRequest, match="makes images, not videos"):
        check(video(model="pictures"), "azure", family="dall-e-3")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (image(size="1000x1000"), "multiples of 16"),
        (image(size="0x16"), "0"),
        (image(size="3872x2176"), "longer than 3840"),
        (image(size="3200x1024"), "between 1:3 and 3:1"),
        (image(size="512x512"), "655,360"),
        (image(size="3840x3840"), "8,294,400"),
        (image(model="gpt-image-1.5", size="1792x1024"), "1024x1024, 1536x1024, 1024x1536, auto"),
        (image(model="dall-e-3", quality="high"), "standard, hd"),
        (image(model="dall-e-3", style="loud"), "vivid, natural"),
        (image(model="dall-e-2", size="1792x1024"), "256x256, 512x512, 1024x1024"),
        (image(model="dall-e-2", quality="hd"), "does not take quality"),
        (image(quality="hd"), "auto, low, medium, high"),
        (image(quality="max"), "auto, low, medium, high"),
        (image(style="vivid"), "does not take style"),
        (image(background="glass"), "transparent, opaque, auto"),
        (image(output_format="tiff"), "png, jpeg, webp"),
        (image(output_compression=50), "jpeg or webp, not png"),
        (image(background="transparent", output_format="jpeg"), "png or webp, not jpeg"),
        (image(moderation="none"), "auto, low"),
        (image(size="1024x1024", aspect_ratio="1:1"), "exclude each other"),
        (image(extra={"seed": 3}), "does not take seed"),
        (video(seconds=5), "4, 8, 12"),
        (video(seconds=25), "4, 8, 12"),
        (video(model="sora-2-pro", seconds=11), "4, 8, 10, 12, 15, 25"),
        (video(size="640x480"), "1280x720"),
        (video(extra={"negative_prompt": "blur"}), "does not take negative_prompt"),
        (video(extra={"generate_audio": True}), "does not take generate_audio"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_model_can_not_do_is_said_with_the_value_and_what_is_possible(request_, said):
    with pytest.raises(InvalidRequest) as caught:
        check(request_, "other")
    assert said in str(caught.value)
    assert "nothing was sent" in str(caught.value)


def test_all_complaints_come_at_once():
    with pytest.raises(InvalidRequest) as caught:
        check(video(seconds=5, size="1x1", extra={"seed": 1}), "other")
    for part in ("seconds=5", "'1x1'", "seed"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("model", "ratio", "size"),
    [
        ("sora-2", "16:9", "1280x720"),
        ("sora-2", "9:16", "720x1280"),
        ("sora-2", "1:1", "1024x1024"),
        ("sora-2", "16:10", "1792x1024"),
        ("sora-2", "10:16", "1024x1792"),
        ("sora-2-pro", "16:9", "1280x720"),
        ("my-wan", "16:9", "1280x720"),
        ("my-wan", "10:16", "800x1280"),
    ],
)
def test_an_aspect_ratio_becomes_a_video_size(model, ratio, size):
    checked = check(video(model=model, aspect_ratio=ratio), "other")
    assert (checked.size, checked.aspect_ratio) == (size, None)


@pytest.mark.parametrize("ratio", ["16:9", "9:16", "1:1", "16:10", "10:16"])
@pytest.mark.parametrize("model", [m.name for m in MODELS.values() if m.family.kind == "image"])
def test_an_aspect_ratio_becomes_the_best_legal_image_size(model, ratio):
    size = check(image(model=model, aspect_ratio=ratio), "other").size
    check(image(model=model, size=size), "other")
    width, height = map(int, size.split("x"))
    across, down = map(int, ratio.split(":"))
    if MODELS[model].family.free_sizes:
        assert abs(width / height - across / down) < 0.01
    assert (width > height) == (across > down and model != "dall-e-2")


def test_validation_can_be_softened_but_a_dead_model_stays_dead(validation, caplog):
    wrong = image(size="1000x1000")
    validation("warn")
    assert check(wrong, "other") == wrong
    assert "multiples of 16" in caplog.text
    validation("off")
    caplog.clear()
    assert check(wrong, "other") == wrong
    assert not caplog.text
    assert check(image(model="gpt-image-9"), "openai").model == "gpt-image-9"
    with pytest.raises(ModelRetired):
        check(image(model="dall-e-3"), "openai", today=TODAY)


def test_a_model_that_is_going_is_warned_of_once_for_each_host(caplog, monkeypatch):
    monkeypatch.setattr(retirements, "_warned", set())
    for _ in range(3):
        check(image(model="gpt-image-1.5"), "openai", today=TODAY)
    [warning] = [record.getMessage() for record in caplog.records]
    assert "gpt-image-1.5 will be switched off at api.openai.com on 2026-12-01" in warning
    assert "move to gpt-image-2.6-flare" in warning
    check(image(model="gpt-image-1.5"), "azure", today=TODAY)
    assert "on Azure on 2026-12-16" in caplog.records[-1].getMessage()
    caplog.clear()
    check(image(model="gpt-image-1-mini"), "azure", today=TODAY)
    check(image(model="gpt-image-1-mini"), "openai", today=date(2026, 10, 31))
    check(image(model="gpt-image-1-mini"), "other", today=TODAY)
    assert not caplog.records


def test_a_family_on_the_request_goes_before_that_of_the_connection():
    request = image(model="mine", model_family="gpt-image-1.5", size="1280x720")
    with pytest.raises(InvalidRequest, match="1536x1024"):
        check(request, "azure", family="gpt-image-2")
    assert check(image(model="mine", size="1280x720"), "azure", family="gpt-image-2").model == "mine"


@pytest.mark.parametrize(
    "row", [*catalog.catalog().needs, *catalog.catalog().hosts.values(), *catalog.catalog().prices.values()], ids=str
)
def test_every_row_has_its_source_and_date(row):
    assert row.source and row.checked <= TODAY


@pytest.mark.parametrize(
    ("model", "host", "day", "status"),
    [
        ("dall-e-3", "openai", TODAY, "retired"),
        ("gpt-image-1.5", "openai", TODAY, "retiring"),
        ("gpt-image-1.5", "openai", date(2026, 12, 1), "retired"),
        ("gpt-image-2", "azure", TODAY, "alive"),
        ("gpt-image-2", "openai", TODAY, "alive"),
        ("gpt-image-2.6-flare", "azure", TODAY, "unknown"),
    ],
)
def test_how_a_model_stands(model, host, day, status):
    assert MODELS[model].status(host, day) == status


ROOT = Path(__file__).parents[2]
TEXTS = [
    *(path for name in ("README.md", "prefect.yaml", "CHANGELOG.md") if (path := ROOT / name).exists()),
    *sorted(path for folder in ("docs", "flows", "tasks", "blocks") for path in (ROOT / folder).rglob("*.*")),
    *sorted(path for path in (ROOT / "src").rglob("*.py") if "simulator" not in path.parts),
]
SAID_SO = re.compile(r"retired|shut down|switched off|gone|no longer|only|own server|until|before 20|simulat", re.I)
NAMED = re.compile(r"""["'`](?:openai/)?((?:dall-e|gpt-image|chatgpt-image)[\w.-]*)["'`]""")


@pytest.mark.parametrize(
    "path", [p for p in TEXTS if p.suffix in (".md", ".py", ".yaml")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_example_and_no_default_uses_a_dead_model(path):
    """Images only: the video models are all gone at OpenAI, and their names live on on servers of one's own."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        for name in NAMED.findall(line):
            model = MODELS.get(name)
            dead = model and model.status("openai", date.today()) == "retired"
            assert not dead or SAID_SO.search(line), f"{path.name}:{number} uses {name}, which is gone: {line.strip()}"


def test_the_search_for_dead_models_finds_them():
    assert NAMED.findall('ImageRequest(prompt="a", model="dall-e-3")') == ["dall-e-3"]
    assert NAMED.findall("use `openai/gpt-image-1` here") == ["gpt-image-1"]
    assert not SAID_SO.search('model="dall-e-3", size="1024x1024"')
