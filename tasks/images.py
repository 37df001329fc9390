"""Images as Prefect tasks."""

from __future__ import annotations

from datetime import timedelta

from prefect import task

from prefect_media.assets import Asset
from prefect_media.budget import Budget
from prefect_media.purchase_options import OnDoubt, OnPartial
from prefect_media.purchases.images import buy_images
from prefect_media.requests import ImageEditRequest, ImageRequest

from .context import MANY, Credentials, Store, check_kind, connection_to, purchase_options, storage_for
from .preview import Preview
from .reporting import show_steps
from .retried import RETRIED, sync_twin

IMAGE_TIMEOUT = timedelta(minutes=15)


@task(name="generate_images", **RETRIED)
async def agenerate_images(
    credentials: Credentials,
    request: ImageRequest,
    *,
    store: Store | None = None,
    scope: str = "run",
    timeout: timedelta | float = IMAGE_TIMEOUT,
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
    on_partial: OnPartial | None = None,
    partial_images: int = 2,
    preview: bool = False,
) -> list[Asset]:
    """Make images and put them in the store; the same request in the same scope is bought once.

    Example:
        ```python
        [fox] = await agenerate_images("my-openai", ImageRequest(prompt="a neon fox", model="gpt-image-2"))
        ```

    Args:
        credentials: A credentials block, or the name of a saved one.
        request: What to make.
        store: Where to put it: a `MediaStore`, its name, a URL or a folder. Default: `PREFECT_MEDIA_STORE`,
            else a folder under the Prefect home.
        scope: What the request is unique within: "run" (this flow run, its retries and restarts included),
            "forever", or a name of your own.
        timeout: How long to wait, in seconds or as a timedelta.
        on_doubt: What to do when a reply was lost and the images may be paid for: "raise" or "resubmit".
        budget: What may be spent, as a `Budget` or in USD for this flow run; what could exceed it is not bought.
        retry_failed: Buy again what the provider rejected before in this scope.
        on_partial: Called with the bytes and the number, from 0, of each preview while the image is made; may be
            async, and can't fail the purchase. It is still one paid request, of one image.
        partial_images: How many previews to ask for, 1 to 3; the provider may send fewer.
        preview: Show the previews in an artifact of the flow run, which sharpens while the image is made.

    Returns:
        One asset per image, in the provider's order.

    Raises:
        errors.InvalidRequest: The request can't work; nothing was sent.
        errors.BudgetExceeded: It could exceed the budget; nothing was sent.
        errors.ContentRejected: Moderation refused the prompt.
        errors.SubmissionInDoubt: The reply was lost or broke off; an image can't be asked for again.
        errors.MediaError: Any other kind; see `prefect_media.errors`.
    """
    request = check_kind(request, ImageRequest, hint=MANY)
    artifact = Preview(request, on_partial) if preview else None
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(
        scope=scope,
        timeout=timeout,
        on_doubt=on_doubt,
        budget=budget,
        retry_failed=retry_failed,
        on_partial=artifact or on_partial,
        partial_images=partial_images,
        on_step=show_steps(storage, request),
    )
    assets = await buy_images(connection, request, storage, options)
    if artifact:
        await artifact.finish(assets[0])
    return assets


@task(name="edit_images", **RETRIED)
async def aedit_images(
    credentials: Credentials,
    request: ImageEditRequest,
    *,
    store: Store | None = None,
    scope: str = "run",
    timeout: timedelta | float = IMAGE_TIMEOUT,
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
    on_partial: OnPartial | None = None,
    partial_images: int = 2,
    preview: bool = False,
) -> list[Asset]:
    """Make images from 1 to 16 others, with or without a mask; arguments are those of `agenerate_images`.

    Example:
        ```python
        request = ImageEditRequest(prompt="at night", model="gpt-image-2", images=[fox, "moon.png"], mask="sky.png")
        [night] = await aedit_images("my-openai", request)
        ```

    Returns:
        One asset per image, in the provider's order.

    Raises:
        errors.InvalidRequest: A picture or the mask can't be read or doesn't fit, or the model can't do it; nothing
            was sent.
        errors.MediaError: Any other kind, as in `agenerate_images`.
    """
    request = check_kind(request, ImageEditRequest, hint=MANY)
    artifact = Preview(request, on_partial) if preview else None
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(
        scope=scope,
        timeout=timeout,
        on_doubt=on_doubt,
        budget=budget,
        retry_failed=retry_failed,
        on_partial=artifact or on_partial,
        partial_images=partial_images,
        on_step=show_steps(storage, request),
    )
    assets = await buy_images(connection, request, storage, options)
    if artifact:
        await artifact.finish(assets[0])
    return assets


edit_images = sync_twin(aedit_images, **RETRIED)
generate_images = sync_twin(agenerate_images, **RETRIED)
