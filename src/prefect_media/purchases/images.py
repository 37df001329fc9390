"""Images from the request to the store: claimed, made by one paid request, stored and on record."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AsyncExitStack
from functools import partial

from ..assets import Asset
from ..catalog.lookup import ModelEntry, look_up
from ..catalog.prices import total
from ..cleaning import quote_provider
from ..errors import MediaError, SubmissionInDoubt
from ..ledger.ledger import Ledger
from ..ledger.record import Record
from ..media.edit_files import EditFiles, prepare
from ..providers import images
from ..providers.connection import Connection
from ..providers.images import Reply
from ..purchase_options import PurchaseOptions
from ..requests import ImageEditRequest, ImageRequest
from ..runtime.tracing import span
from ..steps import StepReporter
from ..storage.store import Storage
from .orders import order_of, refuse_unless_bought, settle_claim, still_there
from .report_steps import estimate_usd, reporter_of, reserve_budget
from .sidecar import write_sidecars
from .split import Part, join, split
from .store_images import find_stored_images, store_images
from .submit_once import Ready, Submission, await_answer, repeat_when_overtaken, send_when_accepted


async def buy_images(
    connection: Connection, request: ImageRequest | ImageEditRequest, storage: Storage, options: PurchaseOptions
) -> list[Asset]:
    """Images, made or edited, bought once and stored; more than the model makes at once are several purchases."""
    request, model = look_up(
        request,
        connection.catalog_host,
        family=connection.model_family,
        partial_images=options.partial_images,
        logger=options.logger,
    )
    files = await prepare(request) if isinstance(request, ImageEditRequest) else EditFiles()
    parts = split(request, model.most_images(request))
    return await join([_buy_part(connection, part, files, storage, options, model) for part in parts])


async def _buy_part(
    connection: Connection,
    part: Part,
    files: EditFiles,
    storage: Storage,
    options: PurchaseOptions,
    model: ModelEntry,
) -> list[Asset]:
    """One purchase of images: one paid request."""
    request = part.request
    normal = request.model_dump(mode="json", exclude={"images", "mask", "markup"}) | files.hashes | part.identity
    order = order_of(connection, request, normal, options)
    steps = reporter_of(order, options)
    about = {"media": "image", "model": request.model, "host": connection.host}
    with steps.report_errors(), span("purchase", key=order.key, **about) as purchase:
        await refuse_unless_bought(model.retired, Ledger(storage), order)
        assets = await repeat_when_overtaken(
            partial(_buy_order, connection, request, order, files, storage, options, model, steps)
        )
        purchase.set(bytes=sum(asset.size_bytes for asset in assets), cost_usd=total(assets))
        return assets


async def _buy_order(
    connection: Connection,
    request: ImageRequest | ImageEditRequest,
    order: Record,
    files: EditFiles,
    storage: Storage,
    options: PurchaseOptions,
    model: ModelEntry,
    steps: StepReporter,
) -> list[Asset]:
    """The images of an order, bought before or now.

    Raises:
        Overtaken: Somebody else took the purchase over; claim it again.
    """
    ledger = Ledger(storage)
    claim = await ledger.claim(order, retry_failed=options.retry_failed)
    claim = await settle_claim(ledger, claim, options, steps)
    if claim.record.state == "done":
        return await still_there(claim.record, storage, options)
    if claim.record.batch and not claim.ours:
        raise claim.record.batch.under_way("this request")

    if claim.record.doubtful:
        if assets := await find_stored_images(connection, request, storage, claim.record, options, model):
            record = await ledger.move(claim, state="done", assets=tuple(assets), cost_usd=total(assets))
            steps.report_stored(record.assets, record.cost_usd)
            return list(record.assets)
        if options.on_doubt == "raise":
            await ledger.move(claim, state="in_doubt")
            raise _images_in_doubt(claim.record, "an earlier attempt died while the provider was making the images")
    price = partial(model.quote, request)
    async with Submission(ledger, claim) as submission, AsyncExitStack() as stack:

        def send(ready: Ready) -> Awaitable[Reply]:
            async def ready_to_send() -> None:
                await ready()
                steps.report("submitted", cost_usd=estimate_usd(price))

            number = options.partial_images
            post = images.post(connection, request, files.uploads, partial_images=number, ready=ready_to_send)
            return stack.enter_async_context(post)

        async def store(reply: Reply) -> list[Asset]:
            with span("store", media="image", model=request.model, host=connection.host) as storing:
                assets = await store_images(connection, request, reply, storage, claim.record, options, model)
                await write_sidecars(storage, claim.record, assets, options.logger)
                storing.set(bytes=sum(asset.size_bytes for asset in assets), cost_usd=total(assets))
                return assets

        if claim.record.doubtful:
            claim.pass_over(sent_now=False)
        await ledger.confirm(claim)
        await reserve_budget(ledger, claim, price, options, steps)
        try:
            with span("submit", media="image", model=request.model, host=connection.host):
                reply = await send_when_accepted(send, ledger, claim, options)
            claim.doubt(True)  # paid, and until they are stored the images are nowhere but here
            assets = await await_answer(store(reply), claim)
        except SubmissionInDoubt as error:
            raise _images_in_doubt(claim.record, error.message.partition(";")[0], error) from error
        record = await submission.record_purchase(state="done", assets=tuple(assets), cost_usd=total(assets))
    steps.report_stored(record.assets, record.cost_usd)
    return list(record.assets)


def _images_in_doubt(record: Record, why: str, error: MediaError | None = None) -> SubmissionInDoubt:
    words = quote_provider(error.provider_message if error else None)
    return SubmissionInDoubt(
        f"{why}; a provider can't be asked for images it made before, so they may be paid for and lost; "
        f'pass on_doubt="resubmit" to go on and perhaps pay twice{words}',
        **{**(error.details if error else {}), "key": record.key},
    )
