"""Values show themselves in notebooks and terminals: with a picture where one can be read, escaped, without raising."""

import asyncio
import io
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from prefect_media.tasks import Generation
from rich.console import Console

from prefect_media import Asset, Manifest, VideoJob, VideoRequest, display, simulated
from prefect_media.errors import ContentRejected, JobFailed
from prefect_media.storage.store import storage_at

SCRIPT = '<script>alert(1)</script>"onload="x'
MARKUP = "[red]boat[/red] \x1b[31m\x00 \udcff \U0001f6a2"
PNG, MP4 = "image/png", "video/mp4"


def printed(value):
    console = Console(file=io.StringIO(), width=300, force_terminal=False)
    console.print(value)
    return console.file.getvalue()


def asset(uri, kind="image", content_type=PNG, **fields):
    return Asset(uri=uri, kind=kind, content_type=content_type, size_bytes=4, sha256="a" * 64, **fields)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A picture and a video as the simulator makes them."""
    from prefect_media import agenerate_images, agenerate_video
    from prefect_media.requests import ImageRequest

    async def make():
        with simulated() as credentials:
            place = str(tmp_path_factory.mktemp("made"))
            still = ImageRequest(prompt="a boat", model="gpt-image-2")
            clip = VideoRequest(prompt="a boat", model="sora-2", seconds=4, size="1280x720")
            [image] = await agenerate_images.fn(credentials, still, store=place, scope="a")
            return image, await agenerate_video.fn(credentials, clip, store=place, scope="a")

    return asyncio.run(make())


def test_a_picture_is_a_small_one_and_a_small_video_plays(made):
    image, video = made
    assert '<img src="data:image/jpeg;base64,' in image._repr_html_()
    assert len(image._repr_html_()) < 60_000 < image.size_bytes
    html = video._repr_html_()
    assert f'<video src="data:{MP4};base64,' in html and "controls" in html
    assert "4 s" in html and "sora-2" in html and video.sha256 in html


def test_of_a_large_video_a_frame_is_shown(made, monkeypatch):
    monkeypatch.setattr("prefect_media.assets.MOST_EMBEDDED", made[1].size_bytes - 1)
    html = made[1]._repr_html_()
    assert "<video" not in html and '<img src="data:image/jpeg;base64,' in html


def test_a_manifest_shows_pictures_and_says_how_many_more(made):
    manifest = Manifest(uri="s3://b/manifest.json", assets=(*made, *[made[0]] * 20), total_cost_usd=1.5)
    html = manifest._repr_html_()
    assert html.count("<img") == display.MOST_SHOWN and "<video" not in html
    assert "22 assets, 1.5000 USD" in html and "and 10 more" in html
    assert made[0].uri.rpartition("/")[2] in printed(manifest)


@pytest.mark.parametrize(
    "data", [None, b"", b"boat", b"\x89PNG\r\n\x1a\nboat"], ids=["missing", "empty", "text", "cut"]
)
async def test_what_can_not_be_read_is_shown_without_a_picture(tmp_path, data):
    storage = storage_at(str(tmp_path))
    if data is not None:
        await storage.put("media/boat.png", data, content_type=PNG)
    for kind, content_type in (("image", PNG), ("video", MP4)):
        one = asset(storage.uri("media/boat.png"), kind, content_type)
        html = await one.acard(plays=False)
        assert "<img" not in html and "boat.png" in html
        assert "boat.png" in Manifest(uri=storage.uri("manifest.json"), assets=(one,))._repr_html_()


@pytest.mark.parametrize("uri", ["", "s3://", "nothing://b/c", "file://other/x.png", "x" * 5000])
def test_an_address_that_leads_nowhere_raises_nothing(uri):
    assert "<img" not in asset(uri)._repr_html_()
    assert asset(uri).sha256 in printed(asset(uri)).replace("\n", "")


def test_a_store_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("prefect_media.assets.PICTURE_SECONDS", 0.2)

    async def never(self, key):
        await asyncio.Event().wait()

    monkeypatch.setattr(type(storage_at(str(tmp_path))), "open", never)
    assert "boat.png" in asset(storage_at(str(tmp_path)).uri("boat.png"))._repr_html_()


def every_kind(text):
    job = VideoJob(
        provider="openai",
        base_url="http://someone:secret@localhost:8000/v1",
        model=text,
        id=text,
        fingerprint="f",
        submitted_at=datetime.now(UTC),
        size=text,
        seconds=text,
    )
    one = asset(f"file:///nowhere/{text}", content_type=text, warnings=(text,))
    request = VideoRequest(prompt=text.replace("\udcff", "").replace("\x00", ""), model="sora-2")
    return [
        one,
        job,
        Manifest(uri=f"file:///nowhere/{text}", assets=(one,)),
        Generation(0, request, (one,)),
        Generation(1, request, error=JobFailed(text)),
    ]


@pytest.mark.parametrize("number", range(5))
def test_every_text_is_escaped(number):
    html = every_kind(SCRIPT)[number]._repr_html_()
    assert "<script" not in html and '"onload' not in html and "secret" not in html
    assert "&lt;script&gt;" in html
    html = every_kind(MARKUP)[number]._repr_html_()
    html.encode()
    assert "[red]boat[/red]" in html and "\x1b" not in html and "\x00" not in html
    terminal = printed(every_kind(MARKUP)[number])
    terminal.encode()
    assert "[red]boat[/red]" in terminal and "\x1b" not in terminal and "secret" not in terminal


def test_a_failed_generation_says_why():
    request = VideoRequest(prompt="a boat", model="sora-2")
    failed = Generation(3, request, error=ContentRejected("moderation refused the prompt"))
    for shown in (failed._repr_html_(), printed(failed)):
        assert "3: a boat" in shown and "ContentRejected: moderation refused the prompt" in shown


def test_on_the_loop_that_reads_pictures_nothing_hangs(made):
    from prefect_media.runtime.sync import run_sync

    async def show():
        return made[0]._repr_html_(), Generation(0, VideoRequest(prompt="b", model="m"), made)._repr_html_()

    for html in run_sync(show()):
        assert "<img" not in html and made[0].uri.rpartition("/")[2] in html


def test_nothing_heavy_comes_with_the_values():
    heavy = ("PIL", "av", "rich", "IPython", "obstore")
    code = f"import sys; from prefect_media import Asset, errors; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_error_in_a_notebook_is_short_and_can_be_had_whole(monkeypatch):
    def raised():
        try:
            try:
                raise ValueError("what came before")
            except ValueError as error:
                raise JobFailed("job v_1 failed", job_id="v_1", request_id="req_9", status_code=500) from error
        except JobFailed as error:
            return error

    short = raised()._render_traceback_()
    assert short[0] == "JobFailed: job v_1 failed" and len(short) < 10
    assert any("request_id: req_9" in line for line in short) and any("in raised" in line for line in short)
    monkeypatch.setenv("PREFECT_MEDIA_DEBUG", "1")
    assert "what came before" in "\n".join(raised()._render_traceback_())
