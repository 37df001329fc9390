"""This package in a Prefect flow with `agather`: one task run for each job, or one for fifty."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from client import Done, Plan, Run
from engine_flow import count_requests_to_prefect, inputs

AT_ONCE = 300
"""Jobs at the provider at a time."""

TICK = 0.02


def prepared(plan: Plan) -> Run:
    import httpcore2  # noqa: F401
    import obstore  # noqa: F401
    import openai  # noqa: F401
    import urllib3  # noqa: F401
    from prefect import flow
    from prefect_media.tasks import agather

    credentials, store, requests = inputs(plan)
    asked = count_requests_to_prefect()
    per_task_run = int(plan.engine.partition("-")[2] or 1)

    @flow(name="benchmark")
    async def shots() -> list[str]:
        many = agather(credentials, requests, store=store, concurrency=AT_ONCE, per_task_run=per_task_run)
        return [made.asset.sha256 async for made in many if made.asset]

    async def run() -> Done:
        stalls: list[float] = []
        watching = asyncio.create_task(_watch(stalls))
        hashes = await shots()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        return Done(hashes, {"prefect_requests": dict(asked), "stall": max(stalls, default=0.0)})

    return run


async def _watch(stalls: list[float]) -> None:
    """Note by how many seconds the event loop is late, again and again."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(TICK)
        stalls.append(time.perf_counter() - before - TICK)
