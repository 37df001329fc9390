"""A real LiteLLM proxy, from PyPI and in an environment of its own, between our tasks and the simulator."""

import os
import socket
import subprocess
import tempfile
import time
import venv
from pathlib import Path

import httpx
import pytest
from PIL import Image
from pydantic import SecretStr

from prefect_media import (
    OpenAICredentials,
    RemixRequest,
    VideoEditRequest,
    VideoExtendRequest,
    VideoRequest,
    aedit_video,
    aextend_video,
    agenerate_video,
    aremix_video,
)
from prefect_media.errors import InvalidRequest, JobFailed, MediaError
from prefect_media.simulator import Simulator

VERSION = "1.106.2"
PLACE = Path(tempfile.gettempdir()) / f"prefect-media-litellm-{VERSION}"
REQUEST = VideoRequest(prompt="a paper boat", model="films", seconds=4, size="1280x720")
HERE = {"scope": "a test"}


def environment() -> Path:
    """The folder with the proxy's commands; made once per machine, in a minute or so."""
    ready = PLACE / "ready"
    if not ready.exists():
        venv.create(PLACE, with_pip=True, clear=True)
        install = [PLACE / "bin" / "python", "-m", "pip", "install", "--quiet", f"litellm[proxy]=={VERSION}"]
        done = subprocess.run(install, capture_output=True, text=True, timeout=900)
        if done.returncode:
            pytest.skip(f"litellm can't be installed here: {done.stderr.strip().splitlines()[-1]}")
        ready.touch()
    return PLACE / "bin"


@pytest.fixture(scope="module")
def provider():
    with Simulator(latency=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(provider, tmp_path_factory):
    """Its base URL."""
    commands = environment()
    folder = tmp_path_factory.mktemp("litellm")
    config = folder / "config.yaml"
    config.write_text(
        "model_list:\n"
        "  - model_name: films\n"
        f"    litellm_params: {{model: openai/sora-2, api_base: '{provider.url}', api_key: sk-behind}}\n"
        "general_settings: {master_key: sk-proxy}\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR")}
    env |= {"PATH": f"{commands}:{os.environ['PATH']}", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [commands / "litellm", "--config", config, "--host", "127.0.0.1", "--port", str(port)],
            env=env,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            try:
                if httpx.get(f"{url}/health/liveliness", timeout=1).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        yield f"{url}/v1"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def credentials(proxy, provider):
    del provider.jobs[:], provider.requests[:]
    return OpenAICredentials(base_url=proxy, api_key=SecretStr("sk-proxy"))


async def test_text_to_video(credentials, provider, tmp_path):
    asset = await agenerate_video.fn(credentials, REQUEST, store=str(tmp_path), **HERE)
    assert (asset.width, asset.height, asset.seconds, asset.warnings) == (1280, 720, 4, ())
    [job] = provider.jobs
    assert (job.prompt, job.model, job.size, job.seconds) == ("a paper boat", "sora-2", "1280x720", "4")
    assert asset.source.job_id != job.id, "its ids are its own"
    assert await agenerate_video.fn(credentials, REQUEST, store=str(tmp_path), **HERE) == asset
    assert len(provider.jobs) == 1


async def test_image_to_video(credentials, provider, tmp_path):
    picture = tmp_path / "still.png"
    Image.linear_gradient("L").resize((1280, 720)).convert("RGB").save(picture)
    asked = REQUEST.model_copy(update={"image": str(picture)})
    asset = await agenerate_video.fn(credentials, asked, store=str(tmp_path), **HERE)
    assert provider.jobs[0].film.reference == picture.read_bytes()
    assert (asset.width, asset.height) == (1280, 720)


async def test_the_proxy_is_recognised(credentials):
    from prefect_media.providers.detection import dialect_of

    assert (await dialect_of(credentials.connection())).name == "litellm"


async def test_variations_are_not_bought_because_the_proxy_could_not_find_them_again(credentials, provider, tmp_path):
    place = str(tmp_path)
    clip = await agenerate_video.fn(credentials, REQUEST, store=place, **HERE)
    told = {"video": clip, "prompt": "at night"}
    for task, request in (
        (aremix_video, RemixRequest(**told)),
        (aedit_video, VideoEditRequest(**told)),
        (aextend_video, VideoExtendRequest(**told, seconds=4)),
    ):
        with pytest.raises(InvalidRequest, match='fallback="last_frame"'):
            await task.fn(credentials, request, store=place, **HERE)
    assert len(provider.jobs) == 1
    night = await aremix_video.fn(credentials, RemixRequest(**told), store=place, fallback="last_frame", **HERE)
    assert night.source.remixed_from == clip.source.job_id
    assert [job.operation for job in provider.jobs] == ["generate", "generate"]
    assert provider.jobs[1].film.reference is not None


async def test_a_failed_job(credentials, provider, tmp_path):
    asked = REQUEST.model_copy(update={"prompt": "explode"})
    with pytest.raises(JobFailed, match="could not be generated"):
        await agenerate_video.fn(credentials, asked, store=str(tmp_path), **HERE)


async def test_a_refused_order_buys_nothing(credentials, provider, tmp_path):
    asked = REQUEST.model_copy(update={"size": "333x333"})
    with pytest.raises(MediaError):
        await agenerate_video.fn(credentials, asked, store=str(tmp_path), **HERE)
    assert provider.jobs == []
