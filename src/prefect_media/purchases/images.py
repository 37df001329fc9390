"""Images from the request to the store: claimed, made by one paid request, stored and on record."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import AsyncExitStack

from ..assets import Asset
from ..catalog.check import check, resolved
from ..catalog.data import most_at_once
from ..catalog.prices import quote, total
from ..errors import MediaError, ModelRetired, SubmissionInDoubt
from ..ledger.accounts import reserve
from ..ledger.ledger import Ledger, Overtaken
from ..ledger.record import Record
from ..media.edit_files import EditFiles, prepared
from ..providers import images
from ..providers.connection import Connection
from ..providers.images import Reply
from ..purchase_options import Terms
from ..requests import ImageEditRequest, ImageRequest
from ..storage.store import Storage
from .orders import order_of, refuse_unless_bought, settle_claim, still_there
from .sidecar import write_sidecars
from .split import Part, joined, split
from .store_images import images_stored_before, store_images
from .submit_once import Ready, let_in, patiently, submitting


async def buy_images(
    connection: Connection, request: ImageRequest | ImageEditRequest, storage: Storage, terms: Terms
) -> list[Asset]:
    """Images, made or edited, bought once and stored; more than the model makes at once are several purchases."""
    host, family, retired = connection.catalog_host, connection.model_family, None
    try:
        request = check(request, host, family=family, partial_images=terms.partial_images, logger=terms.logger)
    except ModelRetired as refusal:
        request, retired = resolved(request, host, family=family), refusal
    files = await prepared(request) if isinstance(request, ImageEditRequest) else EditFiles()
    parts = split(request, most_at_once(request, host, family))
    return await joined([_buy_part(connection, part, files, storage, terms, retired) for part in parts])


async def _buy_part(
    connection: Connection, part: Part, files: EditFiles, storage: Storage, terms: Terms, retired: ModelRetired | None
) -> list[Asset]:
    """One purchase of images: one paid request."""
    request, family = part.request, connection.model_family
    normal = request.model_dump(mode="json", exclude={"images", "mask", "markup"}) | files.hashes | part.identity
    ledger, order = Ledger(storage), order_of(connection, request, normal, terms)
    await refuse_unless_bought(retired, ledger, order)
    claim = await ledger.claim(order, retry_failed=terms.retry_failed)
    claim = await settle_claim(ledger, claim, terms)
    if claim.record.state == "done":
        return await still_there(claim.record, storage, terms)
    if claim.record.batch and not claim.ours:
        raise claim.record.batch.under_way("this request")

    if claim.record.doubtful:
        if found := await images_stored_before(connection, request, storage, claim.record, terms):
            return list((await ledger.move(claim, state="done", assets=tuple(found), cost_usd=total(found))).assets)
        if terms.on_doubt == "raise":
            await ledger.move(claim, state="in_doubt")
            raise _images_in_doubt(claim.record, "an earlier attempt died while the provider was making the images")
    try:
        async with submitting(ledger, claim) as submission, AsyncExitStack() as stack:

            def send(ready: Ready) -> Awaitable[Reply]:
                number = terms.partial_images
                post = images.post(connection, request, files.uploads, partial_images=number, ready=ready)
                return stack.enter_async_context(post)

            async def stored(reply: Reply) -> list[Asset]:
                assets = await store_images(connection, request, reply, storage, claim.record, terms)
                await write_sidecars(storage, claim.record, assets, terms.logger)
                return assets

            if claim.record.doubtful:
                claim.pass_over(sent_now=False)
            await ledger.confirm(claim)
            await reserve(storage, claim, lambda: quote(request, connection.catalog_host, family), terms)
            try:
                reply = await patiently(send, ledger, claim, terms)
                claim.doubt(True)  # paid, and until they are stored the images are nowhere but here
                assets = await let_in(stored(reply), claim)
            except SubmissionInDoubt as error:
                raise _images_in_doubt(claim.record, error.message, error) from error
            record = await submission.bought(state="done", assets=tuple(assets), cost_usd=total(assets))
    except Overtaken:
        return await _buy_part(connection, part, files, storage, terms, retired)
    return list(record.assets)


def _images_in_doubt(record: Record, why: str, error: MediaError | None = None) -> SubmissionInDoubt:
    return SubmissionInDoubt(
        f"{why}; a provider can't be asked for images it made before, so they may be paid for and lost. "
        'Pass on_doubt="resubmit" to go on and perhaps pay twice',
        **{**(error.details if error else {}), "key": record.key},
    )
