"""Looks, on a schedule, whether a model you use is going away: an event and an artifact tell."""

from datetime import date

from prefect import flow
from prefect_media.blocks.choices import AnyCredentials, AnyStore
from prefect_media.tasks import ashow_table
from prefect_media.tasks.context import connection_to, storage_for
from prefect_media.tasks.current_run import run_logger
from prefect_media.tasks.event_payloads import ModelEnding
from prefect_media.tasks.events import send_event

from prefect_media.catalog.retirements import endings
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers.models import list_models


@flow(name="model_watch")
async def model_watch(
    credentials: AnyCredentials,
    models: list[str] | None = None,
    store: AnyStore = None,
    days: int = 30,
    today: date | None = None,
) -> list[str]:
    """Compare the catalog, the server's own dates and the models in use; each finding is an event.

    The event is `prefect-media.model.ending`, its resource `prefect-media.model.HOST.MODEL`; an automation can wait
    for it. The artifact `model-watch` shows all findings as a table.

    Args:
        credentials: The server to ask.
        models: Models in use; those of the store's ledger if left out.
        store: Where the ledger lies: a block, the name of a saved one, a URL or a folder.
        days: How long before its end a model in use is worth an event.
        today: The date to reckon from; today's if left out.

    Returns:
        The findings, one sentence each; empty if all is well.
    """
    connection = await connection_to(credentials)
    if models is None:
        ledger = Ledger(await storage_for(store))
        requests = (each.request async for each in ledger.purchases() if each.account == connection.account)
        models = sorted({request["model"] async for request in requests if "model" in request})
    findings = endings(models, await list_models(connection), connection.catalog_host, today=today, near=days)
    if not findings:
        run_logger().info("All well with %s", ", ".join(models) or "no models: none is in use")
        return []
    for ending in findings:
        run_logger().warning(ending.sentence)
        send_event(
            "model.ending",
            {"id": f"model.{connection.host}.{ending.model}", "name": ending.model},
            ModelEnding(what=ending.what, ends=str(ending.ends), successor=ending.successor, sentence=ending.sentence),
        )
    await ashow_table(
        [
            {
                "model": ending.model,
                "what": ending.what,
                "ends": str(ending.ends or "?"),
                "catalog": str(ending.in_catalog or "-"),
                "server": str(ending.at_server or "-"),
                "successor": ending.successor or "-",
            }
            for ending in findings
        ],
        key="model-watch",
        title=f"Models going away at {connection.host}",
    )
    return [ending.sentence for ending in findings]
