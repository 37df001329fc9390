"""What README and docs show is run, and what they claim of options and settings is true."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_media import MediaStore, OpenAICredentials
from prefect_media.settings import Settings
from prefect_media.simulator import Simulator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


@pytest.fixture
def world(prefect, media_simulator, tmp_path, monkeypatch):
    """The README's servers and buckets, here."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", media_simulator.url)

    def run(code):
        code = code.replace("http://localhost:8000/v1", media_simulator.url)
        code = code.replace("s3://my-bucket", str(tmp_path / "bucket"))
        names = {"__name__": "readme"}
        exec(compile(code, "README.md", "exec"), names)
        return names

    run.simulator = media_simulator
    return run


@pytest.mark.parametrize("code", BLOCKS, ids=lambda code: code.strip().splitlines()[0][:40])
@pytest.mark.filterwarnings("error::UserWarning")
def test_every_block_of_code_runs(world, code, tmp_path, capsys):
    names = world(code)
    if "teaser" in names:
        manifest = names["teaser"]("a red teapot")
        assert [asset.kind for asset in manifest.assets] == ["image", "video"]
        assert manifest.uri.startswith((tmp_path / "bucket" / "teasers").as_uri())
        assert (len(world.simulator.images), len(world.simulator.jobs)) == (1, 1)
    if "campaign" in names:
        asyncio.run(names["campaign"](["a red teapot", "a blue one"]))
        assert capsys.readouterr().out.count("file://") == 2
        assert len(names["trailer"](["a red teapot"])) == 1
        assert len(world.simulator.jobs) == 3
    if "teapots" in names:
        names["teapots"](["red", "blue"])
        assert capsys.readouterr().out.count("file://") == 2
        assert (len(world.simulator.batches), len(world.simulator.images)) == (1, 2)
    if "fox" in names:
        assert len(names["fox"]()) == len(world.simulator.images) == 1
    if "test_my_pipeline" in names:
        names["test_my_pipeline"](tmp_path)
        names["test_what_goes_wrong"](world.simulator, tmp_path)
    if ".save(" in code:
        assert OpenAICredentials.load("openai", _sync=True).api_key.get_secret_value() == "sk-..."
        assert MediaStore.load("media", _sync=True).url.endswith("media")


CALLS = {
    "approval": "",
    "campaign": 'asyncio.run(campaign(["a red teapot"])); trailer(["a blue teapot"])',
    "film": "test_my_pipeline(Path('.'))",
    "fox": "fox()",
    "teapots": 'teapots(["red"])',
    "teaser": "",  # it calls itself
}


def test_all_of_it_as_a_script_warns_of_nothing_and_ends_without_a_traceback(prefect_server, tmp_path):
    """In a process of its own with a server that takes logs, to the end of its exit; warnings of ours are errors."""
    parts = ["import asyncio", "from pathlib import Path"]
    for code in BLOCKS:
        flows = re.findall(r"^(?:async )?def (?!test_|prefect_server)(\w+)", code, re.M)
        parts += [code, CALLS[flows[0]] if flows else ""]
    with Simulator() as simulator:
        code = "\n".join(parts).replace("http://localhost:8000/v1", simulator.url)
        (tmp_path / "script.py").write_text(code.replace("s3://my-bucket", str(tmp_path / "bucket")))
        keys = {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": simulator.url, "PREFECT_MEDIA_STORE": str(tmp_path / "s")}
        command = [sys.executable, "-W", "error:::prefect_media", str(tmp_path / "script.py")]
        env = {**os.environ, **prefect_server.env, **keys}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, cwd=tmp_path)
        assert (len(simulator.jobs), len(simulator.images)) == (3, 3)
    assert done.returncode == 0, done.stderr
    for word in ("Traceback", "Warning", "Logging error", "| WARNING |"):
        assert word not in done.stdout + done.stderr


def test_the_readme_has_an_example_of_everything():
    assert len(BLOCKS) == 10
    for word in ("make demo", "make test", "AzureOpenAICredentials(", "MediaStore(", "simulated()", "base_url="):
        assert word in README


def test_the_settings_table_is_complete_and_right():
    rows = dict(re.findall(r"^\| `PREFECT_MEDIA_(\w+)` \| ([^|]+) \|", README, re.M))
    assert {name.lower() for name in rows} == set(Settings.model_fields)
    for name, told in rows.items():
        default = Settings.model_fields[name.lower()].default
        if isinstance(default, float | int):
            assert told.strip("` ") == (f"{default:g}" if isinstance(default, float) else f"{default:d}")
        if isinstance(default, str):
            assert told.strip("` ") == default


@pytest.mark.parametrize("path", [ROOT / "README.md", *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), link
