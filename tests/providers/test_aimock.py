"""`@copilotkit/aimock`, from npm and in a folder of its own, plays OpenRouter: a second opinion on its life cycle.

It answers from memory ("a paper boat", "explode") and hands on, byte for byte, what it has no answer for: to the
simulator, which plays OpenRouter by the vendor's documents. So the bodies of our orders pass through a program that
neither we nor the simulator wrote.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr

from prefect_media import (
    OpenAICredentials,
    RemixRequest,
    VideoRequest,
    afetch_video,
    agenerate_video,
    aremix_video,
    asubmit_video,
    await_for_video,
)
from prefect_media.errors import InvalidRequest, JobFailed, ProviderUnavailable
from prefect_media.providers import videos
from prefect_media.providers.download import content_of
from prefect_media.simulator import Simulator
from prefect_media.simulator.drawing.film import Film, measure, shoot

pytestmark = pytest.mark.usefixtures("short_pauses")

PACKAGE, VERSION = "@copilotkit/aimock", "1.43.0"
PLACE = Path(tempfile.gettempdir()) / f"prefect-media-aimock-{VERSION}"
REQUEST = VideoRequest(prompt="a paper boat", model="wan/wan-2.6", seconds=4, size="1280x720")
BY_HAND_ON = REQUEST.model_copy(update={"prompt": "an origami crane"})
HERE = {"scope": "a test"}

SERVER = """
import { LLMock } from "@copilotkit/aimock";
const [film, upstream, folder] = process.argv.slice(2);
const mock = new LLMock({ port: 0, openRouterVideo: { pollsBeforeInProgress: 2, pollsBeforeCompleted: 4 } });
const { readFileSync } = await import("node:fs");
const b64 = readFileSync(film).toString("base64");
mock.onVideo("a paper boat", { video: { id: "x", status: "completed", b64, cost: 0.16 } });
mock.onVideo("explode", { video: { id: "x", status: "failed", error: "The upstream gave up", cost: 0.16 } });
mock.enableRecording({ providers: { openrouter: upstream }, proxyOnly: true, fixturePath: folder });
console.log(await mock.start());
"""


def installed() -> Path:
    """The folder with the package; made once per machine, in some seconds."""
    ready = PLACE / "ready"
    if not ready.exists():
        npm = shutil.which("npm")
        if not npm or not shutil.which("node"):
            pytest.skip("there is no npm here")
        PLACE.mkdir(exist_ok=True)
        (PLACE / "package.json").write_text('{"private": true, "type": "module"}')
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact"]
        done = subprocess.run(
            [*command, f"{PACKAGE}@{VERSION}"], cwd=PLACE, capture_output=True, text=True, timeout=300
        )
        if done.returncode:
            pytest.skip(f"{PACKAGE} can't be installed here: {done.stderr.strip().splitlines()[-1]}")
        ready.touch()
    assert json.loads((PLACE / "node_modules" / PACKAGE / "package.json").read_text())["version"] == VERSION
    return PLACE


@pytest.fixture(scope="module")
def provider():
    with Simulator(latency=0.3, profile="openrouter") as running:
        yield running


@pytest.fixture(scope="module")
def film():
    return shoot(Film("a paper boat", "wan", (1280, 720), 4))


@pytest.fixture(scope="module")
def mock(provider, film, tmp_path_factory):
    """Its base URL."""
    place, folder = installed(), tmp_path_factory.mktemp("aimock")
    (folder / "film.mp4").write_bytes(film)
    script = place / f"server-{os.getpid()}.mjs"
    script.write_text(SERVER)
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["node", script, folder / "film.mp4", provider.azure_url, folder / "fixtures"],
            cwd=place,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while not (url := next((line for line in log.read_text().splitlines() if line.startswith("http://")), "")):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield url.strip()
    finally:
        process.terminate()
        process.wait(30)
        script.unlink()


@pytest.fixture
def credentials(mock, provider):
    del provider.jobs[:], provider.requests[:]
    httpx.post(f"{mock}/__aimock/reset/journal").raise_for_status()
    key = SecretStr("sk-or-secret")
    return OpenAICredentials(base_url=f"{mock}/api/v1", api_key=key, dialect="openrouter")


def heard(mock):
    """Method, path and status of what it was asked since the test began."""
    rows = httpx.get(f"{mock}/__aimock/journal").raise_for_status().json()
    return [(row["method"], row["path"], row["response"]["status"]) for row in rows]


async def test_text_to_video_by_its_life_cycle(credentials, mock, film, tmp_path):
    asset = await agenerate_video.fn(credentials, REQUEST, store=str(tmp_path), **HERE)
    assert asset.read_bytes() == film
    assert (asset.width, asset.height, asset.seconds, asset.warnings) == (1280, 720, 4, ())
    asked = heard(mock)
    job = asset.source.job_id
    assert asked[0] == ("POST", "/api/v1/videos", 200)
    assert asked[-1] == ("GET", f"/api/v1/videos/{job}/content?index=0", 200)
    assert asked[1:-1] == [("GET", f"/api/v1/videos/{job}", 200)] * 4, "pending, in progress, in progress, completed"
    assert asset.source.cost_usd == 0.16, "what it says that it cost"
    assert await agenerate_video.fn(credentials, REQUEST, store=str(tmp_path), **HERE) == asset
    assert len(heard(mock)) == len(asked), "bought once"


async def test_in_steps_that_may_be_days_apart(credentials, mock, film, tmp_path):
    place = str(tmp_path)
    job = await asubmit_video.fn(credentials, REQUEST, store=place, **HERE)
    assert job.dialect == "openrouter"
    assert (await videos.look(credentials.connection(), job.id)).status == "pending"
    done = await await_for_video.fn(credentials, job, store=place)
    assert (await afetch_video.fn(credentials, done, store=place)).read_bytes() == film
    assert [row for row in heard(mock) if row[0] == "POST"] == [("POST", "/api/v1/videos", 200)]


async def test_content_that_is_asked_for_too_early_is_no_failure(credentials, tmp_path):
    job = await asubmit_video.fn(credentials, REQUEST, store=str(tmp_path), **HERE)
    with pytest.raises(ProviderUnavailable, match="not completed"):
        next(iter(await content_of(credentials.connection(), job.id)))


async def test_a_failed_job_in_the_servers_words(credentials, tmp_path):
    asked = REQUEST.model_copy(update={"prompt": "explode"})
    with pytest.raises(JobFailed, match="The upstream gave up") as caught:
        await agenerate_video.fn(credentials, asked, store=str(tmp_path), **HERE)
    assert caught.value.billed is None, "it does not say"


async def test_an_order_passes_through_it_word_for_word(credentials, provider, tmp_path):
    asset = await agenerate_video.fn(credentials, BY_HAND_ON, store=str(tmp_path), **HERE)
    [job] = provider.jobs
    assert (job.prompt, job.model, job.size, job.seconds) == ("an origami crane", "wan/wan-2.6", "1280x720", "4")
    [order] = [seen for seen in provider.requests if seen.method == "POST"]
    assert order.body == {"prompt": "an origami crane", "model": "wan/wan-2.6", "size": "1280x720", "duration": 4}
    assert asset.source.job_id != job.id, "its ids are its own"
    assert (asset.width, asset.height, asset.seconds) == (1280, 720, 4)
    assert asset.source.cost_usd == 0.4


async def test_image_to_video(credentials, provider, tmp_path):
    picture = tmp_path / "still.png"
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(picture)
    asked = BY_HAND_ON.model_copy(update={"image": str(picture)})
    asset = await agenerate_video.fn(credentials, asked, store=str(tmp_path / "store"), **HERE)
    assert provider.jobs[0].film.reference == picture.read_bytes()
    [order] = [seen for seen in provider.requests if seen.method == "POST"]
    [frame] = order.body["frame_images"]
    assert (frame["type"], frame["frame_type"]) == ("image_url", "first_frame")
    head, _, data = frame["image_url"]["url"].partition(",")
    assert (head, base64.b64decode(data)) == ("data:image/png;base64", picture.read_bytes())
    assert asset.seconds == 4


async def test_what_it_can_not_do_is_said_and_not_asked(credentials, mock, film, tmp_path):
    clip = await agenerate_video.fn(credentials, REQUEST, store=str(tmp_path), **HERE)
    before = len(heard(mock))
    with pytest.raises(InvalidRequest, match='fallback="last_frame"'):
        await aremix_video.fn(credentials, RemixRequest(video=clip, prompt="at night"), store=str(tmp_path), **HERE)
    assert len(heard(mock)) == before
    assert measure(clip.read_bytes()).seconds == 4
