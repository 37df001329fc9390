"""What the demo shows: servers coming up, the steps of the story, and the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Table

from ..runtime import clock

if TYPE_CHECKING:
    from ..manifest import Manifest
    from ..simulator import Simulator


class Rows:
    """Lines that are waiting, at work or done, drawn while the `with` lasts."""

    def __init__(self, console: Console, *names: str, bars: bool = False) -> None:
        columns: list[ProgressColumn] = [
            SpinnerColumn(finished_text="[green]✔[/]"),
            TextColumn("{task.description:<9}"),
            TextColumn("[dim]{task.fields[note]}[/]"),
        ]
        if bars:
            columns.insert(2, BarColumn(bar_width=20))
        # stderr stays where it is, or Prefect's log would be drawn into the picture
        self._progress = Progress(*columns, console=console, redirect_stderr=False)
        self._room = console.width - (36 if bars else 14)
        self._ids = {name: self._progress.add_task(name, start=False, total=100, note="") for name in names}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, name: str, done: float, note: str | None = None) -> None:
        """Say how far a row has come, in per cent, and a few words about it."""
        row = self._ids[name]
        self._progress.start_task(row)
        self._progress.update(row, completed=done)
        if note is not None:
            self._progress.update(row, note=shorten(note, self._room))

    def run_timed(self, name: str, work: Callable[[], Any]) -> Any:
        """Do a row's work, and show its address and how long it took."""
        self.show(name, 0, "starting")
        began = clock.monotonic()
        result = work()
        note = result if isinstance(result, str) else result.url
        self.show(name, 100, f"{note}  {clock.monotonic() - began:.1f} s")
        return result


class Steps(Rows):
    """The steps of a storyboard, drawn from what the provider knows of its jobs."""

    def __init__(self, console: Console, simulator: Simulator) -> None:
        super().__init__(console, "still", "motion", "remix", "publish", bars=True)
        self._simulator = simulator

    def draw(self) -> None:
        images, jobs = self._simulator.images, self._simulator.jobs
        for image in images[:1]:
            self.show("still", 100 if jobs else 50, f"{image.model}  {image.prompt}")
        for name, job in zip(("motion", "remix"), jobs, strict=False):
            self.show(name, job.progress, f"{job.model}  {job.prompt}")
        if len(jobs) > 1 and jobs[1].status == "completed":
            self.show("publish", 50, "copying and checking")

    def finish(self) -> None:
        self.draw()
        self.show("publish", 100, "with a manifest")


def results(console: Console, manifest: Manifest, names: tuple[str, ...]) -> Table:
    """What was made, one row each."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("made", "pixels", "length", "bytes", "sha256", "published as"):
        table.add_column(heading, justify="right" if heading == "bytes" else "left")
    for asset, name in zip(manifest.assets, names, strict=True):
        table.add_row(
            name,
            f"{asset.width}x{asset.height}",
            f"{asset.seconds:g} s" if asset.seconds else "",
            f"{asset.size_bytes:,}",
            asset.sha256[:8],
            shorten(asset.uri.rpartition("/")[2], max(console.width - 52, 20)),
        )
    table.add_row("manifest.json", "", "", "", "", manifest.uri.rpartition("/")[2])
    return table


def last_words(log: Path, lines: int = 30) -> str:
    """The end of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def shorten(text: str, room: int) -> str:
    """The text, with its end left out where there is no room for it."""
    return text if len(text) <= room else text[: max(room - 1, 1)] + "…"
