"""In a real notebook kernel, whose event loop runs while a cell does: tasks work, values show, errors are short."""

import os
import re

import pytest
from jupyter_client.manager import KernelManager

SETUP = """
from prefect import flow
from prefect_media import *
from prefect_media.simulator import Simulator
simulator = Simulator(latency=0.1); simulator.start(); server = simulator.credentials
boat = VideoRequest(prompt="a boat", model="sora-2", seconds=4, size="1280x720")
"""


@pytest.fixture(scope="module")
def notebook(prefect, tmp_path_factory):
    """Runs cells; each gives what it showed, by MIME type, and the lines of its error."""
    from prefect.settings import PREFECT_API_URL

    place = tmp_path_factory.mktemp("kernel")
    manager = KernelManager(
        kernel_name="python3", transport="ipc", ip=str(place / "k"), connection_file=str(place / "k.json")
    )
    env = os.environ | {
        "PREFECT_API_URL": PREFECT_API_URL.value(),
        "PREFECT_MEDIA_STORE": str(tmp_path_factory.mktemp("notebook")),
    }
    manager.start_kernel(env=env, cwd=str(place))
    client = manager.client()
    client.start_channels()

    def run(cell):
        shown, error = {}, []

        def hook(message):
            content = message["content"]
            if message["msg_type"] == "execute_result":
                shown.update(content["data"])
            if message["msg_type"] == "error":
                error.extend(re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"])).splitlines())

        client.execute_interactive(cell, timeout=120, output_hook=hook)
        return shown, error

    try:
        client.wait_for_ready(timeout=120)
        assert run(SETUP) == ({}, [])
        yield run
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_sync_task_works_while_the_loop_runs_and_its_asset_shows_itself(notebook):
    shown, error = notebook('generate_video(server, boat, scope="a")')
    assert error == []
    assert '<video src="data:video/mp4;base64,' in shown["text/html"]


def test_so_does_an_async_one_and_steps_and_a_flow(notebook):
    shown, error = notebook('await agenerate_video(server, boat, scope="a")')
    assert error == [] and "<video" in shown["text/html"]
    shown, error = notebook('job = submit_video(server, boat, scope="b"); job')
    assert error == [] and "Video job video_" in shown["text/html"]
    shown, error = notebook('next(gather(server, [boat], scope="a"))')
    assert error == [] and "0: a boat" in shown["text/html"] and "<video" in shown["text/html"]
    shown, error = notebook(
        "@flow\ndef pictures():\n"
        '    [image] = generate_images(server, ImageRequest(prompt="a fox", model="gpt-image-2"))\n'
        "    return publish(image, prefix='out')\npictures()"
    )
    assert error == [] and "1 assets" in shown["text/html"] and "<img" in shown["text/html"]


def test_an_error_is_what_helps_and_the_whole_can_be_had(notebook):
    bad = 'VideoRequest(prompt="explode", model="sora-2", seconds=4, size="1280x720")'
    for cell in (
        f'generate_video(server, {bad}, scope="c")',
        f'@flow\ndef films():\n    return generate_video(server, {bad}, scope="d")\nfilms()',
    ):
        _, error = notebook(cell)
        assert error[0].startswith("JobFailed: job video_") and len(error) <= 8
        assert any("generate_video(server" in line for line in error)
        assert any("job_id: video_" in line for line in error)
        assert not any("prefect/task_engine.py" in line for line in error)
    notebook("%env PREFECT_MEDIA_DEBUG=1")
    _, error = notebook("%tb")
    assert any("prefect/task_engine.py" in line for line in error)
    notebook("%env PREFECT_MEDIA_DEBUG=")
