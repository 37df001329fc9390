"""What is bought in histories, by the names that these use."""

from __future__ import annotations

from functools import lru_cache

from prefect_media.providers.connection import Connection
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.orders import order_of
from prefect_media.requests import ImageRequest, VideoRequest
from prefect_media.runtime import clock

from .history import IMAGES, THIRD_VIDEO, VIDEOS

REQUESTS: dict[str, VideoRequest | ImageRequest] = {
    **{
        name: VideoRequest(prompt=f"the {name}", model="sora-2", seconds=4, size="1280x720")
        for name in (*VIDEOS, THIRD_VIDEO)
    },
    **{
        name: ImageRequest(prompt=f"the {name}", model="gpt-image-2", size="1024x1024", quality="low")
        for name in IMAGES
    },
}
NAMES = {request.prompt: name for name, request in REQUESTS.items()}


@lru_cache(maxsize=1024)
def key_of(connection: Connection, request: str, scope: str) -> str:
    """Key of a purchase, as the real code makes it."""
    asked = REQUESTS[request]
    given = {"image"} if isinstance(asked, VideoRequest) else {"images", "mask", "markup"}
    with_clock = clock.source
    clock.source = clock.System()
    try:
        terms = PurchaseOptions(scope=scope, timeout=1.0)
        return order_of(connection, asked, asked.model_dump(mode="json", exclude=given), terms).key
    finally:
        clock.source = with_clock


@lru_cache(maxsize=8)
def names_of(connection: Connection) -> dict[str, str]:
    """The purchases of all requests, by their keys."""
    return {key_of(connection, request, scope): f"{request}@{scope}" for request in REQUESTS for scope in ("a", "b")}
