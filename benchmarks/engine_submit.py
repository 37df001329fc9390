"""This package in a Prefect flow with `.submit()`: on its own task runner, or on Prefect's for comparison."""

from __future__ import annotations

import asyncio

from client import Done, Plan, Run
from engine_flow import count_requests_to_prefect, inputs


def prepared(plan: Plan) -> Run:
    import openai  # noqa: F401
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner
    from prefect_media.tasks import agenerate_images, agenerate_video

    if plan.engine == "submit":
        from prefect_media.tasks import MediaTaskRunner

        task_runner = MediaTaskRunner()
    else:
        task_runner = ThreadPoolTaskRunner(max_workers=plan.jobs)
    credentials, store, requests = inputs(plan)
    asked = count_requests_to_prefect()

    @flow(name="benchmark", task_runner=task_runner)
    def shots() -> list[str]:
        if plan.kind == "video":
            videos = [agenerate_video.submit(credentials, request, store=store) for request in requests]
            return [video.result().sha256 for video in videos]
        images = [agenerate_images.submit(credentials, request, store=store) for request in requests]
        return [image.result()[0].sha256 for image in images]

    async def run() -> Done:
        hashes = await asyncio.to_thread(shots)
        return Done(hashes, {"prefect_requests": dict(asked)})

    return run
