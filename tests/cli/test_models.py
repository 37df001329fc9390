"""What the command line says of models and prices."""

import os
import subprocess
import sys


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "prefect_media", *arguments], capture_output=True, text=True, env={**os.environ}
    )


def test_the_table_names_every_model_its_end_and_its_successor():
    from prefect_media.catalog.data import catalog

    shown = run("models").stdout
    for name, model in catalog().models.items():
        [line] = [line for line in shown.splitlines() if line.startswith(f"{name} ")]
        for end in model.retired.values():
            assert str(end) in line
        assert (model.successor or "") in line


def test_only_what_lives():
    shown = run("models", "--alive", "--kind", "image").stdout
    assert "gpt-image-2.6-flare" in shown
    for gone in ("dall-e-3", "sora-2"):
        assert gone not in shown


def test_an_estimate_and_one_that_can_not_be_made():
    assert run("estimate", "--model", "gpt-image-2", "--size", "1024x1024", "--quality", "high").stdout.startswith(
        "0.211"
    )
    unknown = run("estimate", "--model", "nobodys-model", "--host", "other")
    assert unknown.stdout.startswith("unknown") and unknown.returncode == 1


def test_a_wrong_choice_is_one_sentence():
    done = run("estimate", "--model", "gpt-image-2", "--host", "mars")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "--host 'mars' is not possible; choose from openai, azure, other\n"


def test_what_would_be_refused_has_no_price():
    done = run("estimate", "--model", "gpt-image-2", "--size", "1025x1024")
    assert (done.returncode, done.stdout) == (1, "")
    assert "1024x1024 is near it" in done.stderr


def test_of_a_model_that_is_gone_that_comes_first_and_the_exit_code_says_it():
    done = run("estimate", "--model", "sora-2", "--seconds", "4", "--size", "1280x720")
    assert done.returncode == 1
    assert done.stdout.startswith("sora-2 is retired: 2026-09-24")
    assert done.stdout.splitlines()[1].startswith("0.4000 USD")


def test_short_help_everywhere():
    for command in ((), ("jobs",), ("jobs", "list"), ("estimate",)):
        done = run(*command, "-h")
        assert done.returncode == 0 and "Usage:" in done.stdout


def test_a_place_without_a_store_is_said_and_lists_are_json_on_request(tmp_path):
    done = run("jobs", "list", "--store", str(tmp_path / "nowhere"))
    assert done.returncode == 1 and f"there is no store at {tmp_path / 'nowhere'}" in done.stderr
    done = run("jobs", "list", "--json", "--store", str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, "[]")
