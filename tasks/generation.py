"""One result of many: what was made of a request, or why it failed; shown in notebooks and terminals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect_media import display
from prefect_media.assets import Asset
from prefect_media.requests import MediaRequest
from prefect_media.runtime.sync import run_sync

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Generation:
    """The outcome of one request.

    Attributes:
        index: The request's place among the requests, from 0.
        request: What was to be made.
        assets: What was made: the images in the provider's order, or the one video; empty if it failed.
        error: Why it failed, if it did.
    """

    index: int
    request: MediaRequest
    assets: tuple[Asset, ...] = ()
    error: Exception | None = None

    @property
    def asset(self) -> Asset:
        """The video, or the first of the images; raises the error if it failed."""
        if self.error is not None:
            raise self.error
        return self.assets[0]

    def _repr_html_(self) -> str:
        more = len(self.assets) - display.MOST_SHOWN
        try:
            cards = run_sync(self._acards())
        except RuntimeError:  # on the loop that would read the pictures
            cards, more = [], len(self.assets)
        return display.cards(cards or [display.card("Nothing made", self._facts())], title=self._title(), more=more)

    def __rich__(self) -> Table:
        return display.table(self._title(), self._facts())

    def _title(self) -> str:
        return f"{self.index}: {self.request.prompt}"

    def _facts(self) -> display.Facts:
        error = self.error and f"{type(self.error).__name__}: {self.error}"
        return (("failed", error), *(("made", asset.uri) for asset in self.assets))

    async def _acards(self) -> list[str]:
        return await asyncio.gather(*(asset.acard() for asset in self.assets[: display.MOST_SHOWN]))
