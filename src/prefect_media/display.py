"""How values and errors show themselves: cards in notebooks, tables in terminals. Every text in them is escaped."""

from __future__ import annotations

import os
import sysconfig
import traceback
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from .cleaning import sentence

if TYPE_CHECKING:
    from rich.table import Table

Facts = Sequence[tuple[str, object]]
"""Names and values; a value of None is left out."""

MOST_SHOWN = 12
"""Cards in one output of a notebook."""

MOST_FRAMES = 5
"""Lines of the user's own code under an error in a notebook."""

_CARD = "display:inline-block;vertical-align:top;width:340px;margin:4px;padding:8px;overflow-wrap:anywhere;"
_FRAME = "border:1px solid rgba(128,128,128,.35);border-radius:6px;"
_QUIET = "font-size:85%;opacity:.75;"
_OTHERS = tuple(
    {*(str(Path(sysconfig.get_path(name))) for name in ("stdlib", "purelib", "platlib")), str(Path(__file__).parent)}
)
"""Folders of code that is not the user's: Python's, that of packages, ours."""


def card(title: object, facts: Facts, picture: str = "") -> str:
    """One thing as HTML: a picture, if there is one, a title and what is known of it.

    Args:
        title: Shown in bold.
        facts: Shown below it, one each line.
        picture: HTML from `image` or `player`, which is not escaped.
    """
    lines = "".join(f"<div>{_html(name)}: {_html(value)}</div>" for name, value in facts if value is not None)
    return f'<div style="{_CARD}{_FRAME}">{picture}<b>{_html(title)}</b><div style="{_QUIET}">{lines}</div></div>'


def cards(each: Sequence[str], *, title: object = "", more: int = 0) -> str:
    """Several cards as HTML, side by side where there is room.

    Args:
        each: What `card` returned.
        title: Shown above them.
        more: How many others are not shown.
    """
    heading = f"<div><b>{_html(title)}</b></div>" if title else ""
    rest = f'<div style="{_QUIET}">and {more} more</div>' if more > 0 else ""
    return f"<div>{heading}{''.join(each)}{rest}</div>"


def image(data: bytes, content_type: str) -> str:
    """A picture as HTML that needs no network and never expires."""
    return f'<img src="{_embed(data, content_type)}" style="max-width:100%;display:block;margin-bottom:4px">'


def player(data: bytes, content_type: str) -> str:
    """A player as HTML that needs no network and never expires."""
    return (
        f'<video src="{_embed(data, content_type)}" controls preload="metadata" '
        'style="max-width:100%;display:block;margin-bottom:4px"></video>'
    )


def table(title: object, facts: Facts) -> Table:
    """One thing as a table for a terminal; texts are shown as they are, not read as markup."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(_plain(title)), title_justify="left", show_header=False, box=None, pad_edge=False)
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, value in facts:
        if value is not None:
            shown.add_row(Text(name), Text(_plain(value)))
    return shown


def rows(title: object, headings: Sequence[str], lines: Iterable[Sequence[object]]) -> Table:
    """Several things as a table for a terminal, one a line."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=Text(_plain(title)), title_justify="left", header_style="dim", box=None, pad_edge=False)
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for line in lines:
        shown.add_row(*(Text("" if value is None else _plain(value)) for value in line))
    return shown


def short_traceback(error: BaseException, support: Facts) -> list[str]:
    """An error for a notebook: its sentence, the lines of the user's own code, what a support desk asks for.

    Args:
        error: What was raised. `PREFECT_MEDIA_DEBUG` shows all of its traceback.
        support: What the provider's support desk needs to find the request.
    """
    if os.environ.get("PREFECT_MEDIA_DEBUG"):
        return "".join(traceback.format_exception(error)).splitlines()
    lines = [f"{type(error).__name__}: {error}", ""]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_the_users(frame.filename)]
    for frame in frames[-MOST_FRAMES:]:
        place = "cell" if "ipykernel_" in frame.filename else frame.filename
        lines.append(f"  {place}, line {frame.lineno}, in {frame.name}: {sentence(frame.line or '', 200)}")
    lines += [f"  {name}: {_plain(value)}" for name, value in support if value is not None]
    return [*lines, "  The whole traceback: %env PREFECT_MEDIA_DEBUG=1, then %tb"]


def _is_the_users(path: str) -> bool:
    return not path.startswith("<") and not any(Path(path).is_relative_to(folder) for folder in _OTHERS)


def _embed(data: bytes, content_type: str) -> str:
    return f"data:{escape(content_type)};base64,{b64encode(data).decode()}"


def _html(value: object) -> str:
    return escape(_plain(value))


def _plain(value: object) -> str:
    """A value as text on one line, with nothing in it that steers a terminal or can't be written as UTF-8."""
    return sentence(str(value)).encode(errors="replace").decode()
