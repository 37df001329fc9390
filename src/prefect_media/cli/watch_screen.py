"""What `prefect-media watch` draws: how many are made, a bar for each job under way, and what came last."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..ledger.record import Record
from ..runtime import clock
from ..storage.store import Storage
from ..waiting.durations import experience_of, recall
from .columns import SHORT, cost_of, job_id_of, kind_of, model_of, prompt_of

ENDED = 6
"""Purchases shown that have ended."""

NEARLY = 99.0
"""Per cent shown of a job that takes longer than others did."""

COLOURS = {"done": "green", "failed": "red", "in_doubt": "yellow", "submitted": "cyan", "intent": "dim"}


class Screen:
    """A picture of the purchases, drawn again and again while the `with` lasts."""

    def __init__(self, console: Console, storage: Storage, flow_run_id: str | None) -> None:
        self._console, self._storage = console, storage
        self._title = f"flow run {flow_run_id}" if flow_run_id else storage.url
        self._live = Live(console=console, auto_refresh=False, redirect_stderr=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    async def draw(self, records: Collection[Record]) -> None:
        """Draw the purchases as they are."""
        under_way = sorted((each for each in records if _is_under_way(each)), key=lambda each: each.created_at)
        for base_url in {record.job.base_url for record in under_way if record.job}:
            await recall(self._storage, base_url)
        room = max(3, self._console.height - ENDED - 5)
        table = Table(box=None, header_style="dim", pad_edge=False)
        for heading in ("", "kind", "model", "job", "time", "", "prompt"):
            table.add_column(heading, no_wrap=True)
        for record in under_way[:room]:
            table.add_row(*_row(record))
        parts: list[RenderableType] = [Text(self._title, style="dim"), Text(headline(records), style="bold"), table]
        if len(under_way) > room:
            parts.append(Text(f"and {len(under_way) - room} more", style="dim"))
        ended = sorted((each for each in records if not _is_under_way(each)), key=lambda each: each.updated_at)
        parts += [Text(line_of(each), style=COLOURS[each.state], no_wrap=True) for each in ended[-ENDED:]]
        self._live.update(Group(*parts), refresh=True)


def headline(records: Collection[Record]) -> str:
    """How many were bought, and for how much as far as that is known."""
    states = [record.state for record in records]
    costs = [cost for record in records if (cost := cost_of(record)) is not None]
    parts = [f"{states.count('done')} of {len(states)} made", f"{sum(map(_is_under_way, records))} under way"]
    parts += [f"{states.count('failed')} failed"] if "failed" in states else []
    parts += [f"{states.count('in_doubt')} in doubt"] if "in_doubt" in states else []
    parts += [f"{sum(costs):.2f} USD"] if costs else []
    return ", ".join(parts)


def line_of(record: Record) -> str:
    """A purchase in one line: when it changed, its state, what it is, and its outcome."""
    cost = cost_of(record)
    parts = [
        f"{record.updated_at.astimezone():%H:%M:%S}",
        f"{record.state:<9}",
        record.key[:SHORT],
        kind_of(record),
        model_of(record),
        job_id_of(record),
        f'"{prompt_of(record)}"' if prompt_of(record) else "",
        record.assets[0].uri if record.assets else "",
        f"{cost:.3f} USD" if cost is not None else "",
        record.failure.message if record.failure and record.state != "done" else "",
    ]
    return "  ".join(part for part in parts if part)


def _is_under_way(record: Record) -> bool:
    return record.state in ("intent", "submitted")


def _row(record: Record) -> list[RenderableType]:
    since = record.job.submitted_at if record.job else record.created_at
    seconds = max(0.0, (clock.now() - since).total_seconds())
    took = experience_of(record.job.base_url).of(record.job.kind) if record.job else ()
    usual = took[len(took) // 2] if took else 0.0
    time = f"{_minutes(seconds)} of about {_minutes(usual)}" if usual else _minutes(seconds)
    done = min(NEARLY, 100 * seconds / usual) if usual else 0.0
    return [
        Text(record.state, style=COLOURS[record.state]),
        Text(kind_of(record)),
        Text(model_of(record)),
        Text(job_id_of(record)),
        Text(time),
        ProgressBar(total=100, completed=done, width=16) if usual else Text(""),
        Text(prompt_of(record)),
    ]


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02}"
