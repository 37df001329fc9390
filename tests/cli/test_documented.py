"""docs/cli.md against the parser and the exit codes that commands end with."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from prefect_media.cli.app import COMMANDS, JOBS_COMMANDS
from prefect_media.cli.lazy import load

PAGE = Path(__file__).parents[2] / "docs/cli.md"
SECTIONS = dict(re.findall(r"^## (\S.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))
FUNCTIONS = {
    prefix + name: function
    for prefix, commands in (("", COMMANDS), ("jobs ", JOBS_COMMANDS))
    for name, (function, _) in commands.items()
}
LISTS = {"models", "estimate", "doctor", "budgets", "watch", "verify", "wake", "recover", "jobs list"}


def run(*arguments, **options):
    command = [sys.executable, "-m", "prefect_media", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def parameters(command):
    """Names of the arguments and options of a command, as the parser has them."""
    app = typer.Typer(add_completion=False)
    app.command(command)(load(f"prefect_media.cli.{FUNCTIONS[command]}"))
    return {
        name
        for each in get_command(app).params
        for name in (each.opts if each.param_type_name == "option" else [each.metavar or each.name.upper()])
    }


def test_every_command_is_on_the_page_and_nothing_else():
    prose = {"Exit codes", "Output", "Store and credentials"}
    assert set(SECTIONS) - prose == set(FUNCTIONS)


@pytest.mark.parametrize("command", FUNCTIONS)
def test_its_arguments_are_those_of_the_parser(command):
    cells = re.findall(r"^\| (`.*?) \|", SECTIONS[command], re.MULTILINE)
    documented = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert documented == parameters(command)


def test_every_command_that_lists_has_json():
    assert {command for command in FUNCTIONS if "--json" in parameters(command)} == LISTS


def test_the_examples_end_with_their_exit_codes():
    rows = re.findall(r"^\| (\d+) \| .* \| `prefect-media (.*?)` \|$", SECTIONS["Exit codes"], re.MULTILINE)
    assert [code for code, _ in rows] == ["0", "1", "2"]
    for code, arguments in rows:
        done = run(*shlex.split(arguments))
        assert done.returncode == int(code), done.stderr
        assert "Traceback" not in done.stderr


def test_ctrl_c_is_130_and_says_nothing(tmp_path):
    """A server that takes the connection and never answers keeps the doctor until then."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        env = {**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "k"}
        # A shell's background jobs start with SIGINT ignored.
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        code += "from prefect_media.cli.app import main; main()"
        command = [sys.executable, "-c", code, "doctor", "--store", str(tmp_path)]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        silent.settimeout(60)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
        connection.close()
    assert (process.returncode, complaints.strip()) == (130, "")
    assert "| 130 | Ctrl-C" in SECTIONS["Exit codes"]


def test_json_of_models_and_estimates():
    rows = json.loads(run("models", "--json", "--alive", "--kind", "image").stdout)
    assert {row["kind"] for row in rows} == {"image"}
    [flare] = [row for row in rows if row["model"] == "gpt-image-2.6-flare"]
    assert flare["hosts"]["openai"]["status"] in ("alive", "retiring") and flare["price"]["image_out"] > 0

    gone = run("estimate", "--model", "sora-2", "--seconds", "4", "--size", "1280x720", "--json")
    offer = json.loads(gone.stdout)
    assert (gone.returncode, offer["status"], offer["retired"]) == (1, "retired", "2026-09-24")
    assert offer["usd"] == 0.4


def test_a_temporary_server_of_prefect_that_does_not_start_is_one_sentence(tmp_path):
    """A name that is no folder is looked up among the saved blocks, for which Prefect may have to start a server."""
    env = {**os.environ, "PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "1"}
    done = run("jobs", "list", "--store", "nowhere", env=env)
    assert (done.returncode, done.stdout) == (1, "")
    assert "\nPrefect's temporary server did not start in time; set PREFECT_API_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_of_prefect_that_is_away_is_one_sentence():
    done = run("recover", env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("http://127.0.0.1:9 could not be reached")
    assert len(done.stderr.splitlines()) == 1
