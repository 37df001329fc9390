"""A server is a row: a table in dialects.toml and a profile of the simulator, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_media import OpenAICredentials
from prefect_media.providers.dialects import dialects
from prefect_media.simulator.profiles import PROFILES

ROOT = Path(__file__).parents[2]

TABLE = """
[dialects.lantern]
like = "openai"
title = "Lantern"
body = "json"
seconds = "number"
poll_hint = ""
source = "made up for this test"
checked = 2026-11-24

[dialects.lantern.names]
seconds = "length"

[dialects.lantern.answers]
length = "seconds"

[dialects.lantern.known_by]
header = "x-lantern"

[dialects.lantern.routes]
create = "POST /videos"
look = "GET /videos/{id}"
content = "GET /videos/{id}/content"
"""

PROGRAM = """
import asyncio, json, sys
from dataclasses import replace
from prefect_media import OpenAICredentials, VideoRequest
from prefect_media.blocks import OpenAICredentials as Block
from prefect_media.providers.detection import dialect_of
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Simulator
from prefect_media.simulator.profiles import PROFILES
from prefect_media.storage.store import storage_at

PROFILES["lantern"] = replace(
    PROFILES["openai"],
    version="1",
    routes=frozenset({"create", "look", "content"}),
    read_body=lambda fields, form: {
        **{name: value for name, value in fields.items() if name != "length"},
        "seconds": str(fields["length"]),
    },
    headers={"x-lantern": "1"},
)

async def buy():
    with Simulator(profile="lantern", latency=0) as server:
        detected = (await dialect_of(OpenAICredentials(base_url=server.url, api_key="k").connection())).name
        request = VideoRequest(prompt="a paper boat", model="wan", seconds=2)
        terms = PurchaseOptions(scope="forever", timeout=60)
        asset = await buy_video(server.credentials.connection(), request, storage_at(sys.argv[1]), terms)
        [sent] = [seen for seen in server.requests if seen.method == "POST"]
    return {
        "choices": Block.model_json_schema()["properties"]["dialect"]["enum"],
        "block": server.credentials.dialect,
        "detected": detected,
        "kind": asset.kind,
        "sent": dict(sent.body),
    }

print(json.dumps(asyncio.run(buy())))
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package with one more table in dialects.toml; no line of code differs."""
    copy = tmp_path / "copy" / "prefect_media"
    unneeded = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "prefect_media", copy, ignore=unneeded)
    for folder in ("blocks", "tasks", "flows"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=unneeded)
    with (copy / "providers" / "dialects.toml").open("a") as file:
        file.write(TABLE)
    return copy.parent


def test_a_video_is_bought_at_a_server_that_is_a_row(package, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "store")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["block"] == outcome["detected"] == "lantern"
    assert outcome["choices"] == [*dialects(), "lantern"]
    assert outcome["kind"] == "video"
    assert outcome["sent"] == {"prompt": "a paper boat", "model": "wan", "length": 2}


def test_every_dialect_has_a_profile_and_is_a_choice_of_the_block():
    assert list(PROFILES) == list(dialects())
    field = OpenAICredentials.model_json_schema()["properties"]["dialect"]
    assert field["enum"] == list(dialects())


def test_no_file_of_code_lists_the_servers():
    """Their names stand in dialects.toml and in the simulator's profiles."""
    rare = {"vllm-omni", "sglang", "trtllm", "litellm", "new-api", "openrouter"}
    for folder in ("src", "blocks", "tasks", "flows"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "profiles.py":
                assert not {name for name in rare if f'"{name}"' in path.read_text()}, path
