"""How tables are printed: as wide as the terminal, or with no line folded where there is none; or JSON instead."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 400
"""Columns of a table that goes to a file or a pipe, so that a program can read it line by line."""


def console_for_tables() -> Console:
    """A console as wide as the terminal, or as `PIPE_WIDTH` where the output is no terminal."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=PIPE_WIDTH)


def print_json(value: Any) -> None:
    """Print a value to standard output as JSON; dates and the like as text."""
    typer.echo(json.dumps(value, indent=2, default=str))


def print_table(table: Table) -> None:
    """Print a table to standard output."""
    console_for_tables().print(table)
