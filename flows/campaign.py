"""Many shots from a file, within a budget: each a task run of its own, what was made published, what failed said."""

import asyncio
from dataclasses import replace
from itertools import chain
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed
from prefect_media.blocks.choices import AnyCredentials, AnyStore, OptionalCredentials
from prefect_media.tasks import Generation, agather
from prefect_media.tasks.context import connection_to
from prefect_media.tasks.current_run import run_logger
from prefect_media.tasks.outcome_pages import show_outcomes
from prefect_media.tasks.publish import run_folder
from prefect_media.tasks.run_log import log_prompt
from pydantic import WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from prefect_media import Manifest, VideoRequest, apublish
from prefect_media.budget import OptionalBudget
from prefect_media.catalog.prices import total
from prefect_media.form_schema import JSON_TAB, empty_tab
from prefect_media.manifest import NAME
from prefect_media.media.load import describe
from prefect_media.purchases.shot_list import Shot, quotes_of, read_shots

Defaults = Annotated[dict[str, Any] | None, WithJsonSchema({"anyOf": [empty_tab("None"), JSON_TAB]})]


@flow(name="campaign")
async def campaign(
    credentials: AnyCredentials,
    shots: str,
    budget: OptionalBudget = None,
    defaults: Defaults = None,
    scope: str = "run",
    store: AnyStore = None,
    destination: SkipJsonSchema[AnyStore] = None,
    image_credentials: OptionalCredentials = None,
    concurrency: int = 32,
    retry_failed: bool = False,
    wait: SkipJsonSchema[Literal["worker", "suspend"]] = "worker",
) -> Manifest | State[Any]:
    """Make all shots of a file, and publish them; one that fails loses no other.

    The file is checked as a whole before anything is sent. When a shot failed, the run does, too, after everything
    else was published; a retry of the run, or another one in a scope with a name, makes what is missing.

    Args:
        credentials: Who makes the videos.
        shots: A path or URL (http, s3, gs, az) of a CSV, JSON or JSON lines file. Its columns are the fields of
            `VideoRequest`, `ImageRequest` and `ImageEditRequest`; `kind` is "video" (the default), "image" or "edit".
        budget: What may be spent; shots that could pass it are not made.
        defaults: Fields for the rows that leave them out, such as {"model": "wan-2.2", "seconds": 5}.
        scope: What each shot is unique within: "run", "forever", or a name of your own, such as "autumn-2026".
        store: Where the results and the record of purchases go; the store of the settings if left alone.
        destination: Another store to publish the results to. Not in the form: give it in code, YAML or JSON.
        image_credentials: Who makes the images, where that is somebody else.
        concurrency: How many are made at once, at each provider.
        retry_failed: Buy again what failed before in this scope.
        wait: Where to wait for the videos: "worker" keeps the process; "suspend" lets the flow run sleep, see
            docs/waiting.md. Not in the form: a deployment decides it.
    """
    logger = run_logger()
    listed = await read_shots(shots, defaults)
    makers = {True: credentials, False: image_credentials or credentials}
    connections = {films: await connection_to(maker) for films, maker in makers.items()}
    quotes = [quote.usd for quote in quotes_of(listed, lambda shot: connections[_is_video(shot)])]
    usd = sum(each for each in quotes if each is not None)
    unknown = f", and {quotes.count(None)} of them have no known price" if None in quotes else ""
    price = f"{usd:.2f} USD{unknown}" if any(quotes) else "and no price is known"
    logger.info("%d shot%s, %s", len(quotes), "" if len(quotes) == 1 else "s", price)
    if budget and usd > budget.usd:
        logger.warning("That is more than the budget of %.2f USD: not all of them will be made", budget.usd)

    async def shoot(maker: Any, mine: list[Shot]) -> list[tuple[str, Generation]]:
        each = agather(
            maker,
            [shot.request for shot in mine],
            store=store,
            scope=scope,
            budget=budget,
            concurrency=concurrency,
            retry_failed=retry_failed,
            wait=wait,
        )
        return [(mine[made.index].place, made) async for made in each]

    # In the order of the file where one provider makes them all, so that a budget goes to what stands first.
    groups = [(credentials, listed)]
    if image_credentials:
        groups = [(maker, [shot for shot in listed if _is_video(shot) is films]) for films, maker in makers.items()]
    if wait == "suspend":  # the pictures first, which are made in this process
        made = [await shoot(*group) for group in reversed(groups)]
    else:
        made = await asyncio.gather(*(shoot(*group) for group in groups))
    by_place = dict(chain(*made))
    outcomes = [(shot, by_place[shot.place]) for shot in listed]
    failed = [f"{shot.place}: {made.error}" for shot, made in outcomes if made.error]
    assets = [asset for _, made in outcomes for asset in made.assets]
    manifest = None
    target = destination or store
    folder = str(await run_folder() if scope in ("run", "forever") else scope)
    if assets:
        manifest = await apublish(assets, target, prefix=folder)
    lost = [replace(made, assets=()) for _, made in outcomes if made.error]  # first: they are what people look for
    cards = [*lost, *(manifest.assets if manifest else ())]
    await show_outcomes(
        [_row(*outcome) for outcome in outcomes],
        cards,
        title="Campaign",
        shots=describe(shots),
        key="campaign",
        store=target,
        file=f"{folder.strip('/')}/{NAME.removesuffix('.json')}.csv",
    )
    if manifest and not failed:
        return manifest
    where = f"; the others are published: {manifest.uri}" if manifest else ""
    return Failed(message=f"{len(failed)} of {len(listed)} shots failed{where}. The first: {failed[0]}")


def _is_video(shot: Shot) -> bool:
    return isinstance(shot.request, VideoRequest)


def _row(shot: Shot, made: Generation) -> dict[str, Any]:
    return {
        "shot": shot.place,
        "prompt": log_prompt(shot.request.prompt, 80),
        "USD": total(made.assets) if made.assets else None,
        "outcome": type(made.error).__name__ if made.error else "made",
        "where, or why": str(made.error) if made.error else ", ".join(asset.uri for asset in made.assets),
    }
