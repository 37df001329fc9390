"""The command line from outside: quick to answer, one sentence when something is wrong, quiet when it is ended."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import urllib.request

import httpx
import pytest

MAIN = [sys.executable, "-c", "from prefect_media.cli.app import main; main()"]


def prefect_media(*arguments, **env):
    return subprocess.run(
        [*MAIN, *arguments],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def simulate(family):
    """Starts `prefect-media simulate`, and gives the process and the base URL it prints."""

    def start(*arguments):
        process = subprocess.Popen(
            [*MAIN, "simulate", *arguments],
            env={**os.environ, **family.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        process.said = ""
        while "Ctrl-C ends it" not in process.said:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            process.said += line
        return process, re.search(r"OPENAI_BASE_URL=(\S+)", process.said)[1]

    return start


def test_help_is_there_at_once():
    """Half a second of work at most, the interpreter included. The clock on the wall would measure the neighbours."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = prefect_media("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0
    for command in ("demo", "simulate", "jobs"):
        assert command in done.stdout
    assert min(took) < 0.5


def test_help_imports_nothing_heavy():
    code = "import sys, prefect_media.cli.app; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert not {"prefect", "openai", "boto3", "obstore", "av", "PIL", "moto", "uvicorn", "pydantic"} & set(loaded)


@pytest.mark.parametrize(
    "command", [("demo",), ("simulate",), ("jobs", "list"), ("jobs", "show"), ("jobs", "resume"), ("jobs", "forget")]
)
def test_every_command_explains_itself(command):
    done = prefect_media(*command, "--help")
    assert done.returncode == 0
    assert f"prefect-media {' '.join(command)}" in done.stdout.replace("-c", "prefect-media")


def test_what_goes_wrong_is_one_sentence(tmp_path):
    done = prefect_media("jobs", "show", "abc", "--store", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("there is no purchase 'abc'")


def test_a_wrong_setting_is_one_sentence(tmp_path):
    """What pydantic finds is told without its links and brackets."""
    done = prefect_media("jobs", "list", PREFECT_MEDIA_POLL_SECONDS="-1")
    assert done.returncode == 1
    assert done.stderr == "Settings is not valid: poll_seconds: Input should be greater than 0\n"


def test_debug_shows_where(tmp_path):
    done = prefect_media("jobs", "show", "abc", "--store", str(tmp_path), PREFECT_MEDIA_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_simulate_serves_until_it_is_ended(simulate, family, number):
    """The printed address answers to any key, and the end is a clean one."""
    process, url = simulate("--port", "0", "--latency", "0")
    order = urllib.request.Request(
        f"{url}/videos",
        data=json.dumps({"model": "sora-2", "prompt": "A paper boat", "seconds": "4"}).encode(),
        headers={"Authorization": "Bearer anything", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(order, timeout=30) as answer:
        assert json.load(answer)["object"] == "video"

    process.send_signal(number)
    said, complaints = process.communicate(timeout=30)
    assert process.returncode == 0
    assert said == "Stopped. Accepted: 0 image requests, 1 video jobs.\n"
    assert complaints == ""
    assert family.gone()


def test_simulate_refuses_models_that_are_not_named(simulate):
    process, url = simulate("--port", "0", "--models", "films, pictures", "--profile", "litellm")
    assert "Videos as by litellm: 1.110.2, looked at on 2026-11-24. Served: films, pictures" in process.said
    statuses = {}
    for model in ("films", "sora-2"):
        for path in (f"{url}/videos", f"{url.removesuffix('/v1')}/openai/v1/videos"):
            body = {"model": model, "prompt": "A paper boat", "seconds": "4"}
            answer = httpx.post(path, json=body, headers={"Authorization": "Bearer anything"}, timeout=30)
            statuses.setdefault(model, []).append(answer.status_code)
    assert statuses == {"films": [200, 200], "sora-2": [400, 404]}


def test_simulate_without_a_name_of_a_model():
    done = prefect_media("simulate", "--models", " ,")
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        ["--models ' ,' names no model; give names separated by commas, or leave it out"],
    )


def test_simulate_on_a_port_that_is_taken(simulate):
    _, url = simulate("--port", "0")
    port = url.rpartition(":")[2].removesuffix("/v1")
    done = prefect_media("simulate", "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"can't listen on 127.0.0.1:{port}" in done.stderr


@pytest.mark.parametrize("command", ["demo", "simulate"])
def test_without_the_extra_the_way_to_it_is_told(command):
    """As if the packages of the extra were not installed: Python finds none of them."""
    code = (
        "import sys; from importlib.machinery import PathFinder; find_spec = PathFinder.find_spec\n"
        "EXTRA = {'starlette', 'uvicorn', 'python_multipart', 'moto', 'flask', 'flask_cors'}\n"
        "PathFinder.find_spec = lambda name, *more: None if name in EXTRA else find_spec(name, *more)\n"
        f"sys.argv = ['prefect-media', {command!r}]\n"
        "from prefect_media.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"prefect-media {command} needs an extra: pip install 'prefect-media[simulator]'\n"
