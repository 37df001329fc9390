"""`prefect-media doctor`: whether a pipeline could run here, and what to do where it could not. Buys nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import asdict, dataclass
from datetime import date
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Annotated, Any, Literal, cast

import typer
from rich.console import Console
from rich.text import Text

from ..catalog.data import catalog, plain_name
from ..errors import AuthenticationFailed, InvalidRequest, MediaError, NotFound
from ..ledger.ledger import Ledger
from ..providers.connection import Connection
from ..providers.detection import dialect_of
from ..providers.wire import Answer, ask, fields_of
from ..runtime import clock
from ..settings import settings
from ..storage.store import Storage
from .columns import model_of
from .options import CredentialsOption, JsonOption, StoreOption
from .tables import print_json
from .targets import connections_of, storage_of_name, targets_of_block

SKEW = 60.0
"""Seconds by which clocks may differ before signed links and leases suffer."""

NEAR_DAYS = 30

RECORDS = 500
"""Purchases on record that are read to learn which models are used. Their keys are hashes, so these are any 500."""

CONFLICT = 409


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    verdict: Literal["ok", "note", "bad"]
    what: str
    remedy: str = ""


def run(
    credentials: CredentialsOption = None,
    store: StoreOption = None,
    block: Annotated[
        str | None,
        typer.Option(
            help="Test only this saved block: credentials, a MediaStore or a bucket, such as media-store/NAME.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the findings; exit code 1 when one of them is bad."""
    if block and (credentials or store):
        raise InvalidRequest("--block tests one block alone; leave out --credentials and --store")
    if not asyncio.run(_run(store, credentials, block, as_json=as_json)):
        raise typer.Exit(1)


async def _run(store: str | None, credentials: str | None, block: str | None, *, as_json: bool) -> bool:
    console = Console(soft_wrap=True, highlight=False)
    findings: list[Finding] = []
    if block:
        connections, storages = await targets_of_block(block)
    else:
        connections, storages = await connections_of(credentials), [await storage_of_name(store)]
    async for finding in _everything(connections, storages):
        findings.append(finding)
        if not as_json:
            _print(console, finding)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    return all(finding.verdict != "bad" for finding in findings)


def _print(console: Console, finding: Finding) -> None:
    mark = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]BAD [/]"}[finding.verdict]
    console.print(mark, Text(finding.what))
    if finding.remedy:
        console.print("    ", Text(finding.remedy), style="dim")


async def _everything(connections: list[Connection], storages: list[Storage]) -> AsyncIterator[Finding]:
    packages = ("prefect-media", "prefect", "openai", "obstore")
    yield Finding("ok", ", ".join(f"{name} {version(name)}" for name in packages))
    on_stores = [await examine_store(storage) for storage in storages]
    well = all(finding.verdict == "ok" for finding in on_stores)
    used = {model for storage in storages if well for model in await used_models(storage)}
    for connection in connections:
        async for finding in examine_provider(connection, used):
            yield finding
    for finding in on_stores:
        yield finding


async def used_models(storage: Storage) -> set[str]:
    """The models of the purchases on record, of at most `RECORDS` of them."""
    used: set[str] = set()
    records = Ledger(storage).purchases(lambda _: None)
    read = 0
    async for record in records:
        used.add(plain_name(model_of(record)))
        if (read := read + 1) == RECORDS:
            break
    return used


async def examine_provider(
    connection: Connection, used: Collection[str], today: date | None = None
) -> AsyncIterator[Finding]:
    """What can be known of a provider without paying: addresses, key, models and their end, clock.

    Args:
        connection: The provider.
        used: The models whose end matters.
        today: The day to compare their end with; None for today's.
    """
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
    for finding in _models(answer, connection, used, today or clock.today()):
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
    message = f"{storage.url} can be written and honours conditional writes"
    if storage.url.startswith("file:"):
        return Finding("ok", message, "a folder is known to this machine only; give deployments a bucket")
    return Finding("ok", message)


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
        message = f"this clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} that of {connection.host}"
        return Finding("bad", message, "synchronise it (NTP): signed links and leases depend on it")
    return Finding("ok", f"the clock agrees with {connection.host}")


def _models(answer: Answer, connection: Connection, used: Collection[str], today: date) -> list[Finding]:
    rows = cast(list[dict[str, Any]], fields_of(answer.body).get("data") or [])
    if not rows:
        return [Finding("note", f"{connection.host} lists no models")]
    in_catalog = [row for row in rows if row.get("id") in catalog().models]
    findings = [Finding("ok", f"{len(rows)} models are visible, {len(in_catalog)} of them in the catalog")]
    for row in in_catalog:
        if row["id"] not in used:
            continue
        model = catalog().models[row["id"]]
        shutdown = row.get("shutdown_date")
        gone = date.fromisoformat(shutdown) if shutdown else model.retired.get(connection.catalog_host)
        if gone is None or (gone - today).days > NEAR_DAYS:
            continue
        instead = f"use {model.successor}" if model.successor else "it has no successor there"
        past = "was" if gone <= today else "will be"
        findings.append(Finding("note", f"{model.name} {past} switched off on {gone}", instead))
    return findings
