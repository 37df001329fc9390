"""Half-price image batches as Prefect tasks: submit now, fetch within a day, on any machine with the same store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from prefect import task

from prefect_media.budget import Budget
from prefect_media.image_batch import ImageBatch
from prefect_media.purchase_options import OnDoubt
from prefect_media.purchases.batch_fetch import fetch, is_finished
from prefect_media.purchases.batch_submit import submit
from prefect_media.requests import ImageRequest

from .context import Credentials, Store, check_kind, connection_to, purchase_options, storage_for
from .generation import Generation
from .images import IMAGE_TIMEOUT
from .job_credentials import remember_credentials
from .reporting import show_steps
from .retried import RETRIED, sync_twin

BATCH_TIMEOUT = timedelta(hours=25)
"""The provider gives a batch 24 hours."""


@task(name="submit_image_batch", **RETRIED)
async def asubmit_image_batch(
    credentials: Credentials,
    requests: Sequence[ImageRequest],
    *,
    store: Store | None = None,
    scope: str = "run",
    on_doubt: OnDoubt = "raise",
    budget: Budget | float | None = None,
    retry_failed: bool = False,
) -> ImageBatch:
    """Order many images of one model at half the price, made within 24 hours, and come back at once.

    Each request is bought once in its scope, whether in a batch or alone: what was bought before stays out of the
    batch, and `agenerate_images` later returns what the batch made without paying again. The same requests are the
    same batch, however often submitted; submitted again after it was fetched, only what it did not make is ordered.

    Example:
        ```python
        batch = await asubmit_image_batch("my-openai", requests, store="my-store", scope="catalog of May")
        # later, anywhere:
        for made in await afetch_image_batch("my-openai", batch, store="my-store"):
            print(made.index, made.error or made.assets[0].uri)
        ```

    Args:
        credentials: A credentials block, or the name of a saved one. Azure has no batches of images.
        requests: What to make: up to 50,000 lines and 200 MB, all of one model. Equal ones are one purchase.
        store: Where the ledger lives, and later the images; see `agenerate_images`.
        scope: What each request is unique within; see `agenerate_images`. Steps that belong to different flow runs need
            a name of your own, or "forever".
        on_doubt: What to do when it can't be known whether the provider took the batch, or whether a request was bought
            alone by a process that died: "raise" or "resubmit".
        budget: What all may cost together, as a `Budget` or in USD for this flow run; what could exceed it is not
            ordered, as a whole. It is booked when the batch is fetched.
        retry_failed: Buy again what the provider rejected before in this scope.

    Returns:
        A small value that holds no secret; any process can go on with it.

    Raises:
        errors.InvalidRequest: Requests that can't work, all of them by index; or some are in another batch at this
            moment; or the server has no Batch API. Nothing was sent.
        errors.BudgetExceeded: It could exceed the budget; nothing was sent.
        errors.SubmissionInDoubt: A reply was lost and the server's list can't be read, or a request is in doubt.
        errors.MediaError: Any other kind; see `prefect_media.errors`.
    """
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(
        scope=scope,
        timeout=IMAGE_TIMEOUT,
        on_doubt=on_doubt,
        budget=budget,
        retry_failed=retry_failed,
        on_step=show_steps(storage),
    )
    batch = await submit(connection, requests, storage, options)
    remember_credentials(batch, credentials)
    return batch


@task(name="image_batch_is_finished", **RETRIED)
async def aimage_batch_is_finished(credentials: Credentials, batch: ImageBatch, *, store: Store | None = None) -> bool:
    """Look at a batch once. One that failed, expired or was cancelled is finished too; fetching it says why.

    Example:
        ```python
        if await aimage_batch_is_finished("my-openai", batch, store="my-store"):
            made = await afetch_image_batch("my-openai", batch, store="my-store")
        ```

    Args:
        credentials: The credentials the batch was bought with, or their name.
        batch: What `asubmit_image_batch` returned.
        store: The store it was submitted with.

    Raises:
        errors.InvalidRequest: It was made at another server than the credentials are for, or with another store.
        errors.MediaError: The look failed.
    """
    batch = check_kind(batch, ImageBatch, name="batch", hint=" as submit_image_batch returns it")
    return await is_finished(await connection_to(credentials), batch, await storage_for(store))


@task(name="fetch_image_batch", **RETRIED)
async def afetch_image_batch(
    credentials: Credentials,
    batch: ImageBatch,
    *,
    store: Store | None = None,
    timeout: timedelta | float = BATCH_TIMEOUT,
) -> list[Generation]:
    """Put the images of a batch into the store, once it is finished; fetched twice, they are the same. Buys nothing.

    The answers are read as a stream and each image is on record as soon as it is stored, so a run that dies here goes
    on where it was. What the batch did not make has an `error` and is free to be bought again, all of it by
    `asubmit_image_batch` with the same requests; rejections by moderation are remembered, as those of single images.

    Example:
        ```python
        made = await afetch_image_batch("my-openai", batch, store="my-store")
        images = [image for each in made for image in each.assets]
        ```

    Args:
        credentials: The credentials the batch was bought with, or their name.
        batch: What `asubmit_image_batch` returned.
        store: The store it was submitted with, on whatever machine.
        timeout: How long to wait until it is finished, in seconds or as a timedelta.

    Returns:
        The outcome of each request, in the order of the requests; a failure stands at its own place only.

    Raises:
        errors.JobTimedOut: It is not finished yet; fetch it again whenever you like.
        errors.InvalidRequest: It was made at another server than the credentials are for, or with another store.
        errors.MediaError: Its answers could not be had or stored; what was stored is on record.
    """
    batch = check_kind(batch, ImageBatch, name="batch", hint=" as submit_image_batch returns it")
    connection, storage = await connection_to(credentials), await storage_for(store)
    options = await purchase_options(timeout=timeout, on_step=show_steps(storage))
    results = await fetch(connection, batch, storage, options)
    return [Generation(index, each.request, each.assets, each.error) for index, each in enumerate(results)]


submit_image_batch = sync_twin(asubmit_image_batch, **RETRIED)
image_batch_is_finished = sync_twin(aimage_batch_is_finished, **RETRIED)
fetch_image_batch = sync_twin(afetch_image_batch, **RETRIED)
