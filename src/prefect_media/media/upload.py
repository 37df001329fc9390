"""A file as it goes to a provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


Upload = tuple[str, bytes, str]
"""A file in a multipart body: file name, content, MIME type."""
