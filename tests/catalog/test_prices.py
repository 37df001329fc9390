"""What things cost: thought before, known after, and None where nobody can say."""

from dataclasses import replace

import pytest
import typer

from prefect_media import ImageEditRequest, ImageRequest, VideoRequest
from prefect_media.catalog import data as catalog
from prefect_media.catalog.prices import batch_price, estimate, of_images, of_tokens, quote, share
from prefect_media.cli.models import list_models, print_estimate
from prefect_media.errors import InvalidRequest
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.storage.store import storage_at

TERMS = PurchaseOptions(scope="x", timeout=60)


def usage(text=0, image=0, drawn=0, **more):
    return {
        "input_tokens": text + image,
        "input_tokens_details": {"text_tokens": text, "image_tokens": image},
        "output_tokens": drawn,
        **more,
    }


@pytest.mark.parametrize(
    ("model", "used", "usd"),
    [
        ("gpt-image-2", usage(1_000_000), 5.0),
        ("gpt-image-2", usage(image=1_000_000), 8.0),
        ("gpt-image-2", usage(drawn=1_000_000), 30.0),
        ("gpt-image-2", usage(12, 323, 1056), (12 * 5 + 323 * 8 + 1056 * 30) / 1e6),
        ("gpt-image-1.5", usage(drawn=4160), 0.13312),
        ("gpt-image-1-mini", usage(10, drawn=1056), (10 * 2 + 1056 * 8) / 1e6),
        ("openai/gpt-image-2", usage(drawn=1056), 0.03168),
        ("gpt-image-2", {"input_tokens": 10, "output_tokens": 1056}, (10 * 5 + 1056 * 30) / 1e6),
        ("gpt-image-2.6-flare", usage(drawn=50, output_tokens_details={"image_tokens": 50, "text_tokens": 0}), 0.0015),
        # what is not known is not 0
        ("gpt-image-2", None, None),
        ("gpt-image-2", {}, None),
        ("gpt-image-2", {"input_tokens": 3}, None),
        ("gpt-image-2", usage(10, drawn=60, output_tokens_details={"image_tokens": 50, "text_tokens": 10}), None),
        ("gpt-image-2.6-flare", usage(10, drawn=60, svg_usage={"total_tokens": 5}), None),
        ("my-own", usage(10, drawn=60), None),
        ("dall-e-3", usage(10, drawn=60), None),
    ],
)  # fmt: skip
def test_tokens_in_usd(model, used, usd):
    got = of_images(model, "openai", used)
    assert got == (usd if usd is None else pytest.approx(usd, rel=1e-6))


def test_cached_tokens_are_cheaper_where_their_price_is_known():
    used = usage(1000, drawn=100)
    used["input_tokens_details"]["cached_tokens_details"] = {"text_tokens": 400, "image_tokens": 0}
    assert of_images("gpt-image-2", "openai", used) == pytest.approx((600 * 5 + 400 * 1.25 + 100 * 30) / 1e6)
    unknown = replace(catalog.price_of("gpt-image-2", "openai"), text_cached=None)
    assert of_tokens(unknown, used) is None


def test_what_is_cached_or_written_has_its_own_price():
    """As LiteLLM 1.110.2's price map has it, citing OpenAI's pricing page."""
    used = {
        "input_tokens_details": {
            "text_tokens": 1000,
            "image_tokens": 500,
            "cached_tokens_details": {"text_tokens": 400, "image_tokens": 100},
        },
        "output_tokens": 110,
        "output_tokens_details": {"image_tokens": 100, "text_tokens": 10},
    }
    into = 600 * 5 + 400 * 1.25 + 400 * 8 + 100 * 2
    assert of_images("gpt-image-1.5", "openai", used) == pytest.approx((into + 100 * 32 + 10 * 10) / 1e6)
    del used["output_tokens_details"]
    for model in ("gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.6-sunburst"):
        assert of_images(model, "openai", used) == pytest.approx((into + 110 * 30) / 1e6)


@pytest.mark.parametrize(
    ("model", "part"),
    [("gpt-image-1.5", 0.5), ("gpt-image-2", 0.5), ("gpt-image-2.5-flare", 0.5), ("gpt-image-2.6-flare", 1)],
)
def test_a_batch_costs_half_where_that_is_listed(model, part):
    assert batch_price(1.0, model, "openai") == part


