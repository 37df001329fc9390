"""Files of a folder that are being written, under hidden names; what killed processes left of them is removed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Thread

from ..runtime import clock

PART = ".prefect-media-part-"
SWEPT = ".prefect-media-swept"
THREAD = "prefect-media-sweep"

STALE_SECONDS = 24 * 60 * 60.0
"""How old a part is that nobody writes any more."""


class Sweeper:
    """Removes stale parts from a whole folder, once a day.

    A store notes in its `ledger` when it was swept, so that of all processes one looks through it. A folder without a
    ledger gets no note: each process that writes there looks through it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._next = -STALE_SECONDS

    def sweep(self, now: float) -> None:
        """Begin to remove stale parts in the background, unless that was done today.

        Args:
            now: When a part was begun, by the clock that dates the files: that of a file server may be another one.
        """
        if clock.monotonic() < self._next:
            return
        self._next = clock.monotonic() + STALE_SECONDS
        with suppress(RuntimeError):  # no thread can be had, such as at the end of the process
            Thread(target=_sweep, args=(self._root, now), name=THREAD, daemon=True).start()


def _sweep(root: Path, now: float) -> None:
    note = root / "ledger" / SWEPT
    with suppress(OSError):  # what can't be removed today is removed another day
        if note.parent.is_dir():
            if note.exists() and now - note.stat().st_mtime < STALE_SECONDS:
                return
            note.touch()
        for folder, _, names in os.walk(root):
            for part in (Path(folder, name) for name in names if name.startswith(PART)):
                _remove_stale(part, now)


def _remove_stale(part: Path, now: float) -> None:
    with suppress(OSError):  # it was moved into place, or removed by another process
        if now - part.stat().st_mtime > STALE_SECONDS:
            part.unlink()
