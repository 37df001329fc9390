"""What is shipped, what imports what, and what nobody pays for before they use it."""

import ast
import importlib
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import prefect_media

ROOT = Path(__file__).parents[2]
CORE = ROOT / "src" / "prefect_media"
ROOMS = {"core": CORE, **{name: ROOT / name for name in ("blocks", "tasks", "flows")}}
HEAVY = {"openai", "boto3", "botocore", "obstore", "prefect", "PIL", "av", "httpx", "pydantic"}


def core_files():
    """The core: what knows nothing of Prefect, without the programs and the simulator that are built on top."""
    return [
        path
        for path in sorted(CORE.rglob("*.py"))
        if not {"cli", "simulator"} & set(path.relative_to(CORE).parts)
        and path not in (CORE / "__init__.py", CORE / "__main__.py")
    ]


def module_of(path):
    return ".".join(("prefect_media", *path.relative_to(CORE).with_suffix("").parts)).removesuffix(".__init__")


def run(code, cwd=None, **env):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=120
    )


def test_all_is_what_can_be_had():
    """Every name in `__all__` can be had, is listed by `dir`, and is the object its own module defines."""
    assert len(set(prefect_media.__all__)) == len(prefect_media.__all__)
    for name in prefect_media.__all__:
        assert getattr(prefect_media, name) is not None
    assert set(prefect_media.__all__) <= set(dir(prefect_media))
    with pytest.raises(AttributeError, match="has no attribute 'openai'"):
        prefect_media.openai  # noqa: B018


def test_type_checkers_see_the_same_names():
    """The imports under TYPE_CHECKING and `__all__` name the same things."""
    tree = ast.parse((CORE / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    assert {alias.asname for node in block.body for alias in node.names} == set(prefect_media.__all__)


@pytest.mark.parametrize("package", ["blocks", "tasks", "flows", "simulator"])
def test_packages_export_what_they_say(package):
    module = importlib.import_module(f"prefect_media.{package}")
    for name in getattr(module, "__all__", ()):
        assert hasattr(module, name)


def test_import_is_light():
    """`import prefect_media` costs milliseconds in every worker."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import prefect_media"], capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "prefect_media" in loaded
    assert not loaded & HEAVY


def test_the_core_imports_no_prefect():
    """Every module of the core, imported where Prefect and openai can't be."""
    code = f"""
import importlib, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("prefect", "openai"):
            raise ImportError(f"{{name}} was imported")
sys.meta_path.insert(0, Refused())
for name in {[module_of(path) for path in core_files()]!r}:
    importlib.import_module(name)
print("imported")
"""
    done = run(code)
    assert done.stdout == "imported\n", done.stderr


@pytest.mark.parametrize("folder", ["blocks", "tasks", "flows"])
def test_folders_are_not_packages_of_their_own(folder):
    """Imported by its folder's name, everything would exist twice."""
    done = run(f"import {folder}", cwd=ROOT, PYTHONPATH=str(ROOT))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ImportError: import prefect_media.{folder} instead of {folder}"


@pytest.mark.parametrize(
    ("group", "name"),
    [("console_scripts", "prefect-media"), ("prefect.collections", "prefect_media"), ("pytest11", "prefect_media")],
)
def test_entry_points_lead_somewhere(group, name):
    [entry] = [entry for entry in entry_points(group=group) if entry.name == name]
    assert entry.load() is not None


def test_prefect_registers_all_blocks(prefect_server):
    """`prefect block register -m prefect_media`, under slugs that are for ever."""
    said = prefect_server.run("block", "register", "-m", "prefect_media").stdout
    assert "Successfully registered 4 blocks" in said
    listed = prefect_server.run("block", "type", "ls").stdout
    for slug in ("openai-media-credentials", "azure-openai-media-credentials", "media-store", "video-job"):
        assert slug in listed


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source distribution as an installer would without a wheel of ours."""
    dist = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(ROOT)],
        capture_output=True,
        check=True,
        timeout=300,
    )
    [wheel] = dist.glob("*.whl")
    assert list(dist.glob("*.tar.gz"))
    return wheel


def test_wheel_holds_everything(wheel):
    """Every module and every data file of the checkout is in the wheel, and nothing else is."""
    expected = {"prefect_media/py.typed"}
    for room, folder in ROOMS.items():
        lead = "prefect_media" if room == "core" else f"prefect_media/{room}"
        for path in (*folder.rglob("*.py"), *folder.rglob("*.toml")):
            expected.add(f"{lead}/{path.relative_to(folder).as_posix()}")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


def test_wheel_works_by_itself(wheel, tmp_path):
    """Installed into an empty folder, it is this copy that is imported, with its catalog and its blocks."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "site"), str(wheel)],
        capture_output=True,
        check=True,
        timeout=120,
    )
    code = f"""
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__name__", "").lower()]
sys.path[:0] = [{str(tmp_path / "site")!r}]
import prefect_media
from prefect_media.catalog import data as catalog
from prefect_media.flows.storyboard import storyboard
assert all(getattr(prefect_media, name) for name in prefect_media.__all__)
assert catalog.catalog().models
print(prefect_media.__file__, sys.modules["prefect_media.flows.storyboard"].__file__)
"""
    (tmp_path / "cwd").mkdir()
    done = run(code, cwd=tmp_path / "cwd")
    assert done.returncode == 0, done.stderr
    assert all(place.startswith(str(tmp_path / "site")) for place in done.stdout.split())


def test_every_package_is_listed():
    """setuptools is told every package by name; one that is forgotten would be missing from the wheel."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {module_of(path) for path in CORE.rglob("__init__.py")}
    assert listed == found | {"prefect_media.blocks", "prefect_media.tasks", "prefect_media.flows"}


def test_lock_is_hashed_and_names_no_index():
    """Whoever installs from the lock gets the same bytes, from whatever index they use."""
    lock = (ROOT / "requirements.lock").read_text()
    pins = [line for line in lock.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert len(pins) > 50
    assert lock.count("--hash=sha256:") >= len(pins)
    assert not {"://", "--index-url", "--find-links"} & set(lock.replace("\n", " ").split())
    assert "://" not in lock


def test_python_that_runs_this_is_supported():
    """The suite says something about versions that are promised, and about no others."""
    promised = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert f"Programming Language :: Python :: {sysconfig.get_python_version()}" in promised


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-oldest.lock"])
def test_a_lock_names_versions_and_hashes_and_no_place(name):
    rows = (ROOT / name).read_text().replace("\\\n", "").splitlines()
    packages = [row for row in rows if row and not row.lstrip().startswith("#")]
    assert all("==" in row and "--hash=sha256:" in row for row in packages)
    assert not [row for row in rows if "://" in row or row.lstrip().startswith(("-", "--"))]


def test_the_oldest_lock_has_the_lower_bound_of_prefect():
    """`make test-oldest` runs what we say we support."""
    [bound] = re.findall(r'"prefect>=([0-9.]+),', (ROOT / "pyproject.toml").read_text())
    versions = {
        name: re.search(r"(?m)^prefect==(\S+)", (ROOT / name).read_text())[1]
        for name in ("requirements.lock", "requirements-oldest.lock")
    }
    assert versions["requirements-oldest.lock"] == bound
    assert versions["requirements.lock"] != bound
