"""Lists in pages, as OpenAI's API has them: newest first, each page named by the last item of the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlencode

PAGE = 100
"""Items in one page."""


def page_query(after: str | None, *, ordered: bool = True) -> str:
    """The query string of a page.

    Args:
        after: Id of the item before the page; None for the first page.
        ordered: Whether the route has the parameter `order`; the list of batches lacks it.
    """
    order = {"order": "desc"} if ordered else {}
    return urlencode({"limit": PAGE, **order, **({"after": after} if after else {})})


def rows_of(body: Mapping[str, Any]) -> list[object] | None:
    """The items of a page; None where the answer has no list of them."""
    rows = body.get("data")
    return cast(list[object], rows) if isinstance(rows, list) else None
