"""The floor in a Prefect flow, with one task run for each job that only waits for it: what Prefect costs alone."""

from __future__ import annotations

import asyncio

import engine_floor
from client import Done, Plan, Run
from engine_flow import count_requests_to_prefect


def prepared(plan: Plan) -> Run:
    from prefect import flow, task

    asked = count_requests_to_prefect()
    videos: list[asyncio.Future[str]] = []

    @task(name="video")
    async def video(number: int) -> str:
        return await videos[number]

    @flow(name="benchmark")
    async def shots() -> list[str]:
        loop = asyncio.get_running_loop()
        videos.extend(loop.create_future() for _ in range(plan.jobs))

        def landed(number: int, sha256: str) -> None:
            loop.call_soon_threadsafe(videos[number].set_result, sha256)

        working = asyncio.create_task(asyncio.to_thread(engine_floor.videos, plan, landed))
        hashes = await asyncio.gather(*(video(number) for number in range(plan.jobs)))
        await working
        return hashes

    async def run() -> Done:
        return Done(await shots(), {"prefect_requests": dict(asked)})

    return run