@pytest.mark.parametrize(
    ("request_", "host", "usd"),
    [
        (ImageRequest(prompt="abcd", model="gpt-image-2", size="1024x1024", quality="low"), "openai", 0.006005),
        (ImageRequest(prompt="abcd", model="gpt-image-2", size="1024x1024", quality="high", n=20), "openai", 4.220005),
        (ImageRequest(prompt="abcd", model="gpt-image-2", size="1024x1024"), "azure", 0.211005),
        (ImageRequest(prompt="abcd", model="mine", model_family="gpt-image-2", size="1024x1024"), "azure", 0.211005),
        (ImageRequest(prompt="a", model="gpt-image-2", size="1024x1024"), "openai", None),
        (ImageRequest(prompt="a", model="gpt-image-2", quality="low"), "openai", None),
        (ImageRequest(prompt="a", model="gpt-image-2", size="1280x720", quality="low"), "openai", None),
        (ImageRequest(prompt="a", model="my-own", size="1024x1024", quality="low"), "other", None),
        (ImageEditRequest(prompt="a", model="gpt-image-2", images=["a.png"], size="1024x1024"), "openai", None),
        (VideoRequest(prompt="a", model="sora-2", seconds=8, size="1280x720"), "openai", 0.8),
        (VideoRequest(prompt="a", model="sora-2-pro", seconds=4, size="1792x1024"), "openai", 2.0),
        (VideoRequest(prompt="a", model="sora-2", seconds=8, size="1280x720"), "other", None),
        (VideoRequest(prompt="a", model="sora-2", size="1280x720"), "openai", None),
        (VideoRequest(prompt="a", model="sora-2", seconds=8), "openai", None),
        (VideoRequest(prompt="a", model="my-wan", seconds=8, size="1280x720"), "other", None),
    ],
)
def test_estimates(request_, host, usd):
    assert estimate(request_, host) == usd
    offer = quote(request_, host)
    assert offer.usd == usd
    assert offer.basis


async def test_the_asset_and_the_ledger_tell_what_was_paid(media_simulator, tmp_path):
    place, connection = storage_at(str(tmp_path)), media_simulator.credentials.connection()
    request = ImageRequest(prompt="a boat", model="gpt-image-2", size="1024x1024", quality="low", n=3)
    assets = await buy_images(connection, request, place, TERMS)
    used = assets[0].source.usage
    paid = (used["input_tokens"] * 5 + used["output_tokens"] * 30) / 1e6
    [record] = [record async for record in Ledger(place).purchases()]
    assert record.cost_usd == pytest.approx(paid)
    assert sum(asset.source.cost_usd for asset in assets) == pytest.approx(paid)
    assert sum(asset.source.estimated_usd for asset in assets) == pytest.approx(estimate(request))
    [unknown] = await buy_images(connection, ImageRequest(prompt="a boat", model="my-own"), place, TERMS)
    assert (unknown.source.cost_usd, unknown.source.estimated_usd) == (None, None)
    assert unknown.source.usage


@pytest.fixture
def own_prices(tmp_path, configure):
    path = tmp_path / "prices.toml"
    path.write_text('[prices."my-wan"]\nper_second = 0.04\n[prices."gpt-image-2"]\ntext_in = 1\nimage_out = 10\n')
    configure(prices=path)
    return path


async def test_prices_of_your_own_go_first(media_simulator, tmp_path, own_prices):
    place, connection = storage_at(str(tmp_path / "store")), media_simulator.credentials.connection()
    request = VideoRequest(prompt="a", model="my-wan", seconds=5, size="320x180")
    clip = await buy_video(connection, request, place, TERMS)
    assert (clip.source.cost_usd, clip.source.estimated_usd) == (0.2, 0.2)
    [record] = [record async for record in Ledger(place).purchases()]
    assert record.cost_usd == 0.2
    assert of_images("gpt-image-2", "openai", usage(1_000_000, drawn=1_000_000)) == 11.0
    own_prices.write_text("no toml at all")
    catalog.own_prices.cache_clear()
    with pytest.raises(InvalidRequest, match=r"prices\.toml can't be read as a price list.*per_second"):
        of_images("gpt-image-2", "openai", usage(1))


def test_a_sum_with_an_unknown_in_it_is_unknown():
    assert share(None, 3) is None
    assert share(0.3, 3) == pytest.approx(0.1)


def test_the_command_line_shows_models_and_estimates(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "220")
    list_models()
    shown = capsys.readouterr().out
    for name, model in catalog.catalog().models.items():
        assert name in shown
        for end in model.retired.values():
            assert str(end) in shown
    list_models("video", alive=True)
    assert "sora" not in capsys.readouterr().out
    print_estimate("gpt-image-2", size="1024x1024", quality="high", n=3)
    assert "0.6330 USD: 3 x 0.211" in capsys.readouterr().out
    with pytest.raises(typer.Exit) as end:
        print_estimate("sora-2", seconds=8, size="1280x720")
    assert end.value.exit_code == 1
    first, second = capsys.readouterr().out.splitlines()
    assert "retired: 2026-09-24" in first
    assert "0.8000 USD" in second
    with pytest.raises(typer.Exit) as end:
        print_estimate("my-own", host="other")
    assert end.value.exit_code == 1
    assert "unknown: no price of my-own is known" in capsys.readouterr().out


def test_every_price_has_a_source_and_a_number():
    for price in catalog.catalog().prices.values():
        assert price.source and price.checked
        assert price.image_out or price.per_second
