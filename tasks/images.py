"""Images as Prefect tasks."""

from __future__ import annotations

from datetime import timedelta

from prefect import task

from prefect_media.assets import Asset
from prefect_media.purchase import buy_images
from prefect_media.requests import ImageRequest
from prefect_media.terms import OnDoubt

from .context import Credentials, Store, connection_to, storage_for, terms_of
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
    retry_failed: bool = False,
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
        retry_failed: Buy again what the provider rejected before in this scope.

    Returns:
        One asset per image, in the provider's order.

    Raises:
        errors.InvalidRequest: The request can't work; nothing was sent.
        errors.ContentRejected: Moderation refused the prompt.
        errors.SubmissionInDoubt: The reply was lost; an image can't be asked for again.
        errors.MediaError: Any other kind; see `prefect_media.errors`.
    """
    connection = await connection_to(credentials)
    storage = await storage_for(store)
    terms = await terms_of(scope=scope, timeout=timeout, on_doubt=on_doubt, retry_failed=retry_failed)
    return await buy_images(connection, request, storage, terms)


generate_images = sync_twin(agenerate_images, **RETRIED)
