"""This package without Prefect: its purchases, all at once."""

from __future__ import annotations

import asyncio

from client import Done, Plan, Run


def prepared(plan: Plan) -> Run:
    import httpcore2  # noqa: F401
    import obstore  # noqa: F401
    import openai  # noqa: F401
    import urllib3  # noqa: F401

    from prefect_media.providers.connection import Connection
    from prefect_media.purchase_options import PurchaseOptions
    from prefect_media.purchases.images import buy_images
    from prefect_media.purchases.videos import buy_video
    from prefect_media.requests import ImageRequest, VideoRequest
    from prefect_media.storage.base import StorageOptions
    from prefect_media.storage.store import storage_at

    async def run() -> Done:
        connection = Connection("openai", f"{plan.provider}/v1", "key", dialect="auto", max_concurrency=plan.at_once)
        login = {"access_key_id": "key", "secret_access_key": "secret"}
        options = StorageOptions(endpoint_url=plan.sink, region="us-east-1", **login)
        storage = storage_at(plan.folder) if plan.folder else storage_at("s3://bench", options)
        terms = PurchaseOptions(scope="bench", timeout=600)

        async def video(number: int) -> str:
            request = VideoRequest(prompt=plan.prompt(number), model="sora-2", seconds=4, size="1280x720")
            return (await buy_video(connection, request, storage, terms)).sha256

        async def image(number: int) -> str:
            request = ImageRequest(prompt=plan.prompt(number), model="gpt-image-2", size="1024x1024")
            return (await buy_images(connection, request, storage, terms))[0].sha256

        work = video if plan.kind == "video" else image
        return Done(await asyncio.gather(*(work(number) for number in range(plan.jobs))))

    return run
