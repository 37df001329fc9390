"""The gallery: cards, lineage, pages, and texts of strangers that stay text. What the browser makes of it: tests/ui."""

import asyncio
import html
import io
import re
from datetime import timedelta

import pytest
from PIL import Image
from prefect import flow, get_client
from prefect.artifacts import Artifact
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect_media.tasks import Generation, ashow_gallery, ashow_table, show_gallery, show_table
from prefect_media.tasks.cards import cards, link_to, picture_of
from prefect_media.tasks.gallery_page import LARGEST_PAGE, page
from prefect_media.tasks.markup import cell, markdown, narrow_html, plain
from prefect_media.tasks.posters import poster_of
from prefect_media.tasks.shots import Origin, Shot, by_lineage

from prefect_media import ImageRequest, MediaStore, VideoRequest
from prefect_media.assets import Asset, AssetSource
from prefect_media.errors import ContentRejected, InvalidRequest, JobFailed
from prefect_media.runtime import clock

EVIL = "<script>evil()</script> <img src=x onerror=evil()> [x](javascript:evil()) `**bold**` \u202e🚢\n\n# heading"


def asset_in(folder, name="fox.png", *, picture=True, job_id=None, **more):
    """An image in a folder, with its source."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 90, 30)).save(out, "PNG")
    path = folder / name
    path.write_bytes(out.getvalue() if picture else b"no picture")
    source = AssetSource(
        provider="openai",
        host="example.com",
        model="gpt-image-2",
        operation="remix" if more.get("remixed_from") else "generate",
        job_id=job_id,
        fingerprint="f",
        purchase=f"purchase-{name}",
        created_at=clock.now(),
        cost_usd=0.04,
        **more,
    )
    return Asset(
        uri=path.as_uri(),
        kind="video" if name.endswith(".mp4") else "image",
        content_type="video/mp4" if name.endswith(".mp4") else "image/png",
        size_bytes=path.stat().st_size,
        sha256=(name.encode().hex() + "0" * 64)[:64],
        width=64,
        height=48,
        source=source,
    )


async def artifacts_of(flow_run_id):
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        )
    return {each.key: each for each in found}


# Texts.


def test_a_text_of_strangers_stays_text():
    assert "<" not in narrow_html(EVIL, 500)
    assert html.unescape(narrow_html(EVIL, 500)).replace("\u200b", "") == plain(EVIL, 500)
    assert "\n" not in plain(EVIL, 500) and "\u202e" not in plain(EVIL, 500)
    assert re.sub(r"\\(.)", r"\1", markdown(EVIL, 500)) == plain(EVIL, 500)
    assert not re.search(r"(?<!\\)[<\[`*]", markdown(EVIL, 500))
    assert "](" not in cell("[x](javascript:evil())") and "<s" not in cell("<script>")
    assert cell(3) == 3


def test_long_texts_are_shortened_at_a_word_and_long_words_can_break():
    assert plain("a boat on the sea " * 9, 20) == "a boat on the sea…"
    assert plain("x" * 5_000, 20) == "x" * 19 + "…"
    assert max(map(len, narrow_html("x" * 5_000, 200).split("\u200b"))) <= 20


# Lineage.


def test_what_was_made_from_one_another_stands_together_parents_first(tmp_path):
    still, clip, remix, other = (
        Shot(Origin(), asset_in(tmp_path, name, job_id=job_id, remixed_from=source))
        for name, job_id, source in (
            ("still.png", None, None),
            ("clip.mp4", "video_1", None),
            ("remix.mp4", "video_2", "video_1"),
            ("other.png", None, None),
        )
    )
    clip = Shot(Origin(parents=(still.asset.sha256,)), clip.asset)
    assert by_lineage([remix, other, clip, still]) == [[still, clip, remix], [other]]
    text = cards([(shot, asyncio.run(picture_of(shot, timedelta(days=1)))) for shot in (still, clip, remix, other)])
    assert "still → clip → remix" in text


def test_shots_that_claim_to_come_from_each_other_are_shown_too(tmp_path):
    first, second = asset_in(tmp_path, "1.png"), asset_in(tmp_path, "2.png")
    shots = [Shot(Origin(parents=(second.sha256,)), first), Shot(Origin(parents=(first.sha256,)), second)]
    assert by_lineage(shots) == [shots]


# Pictures and links.


async def test_what_can_not_be_drawn_has_a_sign(tmp_path):
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    svg = asset_in(tmp_path).model_copy(update={"uri": drawing.as_uri(), "content_type": "image/svg+xml"})
    gone = svg.model_copy(update={"uri": (tmp_path / "gone.png").as_uri()})
    broken = asset_in(tmp_path, "broken.png", picture=False)
    for bad in (svg, gone, broken):
        assert (await poster_of(bad)).startswith("data:image/svg+xml;base64,")
    assert (await poster_of(asset_in(tmp_path))).startswith("data:image/jpeg;base64,")


async def test_links_that_expire_are_told_from_those_that_do_not(tmp_path, s3):
    there = tmp_path / "a b.png"
    there.write_bytes(b"x")
    public = MediaStore(url=str(tmp_path), public_url_base="https://media.example.com/films/").storage()
    assert public.public_url("a b.png") == "https://media.example.com/films/a%20b.png"
    asset = asset_in(tmp_path)
    link = await link_to(asset.uri, timedelta(days=1))
    assert (link.url, link.expires) == ("https://media.example.com/films/fox.png", None)

    storage = s3.store().storage()
    await storage.put("fox.png", b"x", content_type="image/png")
    link = await link_to(storage.uri("fox.png"), timedelta(days=1))
    assert "X-Amz-Signature" in link.url and link.expires
    folder = tmp_path / "private"
    folder.mkdir()
    assert MediaStore(url=str(folder)).storage().public_url("x") is None


@pytest.mark.parametrize(
    "base", ["media.example.com", "ftp://x.example.com", "https://a:b@x.example.com", "https://x/?k=1"]
)
def test_a_public_address_that_is_none_is_refused(base, tmp_path):
    with pytest.raises(ValueError, match=r"public|password") as refused:
        MediaStore(url=str(tmp_path), public_url_base=base)
    assert "a:b" not in str(refused.value).partition("input_value")[0]


# Pages.


async def test_a_page_stays_under_its_size(tmp_path, monkeypatch):
    asset = asset_in(tmp_path)
    monkeypatch.setattr("prefect_media.tasks.cards.poster_of", _large_poster)
    text = await page([Shot(Origin("🚢" * 5_000), asset) for _ in range(24)], "Large", timedelta(days=1))
    assert len(text.encode()) < 2_000_000
    assert 0 < text.count("data:image/jpeg") < 24
    assert LARGEST_PAGE < 2_000_000


async def _large_poster(asset):
    return "data:image/jpeg;base64," + "A" * 200_000


async def test_hundreds_are_on_pages_that_link_to_each_other(prefect, tmp_path):
    shown = [
        Generation(
            index, ImageRequest(prompt=f"boat {index}", model="gpt-image-2"), (asset_in(tmp_path, f"{index}.png"),)
        )
        for index in range(60)
    ]

    @flow
    async def show():
        from prefect.runtime import flow_run

        await ashow_gallery(shown, title="Boats", key="boats")
        return flow_run.id

    pages = await artifacts_of(await show())
    assert set(pages) == {"boats", "boats-2", "boats-3"}
    first, second, third = (pages[key] for key in ("boats", "boats-2", "boats-3"))
    assert "60 images · 2.40 USD" in first.data
    assert f"(../artifact/{second.id})" in first.data and f"(../artifact/{third.id})" in first.data
    assert f"(../artifact/{first.id})" in second.data and f"(../artifact/{third.id})" in second.data
    assert "boat 0<" in first.data and "boat 24<" in second.data and "25 · still" in second.data
    assert "boat 59<" in third.data
    assert all(len(each.data) < 2_000_000 for each in pages.values())


async def test_failures_are_cards_with_their_reason(prefect):
    shown = [
        Generation(0, VideoRequest(prompt=EVIL, model="sora-2"), error=JobFailed("job x failed: no GPU", billed=False)),
        Generation(1, ImageRequest(prompt="b", model="m"), error=ContentRejected("violence", stage="prompt")),
    ]

    @flow
    async def show():
        await ashow_gallery(shown, key="failures")

    await show()
    text = (await Artifact.aget("failures")).data
    assert "1 failed · 1 rejected" in text
    assert "job x failed: no GPU" in text and "Not billed." in text and "violence" in text
    assert "<script" not in text and "\n# heading" not in text


async def test_a_gallery_that_can_not_be_shown_fails_nothing(prefect, tmp_path, caplog):
    asset = asset_in(tmp_path)

    @flow
    async def show():
        await ashow_gallery([asset], key="No such key")
        await ashow_table([{"a": 1}], title="x", key="No such key")
        return "went on"

    assert await show() == "went on"
    assert "gallery could not be shown" in caplog.text and "table could not be shown" in caplog.text


async def test_the_sync_form_works_in_sync_flows_and_in_a_running_loop(prefect, tmp_path):
    asset = asset_in(tmp_path)

    @flow
    def plain_flow():
        show_gallery(asset, key="sync-gallery")
        show_table([{"prompt": EVIL}], title="t", key="sync-table")

    @flow
    async def async_flow():
        show_gallery([asset], key="async-gallery")

    await asyncio.to_thread(plain_flow)
    await async_flow()
    for key in ("sync-gallery", "async-gallery"):
        assert "fox.png" in (await Artifact.aget(key)).data
    assert "](" not in (await Artifact.aget("sync-table")).data


async def test_what_is_no_asset_is_refused():
    with pytest.raises(InvalidRequest, match="a str"):
        await ashow_gallery(["fox.png"])
