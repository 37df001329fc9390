"""Text of strangers in Prefect's pages: shown as text, whatever stands in it, in both generations of the pages."""

from __future__ import annotations

import re
import unicodedata
from html import escape

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~&!])")
_DIRECTIONS = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
"""Characters that turn the direction of the text after them."""

LONGEST_WORD = 14
"""Characters without a break; a third of the new pages' width has room for some more."""

_JOINER = "\u2060"
"""Invisible, and keeps apart what would be a link or a tag together."""


def plain(text: str, most: int) -> str:
    """A text on one line without characters that steer a page, shortened at a word."""
    kept = "".join(" " if _steers(letter) else letter for letter in text[: 4 * most + 200])
    words = " ".join(kept.split())
    if len(words) <= most:
        return words
    head = words[: most - 1]
    return (head.rpartition(" ")[0] if " " in head[most // 2 :] else head).rstrip(" ,.;:") + "…"


def html(text: str, most: int) -> str:
    """A text for the inside of HTML, attributes included."""
    return escape(plain(text, most))


def narrow_html(text: str, most: int) -> str:
    """The same for a narrow column: words that are too long for it can be broken."""
    return escape(re.sub(rf"(\S{{{LONGEST_WORD}}})(?=\S)", "\\1\u200b", plain(text, most)))


def markdown(text: str, most: int) -> str:
    """A text for a heading, a paragraph or a description of markdown."""
    return _SPECIAL.sub(r"\\\1", plain(text, most))


def cell(value: object) -> object:
    """A value for a cell of a table artifact.

    The classic pages read cells as markdown, links included; the new ones show them as they are. An invisible
    character after each bracket that could begin something keeps it text in both.
    """
    if not isinstance(value, str):
        return value
    return re.sub(r"([\]<])", rf"\1{_JOINER}", value)


def _steers(letter: str) -> bool:
    return ord(letter) in _DIRECTIONS or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")
