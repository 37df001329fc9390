"""`prefect-media jobs`: the ledger from the command line, and jobs finished without any flow."""

from __future__ import annotations

import asyncio
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InvalidRequest, MediaError, StoreError
from ..image_batch import ImageBatch
from ..jobs import VideoJob
from ..ledger.ledger import Claim, Ledger
from ..ledger.record import Record
from ..providers.address import origin_of
from ..purchase_options import PurchaseOptions
from ..purchases.adopt_by_hand import adopt
from ..purchases.batch_fetch import fetch
from ..purchases.videos import finish_video
from ..runtime.read_ahead import read_ahead
from .columns import SHORT
from .jobs_list import print_skipped
from .options import CredentialsOption, StoreOption
from .targets import connections_of, storage_of_name

if TYPE_CHECKING:
    from ..providers.connection import Connection

WHOLE = 64
"""Letters of a whole key."""

Key = Annotated[str, typer.Argument(metavar="KEY", help="The purchase's key, or its beginning.")]


def show_purchase(key: Key, store: StoreOption = None) -> None:
    """Print the record of one purchase as JSON."""
    asyncio.run(_show(store, key))


def resume_purchases(
    key: Annotated[
        str | None,
        typer.Argument(metavar="[KEY]", help="Only this one: its key, or the beginning of it.", show_default=False),
    ] = None,
    store: StoreOption = None,
    credentials: CredentialsOption = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each.")] = 1800.0,
) -> None:
    """Finish what was submitted and never fetched; exit code 1 when any of it could not be."""
    if not asyncio.run(_resume(store, key, credentials, timeout)):
        raise typer.Exit(1)


def adopt_job(
    key: Key,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The provider's id of the job.")],
    store: StoreOption = None,
    credentials: CredentialsOption = None,
) -> None:
    """Attach a job of the provider to a purchase in doubt."""
    asyncio.run(_adopt(store, key, job_id, credentials))


def forget_purchase(
    key: Key,
    store: StoreOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Take one purchase off the ledger."""
    asyncio.run(_forget(store, key, yes))


async def _show(store: str | None, prefix: str) -> None:
    ledger = Ledger(await storage_of_name(store))
    typer.echo((await _find(ledger, prefix)).record.model_dump_json(indent=2))


async def _resume(store: str | None, prefix: str | None, credentials: str | None, timeout: float) -> bool:
    ledger = Ledger(await storage_of_name(store))
    if prefix:
        claims = [await _find(ledger, prefix)]
    else:
        keys = (record.key async for record in ledger.purchases(print_skipped) if record.state == "submitted")
        claims = [Claim(*entry) async for entry in read_ahead(ledger.get, keys) if entry]
    claims = [claim for claim in claims if claim.record.state == "submitted" and _job_of(claim.record)]
    if not claims:
        typer.echo(f"Nothing to resume on the ledger of {ledger.storage.url}")
        return True
    connections = await connections_of(credentials)
    return all(await asyncio.gather(*(_resume_one(ledger, claim, connections, timeout) for claim in claims)))


async def _resume_one(ledger: Ledger, claim: Claim, connections: list[Connection], timeout: float) -> bool:
    record, job = claim.record, _job_of(claim.record)
    assert job is not None
    name = f"{record.key[:SHORT]} job {job.id}"
    origin = origin_of(job.base_url)
    fitting = (each for each in connections if each.provider == job.provider and origin_of(each.base_url) == origin)
    if (connection := next(fitting, None)) is None:
        place = origin or "an address that can not be read"
        ours = ", ".join(str(origin_of(each.base_url)) for each in connections)
        typer.echo(
            f"{name}: skipped, it was made at {place}, and there are credentials for {ours}; "
            "pass credentials for that server",
            err=True,
        )
        return False
    typer.echo(f"{name}: waiting")
    options = PurchaseOptions(scope=record.scope, timeout=timeout, flow_run_id=record.flow_run_id)
    try:
        if isinstance(job, ImageBatch):
            outcomes = await fetch(connection, job, ledger.storage, options)
            result = f"{sum(not each.error for each in outcomes)} of {len(outcomes)} requests"
        else:
            result = (await finish_video(connection, job, ledger, claim, options)).uri
    except MediaError as error:
        typer.echo(f"{name}: {error.message}", err=True)
        return False
    typer.echo(f"{name}: done, {result}")
    return True


async def _adopt(store: str | None, prefix: str, job_id: str, credentials: str | None) -> None:
    ledger = Ledger(await storage_of_name(store))
    record = (await _find(ledger, prefix)).record
    connections = await connections_of(credentials)
    connection = next((each for each in connections if each.account == record.account), connections[0])
    await adopt(connection, record.key, job_id, ledger)
    typer.echo(
        f"{record.key[:SHORT]}: has job {job_id} now; run the same again, or fetch it with: "
        f"prefect-media jobs resume {record.key[:SHORT]} --store {quote(ledger.storage.url)}"
    )


def _job_of(record: Record) -> VideoJob | ImageBatch | None:
    """What can be resumed; an image that is made in a batch is resumed with it."""
    return record.batch if record.operation == "batch" else record.job


async def _forget(store: str | None, prefix: str, sure: bool) -> None:
    ledger = Ledger(await storage_of_name(store))
    key = await _key(ledger, prefix)
    try:
        entry = await ledger.get(key)
    except StoreError:
        state, warning = "unreadable", ""
    else:
        if entry is None:
            raise _none(ledger, prefix)
        state, warning = entry[0].state, _what_forgetting_costs(entry[0])
    if not sure and not typer.confirm(
        f"Forget {key[:SHORT]} ({state})?{warning} The same request is then bought again."
    ):
        raise typer.Exit(1)
    await ledger.forget(key)
    typer.echo(f"Forgotten: {key}. Its media stay where they are.")


def _what_forgetting_costs(record: Record) -> str:
    """What somebody should know who is about to pay for the same once more."""
    if record.state == "submitted":
        return " It is paid for and was not fetched yet."
    if record.state == "in_doubt" or record.doubtful:
        return " It may be paid for."
    if record.state == "intent" and record.lease:
        return " It may be being bought at this moment: then it is paid for twice."
    return ""


async def _find(ledger: Ledger, prefix: str) -> Claim:
    """The one purchase whose key begins so."""
    entry = await ledger.get(await _key(ledger, prefix))
    if entry is None:
        raise _none(ledger, prefix)
    return Claim(*entry)


async def _key(ledger: Ledger, prefix: str) -> str:
    if not prefix:
        raise InvalidRequest("the key is empty; see prefect-media jobs list")
    if len(prefix) == WHOLE:
        return prefix
    keys = [key async for key in ledger.keys(prefix)]
    if len(keys) > 1:
        raise InvalidRequest(f"{len(keys)} purchases begin with {prefix!r}; give more of the key")
    if not keys:
        raise _none(ledger, prefix)
    return keys[0]


def _none(ledger: Ledger, prefix: str) -> InvalidRequest:
    return InvalidRequest(
        f"there is no purchase {prefix!r} on the ledger of {ledger.storage.url}; see prefect-media jobs list"
    )
