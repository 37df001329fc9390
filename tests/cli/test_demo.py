"""The demo as a newcomer runs it, and as an impatient one ends it."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import av
import httpx
import pytest
from PIL import Image

from prefect_media.cli import demo_servers

PLUGINS = "Failed to initialize plugins: can't register atexit after shutdown\n"
"""What Prefect may say of itself when it is ended while it is being imported."""

COMMAND = [sys.executable, "-c", "from prefect_media.cli.app import main; main()", "demo"]


@pytest.fixture
def home(tmp_path):
    """A user's home, their Prefect settings in it, and a folder for temporary files."""
    (tmp_path / "tmp").mkdir()
    prefect = tmp_path / ".prefect"
    prefect.mkdir()
    (prefect / "profiles.toml").write_text(
        'active = "production"\n[profiles.production]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'
    )
    return tmp_path


@pytest.fixture
def start(home, family):
    """Starts the demo in the background, and waits until it has said something."""

    def demo(*arguments, until=None, **env):
        clean = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            env={**clean, "HOME": str(home), "TMPDIR": str(home / "tmp"), **family.env, **env},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        process.said = ""
        while until and until not in process.said:
            line = process.stdout.readline()
            assert line, f"ended early: {process.said}{process.stderr.read()}"
            process.said += line
        return process

    return demo


def traces(home):
    """What the demo left among the temporary files, and in the user's own Prefect."""
    return [path.name for path in (home / "tmp").iterdir()] + sorted(
        path.name for path in (home / ".prefect").iterdir() if path.name != "profiles.toml"
    )


@pytest.mark.prefect
def test_demo_makes_a_storyboard(start, home, family):
    """One picture and two films in the folder and the bucket, each bought once; nothing left behind."""
    process = start("--latency", "0.5")
    said, complaints = process.communicate(timeout=180)

    assert process.returncode == 0, said + complaints
    assert complaints == ""
    folder = home / "demo-output"
    assert sorted(path.name for path in folder.iterdir()) == [
        "1-still.png",
        "2-motion.mp4",
        "3-remix.mp4",
        "manifest.json",
    ]
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, asset in zip(("1-still.png", "2-motion.mp4", "3-remix.mp4"), manifest["assets"], strict=True):
        data = (folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == asset["sha256"]
        assert asset["uri"].startswith("s3://demo/published/storyboard-")
        assert name in said
        assert asset["sha256"][:8] in said
    assert Image.open(folder / "1-still.png").size == (1280, 720)
    for name in ("2-motion.mp4", "3-remix.mp4"):
        with av.open(folder / name) as film:
            stream = film.streams.video[0]
            assert (stream.width, stream.height) == (1280, 720)
            assert float(stream.duration * stream.time_base) == pytest.approx(4, abs=0.1)
    motion, remix = manifest["assets"][1:]
    assert remix["source"]["remixed_from"] == motion["source"]["job_id"]
    assert "the simulator sold 1 image and 2 videos, exactly one of each" in said
    assert family.gone()
    assert traces(home) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_while_the_servers_start(start, home, family, number):
    """Whoever changes their mind in the first seconds has a clean machine a moment later."""
    process = start(until="made, stored, published")
    family.wait_for(2)  # Prefect's server exists
    process.send_signal(number)
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert complaints.replace(PLUGINS, "") == ""
    assert family.gone()
    assert traces(home) == []


def test_killed_without_a_chance(start, family):
    """Not even SIGKILL leaves a server behind."""
    process = start(until="made, stored, published")
    family.wait_for(2)
    process.kill()
    process.communicate(timeout=120)
    assert family.gone(within=60), family.members()  # a slow machine imports Prefect for half a minute


HANGS = """
import signal, sys, time

class Hang:
    def __del__(self, sleep=time.sleep):
        sleep(1000)

hang = Hang()
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print("up", flush=True)
time.sleep(1000)
"""


def test_a_server_that_hangs_while_it_shuts_down_ends_all_the_same(tmp_path, family):
    """Python has stopped all threads of its own by then."""
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect/__init__.py").touch()
    (tmp_path / "prefect/__main__.py").write_text(HANGS)
    server = subprocess.Popen(
        [sys.executable, "-c", demo_servers._CHILD],
        env={**os.environ, **family.env, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout.readline() == b"up\n"
    server.stdin.close()
    with server.stdout:
        assert server.wait(30) == -signal.SIGALRM


def wait_for_a_job(simulator, seconds=120.0):
    """Until a video is under way at the demo's provider."""
    deadline = time.monotonic() + seconds
    while (
        not httpx.get(f"{simulator}/videos", headers={"Authorization": "Bearer any"}).raise_for_status().json()["data"]
    ):
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.prefect
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_while_a_video_is_made(start, home, family, number):
    process = start("--latency", "300", until="demo and demo-bucket (stores)")
    wait_for_a_job(re.search(r"simulator (\S+)", process.said)[1])
    process.send_signal(number)
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert complaints == ""
    assert family.gone()
    assert traces(home) == []


def test_served_until_ended(start, home, family):
    process = start("--latency", "0", "--serve", until="Everything stays up until Ctrl-C")
    for page in ("/runs/flow-run/", "/artifacts/key/"):
        assert page in process.said
    process.terminate()
    process.communicate(timeout=120)
    assert family.gone()
    assert traces(home) == []


def test_a_failure_is_explained(start, home, family):
    """What went wrong comes with the end of the log, and nothing is left behind."""
    process = start(PREFECT_MEDIA_POLL_SECONDS="-1")
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Finished in state Failed" in complaints
    assert "The demo failed: " in complaints
    assert "poll_seconds" in complaints
    assert family.gone()
    assert traces(home) == []


def test_a_folder_that_cannot_be_is_one_sentence(start, home):
    (home / "file").touch()
    process = start("--output", str(home / "file" / "folder"))
    said, complaints = process.communicate(timeout=120)
    assert (process.returncode, said) == (1, "")
    assert len(complaints.splitlines()) == 1
    assert "choose another with --output" in complaints
