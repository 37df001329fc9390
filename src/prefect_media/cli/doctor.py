"""`prefect-media doctor`: whether a pipeline could run here, and what to do where it could not. Buys nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any, Literal, cast

import typer
from rich.console import Console
from rich.text import Text

from ..catalog.data import catalog
from ..errors import AuthenticationFailed, MediaError, NotFound
from ..providers.connection import Connection
from ..providers.detection import dialect_of
from ..providers.wire import Answer, ask, fields_of
from ..runtime import clock
from ..settings import settings
from ..storage.store import Storage
from .options import CredentialsOption, StoreOption
from .targets import connections_of, storage_of_name

SKEW = 60.0
"""Seconds by which clocks may differ before signed links and leases suffer."""

NEAR_DAYS = 30
CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    verdict: Literal["ok", "note", "bad"]
    what: str
    remedy: str = ""


def run(credentials: CredentialsOption = None, store: StoreOption = None) -> None:
    """Print the findings; exit code 1 when one of them is bad."""
    if not asyncio.run(_run(store, credentials)):
        raise typer.Exit(1)


async def _run(store: str | None, credentials: str | None) -> bool:
    console = Console(soft_wrap=True, highlight=False)
    well = True
    async for finding in _everything(await connections_of(credentials), await storage_of_name(store)):
        mark = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]BAD [/]"}[finding.verdict]
        console.print(mark, Text(finding.what))
        if finding.remedy:
            console.print("    ", Text(finding.remedy), style="dim")
        well = well and finding.verdict != "bad"
    return well


async def _everything(connections: list[Connection], storage: Storage) -> AsyncIterator[Finding]:
    packages = ("prefect-media", "prefect", "openai", "obstore")
    yield Finding("ok", ", ".join(f"{name} {version(name)}" for name in packages))
    for connection in connections:
        async for finding in examine_provider(connection):
            yield finding
    yield await examine_store(storage)


async def examine_provider(connection: Connection, today: date | None = None) -> AsyncIterator[Finding]:
    """What can be known of a provider without paying: addresses, key, models and their end, clock."""
    example = "DEPLOYMENT" if connection.provider == "azure" else "MODEL"
    yield Finding("ok", f"images go to {connection.images_url('generations', example)}")
    yield Finding("ok", f"videos go to {connection.url('/videos')}")
    if connection.catalog_host == "openai":
        yield Finding("note", "OpenAI makes no videos since 2026-09-24", "give videos the base_url of another server")
    try:
        answer = await ask(connection, "get", connection.url("/models"))
    except AuthenticationFailed as error:
        yield Finding("bad", error.message, "set api_key on the block, or the key in the environment")
        return
    except NotFound:
        yield Finding("note", f"{connection.host} has no list of models, so the key can't be checked for free")
        return
    except MediaError as error:
        yield Finding("bad", error.message, "check base_url, and that the server is up")
        return
    yield Finding("ok", f"{connection.host} accepts the key")
    yield _clock(answer, connection)
    for finding in _models(answer, connection, today or clock.today()):
        yield finding
    if finding := await _videos(connection):
        yield finding


async def examine_store(storage: Storage) -> Finding:
    """Whether the store can be written, and keeps two writers apart."""
    try:
        await storage.check()
    except MediaError as error:
        if settings().trust_store:
            return Finding("bad", error.message, "PREFECT_MEDIA_TRUST_STORE is set: purchases are tried all the same")
        return Finding("bad", error.message, "nothing would be bought: purchases are written down here first")
    kept = f"{storage.url} can be written and honours conditional writes"
    if storage.url.startswith("file:"):
        return Finding("ok", kept, "a folder is known to this machine only; give deployments a bucket")
    return Finding("ok", kept)


async def _videos(connection: Connection) -> Finding | None:
    """Whether the server refuses its job list with HTTP 409, where dialects.toml knows the remedy."""
    dialect = await dialect_of(connection)
    if not dialect.conflict_remedy:
        return None
    try:
        await ask(connection, "get", connection.url("/videos?limit=1"))
    except MediaError as error:
        if error.status_code == CONFLICT:
            return Finding("bad", error.message, dialect.conflict_remedy)
    return None


def _clock(answer: Answer, connection: Connection) -> Finding:
    try:
        theirs = parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return Finding("note", f"{connection.host} does not tell the time, so the clock can't be compared")
    skew = (clock.now() - theirs).total_seconds()
    if abs(skew) > SKEW:
        told = f"this clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that of {connection.host}"
        return Finding("bad", told, "synchronise it (NTP): signed links and leases depend on it")
    return Finding("ok", f"the clock agrees with {connection.host}")


def _models(answer: Answer, connection: Connection, today: date) -> list[Finding]:
    rows = cast(list[dict[str, Any]], fields_of(answer.body).get("data") or [])
    if not rows:
        return [Finding("note", f"{connection.host} lists no models")]
    known = [row for row in rows if row.get("id") in catalog().models]
    findings = [Finding("ok", f"{len(rows)} models are visible, {len(known)} of them in the catalog")]
    for row in known:
        model = catalog().models[row["id"]]
        told = row.get("shutdown_date")
        gone = date.fromisoformat(told) if told else model.retired.get(connection.catalog_host)
        if gone is None or (gone - today).days > NEAR_DAYS:
            continue
        instead = f"use {model.successor}" if model.successor else "it has no successor there"
        past = "was" if gone <= today else "will be"
        findings.append(Finding("note", f"{model.name} {past} switched off on {gone}", instead))
    return findings
