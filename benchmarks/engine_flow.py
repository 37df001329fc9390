"""This package in a Prefect flow: one task run for each job, gathered."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from client import Done, Plan, Run


def prepared(plan: Plan) -> Run:
    import httpcore2  # noqa: F401
    import obstore  # noqa: F401
    import openai  # noqa: F401
    import urllib3  # noqa: F401
    from prefect import flow
    from prefect_media.tasks import agenerate_images, agenerate_video

    credentials, store, requests = inputs(plan)
    asked = count_requests_to_prefect()

    @flow(name="benchmark")
    async def shots() -> list[str]:
        if plan.kind == "video":
            videos = (agenerate_video(credentials, request, store=store) for request in requests)
            return [video.sha256 for video in await asyncio.gather(*videos)]
        images = (agenerate_images(credentials, request, store=store) for request in requests)
        return [image.sha256 for [image] in await asyncio.gather(*images)]

    async def run() -> Done:
        hashes = await shots()
        return Done(hashes, {"prefect_requests": dict(asked)})

    return run


def inputs(plan: Plan) -> tuple[Any, Any, list[Any]]:
    """The blocks and the requests of the flow."""
    from prefect_media.blocks import MediaStore, OpenAICredentials
    from pydantic import SecretStr

    from prefect_media.requests import ImageRequest, VideoRequest

    credentials = OpenAICredentials(
        api_key=SecretStr("key"), base_url=f"{plan.provider}/v1", max_concurrency=plan.at_once
    )
    store = (
        MediaStore(url=plan.folder)
        if plan.folder
        else MediaStore(
            url="s3://bench",
            endpoint_url=plan.sink,
            region="us-east-1",
            aws_access_key_id=SecretStr("key"),
            aws_secret_access_key=SecretStr("secret"),
        )
    )
    if plan.kind == "video":
        requests = [
            VideoRequest(prompt=plan.prompt(number), model="sora-2", seconds=4, size="1280x720")
            for number in range(plan.jobs)
        ]
    else:
        requests = [
            ImageRequest(prompt=plan.prompt(number), model="gpt-image-2", size="1024x1024")
            for number in range(plan.jobs)
        ]
    return credentials, store, requests


def count_requests_to_prefect() -> dict[str, int]:
    """Counts, from now on, the HTTP requests of this process to Prefect's API, by method and the path's first part."""
    import httpx
    from prefect.settings import get_current_settings

    api, asked = str(get_current_settings().api.url), Counter[str]()

    def count(request: httpx.Request) -> None:
        if str(request.url).startswith(api):
            asked[f"{request.method} {str(request.url).removeprefix(api).split('?')[0].split('/')[1]}"] += 1

    plain, plain_async = httpx.Client.send, httpx.AsyncClient.send

    def send(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        count(request)
        return plain(self, request, **options)

    async def send_async(self: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        count(request)
        return await plain_async(self, request, **options)

    httpx.Client.send, httpx.AsyncClient.send = send, send_async  # type: ignore[method-assign]
    return asked
