"""Which room may import which: read from the code, imports inside functions and those for types included."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

from prefect_media.cli.app import COMMANDS, JOBS_COMMANDS
from prefect_media.cli.lazy import load

ROOT = Path(__file__).parents[2]
CORE = ROOT / "src" / "prefect_media"

NOUNS = {
    "errors",
    "settings",
    "requests",
    "request_inputs",
    "form_schema",
    "promise",
    "assets",
    "manifest",
    "jobs",
    "image_batch",
    "budget",
    "purchase_options",
    "steps",
    "key_template",
    "user_input",
    "figures",
    "cleaning",
    "display",
}
ROOMS = {
    "runtime": set(),
    "storage": {"runtime"},
    "catalog": {"runtime"},
    "media": {"storage", "runtime"},
    "providers": {"catalog", "media", "runtime"},
    "ledger": {"storage", "catalog", "runtime"},
    "waiting": {"providers", "storage", "runtime"},
    "purchases": {"runtime", "storage", "catalog", "media", "providers", "ledger", "waiting"},
    "simulator": {"blocks"},
    "blocks": {"runtime", "storage", "catalog", "media", "providers", "ledger", "waiting", "purchases", "tasks"},
    "tasks": {"runtime", "storage", "catalog", "media", "providers", "ledger", "waiting", "purchases", "blocks"},
    "flows": {"runtime", "storage", "catalog", "media", "providers", "ledger", "purchases", "blocks", "tasks"},
    "cli": set(),  # filled below: everything
}
ROOMS["cli"] = set(ROOMS) - {"cli"}
OPEN_STORAGE = {"assets": {"storage", "runtime", "media"}, "manifest": {"storage", "runtime"}}
"""The nouns that read what they name, to show it, too; the others are values and nothing else."""
HEAVY = {
    "providers.connection": {"providers.bounds", "providers.bounded_client"},  # openai
}
"""Files that are imported when they are first used, since they import a heavy library as they are."""
PREFECT = {"cli", "tasks", "blocks", "flows"}
LOAD_LATE = {"cli", "simulator", "flows"}
"""Rooms that take objects from the package's front, or by their dotted names; flows as their users do."""


def house():
    """Every file of the package as (module name, path)."""
    for folder, prefix in (
        (CORE, ()),
        (ROOT / "blocks", ("blocks",)),
        (ROOT / "tasks", ("tasks",)),
        (ROOT / "flows", ("flows",)),
    ):
        for path in sorted(folder.rglob("*.py")):
            parts = (*prefix, *path.relative_to(folder).with_suffix("").parts)
            yield ".".join(part for part in parts if part != "__init__"), path


MODULES = dict(house())


def imports(module):
    """Names of the modules of ours that a module imports, wherever in the file, and whether inside a function."""
    path = MODULES[module]
    home = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    home = [part for part in home if part]
    tree = ast.parse(path.read_text())
    inside = {
        id(node)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(f)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ["prefect_media", *home[: len(home) - node.level + 1]] if node.level else []
            start = ".".join((*base, *([node.module] if node.module else [])))
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "prefect_media":
                yield name, id(node) in inside
                continue
            parts = name.split(".")[1:]
            while ".".join(parts) not in MODULES:
                parts.pop()
            yield "prefect_media." + ".".join(parts), id(node) in inside


def dotted_names(module):
    """Names such as "prefect_media.cli.demo:run" in a file, by which it imports when something is used."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and re.fullmatch(r"prefect_media(\.\w+)+:\w+", text):
            yield text


def ours(module):
    for name, inside in imports(module):
        if name.startswith("prefect_media."):
            yield name.removeprefix("prefect_media."), inside


def room(module):
    return module.split(".")[0] if "." in module or module in ROOMS else ""


def test_every_file_is_in_a_room():
    assert {room(module) or module for module in MODULES} == {*ROOMS, *NOUNS, "", "__main__"}


@pytest.mark.parametrize("module", [module for module in MODULES if module not in ("", "__main__")])
def test_imports_go_along_the_arrows(module):
    for other, _ in ours(module):
        if other in ("", "runtime.clock", *NOUNS):  # time comes from the clock alone, for the nouns too
            continue
        if module in NOUNS:
            assert room(other) in OPEN_STORAGE.get(module, ()), f"{module} imports {other}"
        else:
            assert room(other) in {room(module), *ROOMS[room(module)]}, f"{module} imports {other}"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_of_ours_is_imported_inside_a_function(module):
    late = {name for name, inside in ours(module) if inside}
    assert late <= HEAVY.get(module, set())


@pytest.mark.parametrize("module", MODULES)
def test_only_some_rooms_load_late(module):
    late = "prefect_media." in {name for name, _ in imports(module)} or list(dotted_names(module))
    assert not late or room(module) in LOAD_LATE


@pytest.mark.parametrize("module", [module for module in MODULES if list(dotted_names(module))])
def test_dotted_names_lead_somewhere(module):
    for name in dotted_names(module):
        assert load(name)


def test_every_command_leads_somewhere():
    for function, _ in (*COMMANDS.values(), *JOBS_COMMANDS.values()):
        assert callable(load(f"prefect_media.cli.{function}"))


def test_there_is_no_circle():
    arrows = defaultdict(set)
    for module in MODULES:
        for other, _ in ours(module):
            if other not in ("", module) and module:
                arrows[module].add(other)
    done, path = set(), []

    def visit(module):
        if module in path:
            raise AssertionError("a circle: " + " -> ".join([*path[path.index(module) :], module]))
        if module in done:
            return
        path.append(module)
        for other in sorted(arrows[module]):
            visit(other)
        done.add(path.pop())

    for module in MODULES:
        visit(module)


@pytest.mark.parametrize("module", MODULES)
def test_only_the_front_knows_prefect_and_only_providers_know_openai(module):
    roots = {name.split(".")[0] for name, _ in imports(module)}
    if room(module) not in PREFECT:
        assert "prefect" not in roots
    if room(module) not in ("providers", "blocks"):
        assert "openai" not in roots


@pytest.mark.parametrize("name", [name for name in ROOMS if name not in ("blocks", "tasks", "flows")])
def test_each_room_says_what_happens_in_it(name):
    said = ast.get_docstring(ast.parse((CORE / name / "__init__.py").read_text()))
    assert said and "TODO" not in said
