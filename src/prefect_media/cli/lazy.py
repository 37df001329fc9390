"""Importing by dotted name, when a command needs it.

Importing Prefect takes two seconds, importing pydantic a tenth of one. `prefect-media --help` needs neither, and
`prefect-media jobs list --store URL` does without Prefect. Everything else of ours is imported at the top of a file.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command


def load(name: str) -> Any:
    """Import an object by its dotted name, such as "prefect_media.cli.demo:run"."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def add_command(group: typer.Typer, name: str, function: str, help: str) -> None:
    """Add a command to a group. Its function, given by its dotted name, is imported when the command is called."""

    class LazyCommand(TyperCommand):
        def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
            app = typer.Typer(add_completion=False)
            app.command(name, help=help)(load(function))
            return get_command(app).make_context(info_name, args, parent, **extra)

    group.command(name, cls=LazyCommand, help=help)(_declare_nothing)


def _declare_nothing() -> None:
    """Stand in for the function of a command, which would be imported to learn its arguments."""
