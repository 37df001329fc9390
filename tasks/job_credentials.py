"""Which credentials a job was bought with in this process, so that waiting for it need not be told again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from prefect_media.blocks import AzureOpenAICredentials, OpenAICredentials

from prefect_media.errors import InvalidRequest
from prefect_media.image_batch import ImageBatch
from prefect_media.jobs import VideoJob
from prefect_media.providers.address import origin_of

from .context import Credentials, credentials_block

KEPT = 10_000
"""Jobs remembered; the oldest make room."""

_bought: OrderedDict[tuple[str, str | None], Credentials] = OrderedDict()
_lock = threading.Lock()


def remember_credentials(job: VideoJob | ImageBatch, credentials: Credentials) -> None:
    """Remember, in this process only, what a job was bought with."""
    with _lock:
        _bought[job.base_url, job.id] = credentials
        while len(_bought) > KEPT:
            _bought.popitem(last=False)


async def credentials_of(job: VideoJob | ImageBatch, given: Sequence[Credentials]) -> Credentials:
    """The credentials of a job: of those given the ones for its server, else those it was bought with.

    Raises:
        errors.InvalidRequest: There are none.
    """
    for credentials in given:
        own = (await credentials_block(credentials)).connection().base_url
        if own == job.base_url or origin_of(own) == origin_of(job.base_url) is not None:
            return credentials
    if not given and (credentials := _bought.get((job.base_url, job.id))) is not None:
        return credentials
    why = "was not submitted by this process" if not given else "was made at another server than credentials is for"
    raise InvalidRequest(f"job {job.id} {why}; pass credentials= with those it was bought with; nothing was sent")


def saved_name(credentials: Credentials) -> str | None:
    """The name that others can load credentials by; None of a block that was never saved."""
    if isinstance(credentials, OpenAICredentials | AzureOpenAICredentials):
        name = getattr(credentials, "_block_document_name", None)
        return f"{credentials.get_block_type_slug()}/{name}" if name else None
    return credentials
