"""300 jobs waited for on one event loop, against the simulator over real sockets: requests, lag, memory, CPU."""

from __future__ import annotations

import asyncio
import math
import random
import resource
import time

from prefect_media.jobs import VideoJob
from prefect_media.providers import videos
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.requests import VideoRequest
from prefect_media.simulator import Simulator
from prefect_media.waiting.wait import watch

JOBS = 300


async def run(simulator: Simulator, *, shortest: float, median: float, longest: float) -> None:
    """Submit the jobs, wait for them all, print what it took."""
    dice = random.Random(1)
    connection = simulator.credentials.connection()
    jobs: list[VideoJob] = []
    for number in range(JOBS):
        takes = 0.0
        while not shortest <= takes <= longest:
            takes = dice.lognormvariate(math.log(median), 0.45)
        simulator.latency = takes
        request = VideoRequest(prompt=f"number {number}", model="sora-2", seconds=4, size="1280x720")
        jobs.append(await videos.submit(connection, request, image=None, fingerprint=str(number)))
    fates = {job.id: job for job in simulator.jobs}
    before, cpu = len(simulator.requests), time.process_time()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def lag_of(job: VideoJob) -> float:
        await watch(connection, job, PurchaseOptions(scope="benchmark", timeout=10 * longest))
        return fates[job.id].elapsed - fates[job.id].latency

    lags = sorted(await asyncio.gather(*(lag_of(job) for job in jobs)))
    seen = simulator.requests[before:]
    pages = sum("limit=" in request.path for request in seen)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    print(  # noqa: T201
        f"{JOBS} jobs of {shortest:g} to {longest:g} s: {len(seen)} requests ({pages} of them pages of the list), "
        f"{len(seen) / JOBS:.2f} a job; lag {sum(lags) / JOBS:.2f} s mean, {lags[int(0.95 * JOBS)]:.2f} s p95, "
        f"{lags[-1]:.2f} s at most; {grown:.1f} MB more memory, {time.process_time() - cpu:.1f} s of CPU, "
        "the simulator's included"
    )


async def main() -> None:
    """With a list and without one."""
    for can_list in (True, False):
        print("\nserver with a list" if can_list else "\nserver without a list")  # noqa: T201
        with Simulator(can_list=can_list) as simulator:
            await run(simulator, shortest=12, median=26, longest=60)
