"""A cluster on one machine that loses its parts one after the other: what is bought, and what comes to its end.

    python tests/support/cluster.py --runs 60 --workers 3

PostgreSQL, Prefect's server on it, process workers with heartbeats, `recover-crashed` and `recover --every`, a bucket
behind S3 and a simulated provider. Two of three flow runs share a purchase with another one, by `scope="forever"`.
While they run, a worker is killed with all its processes and does not come back, and another is frozen for longer than
its leases and its heartbeats and thawed again, both while the provider has accepted a job of theirs and not answered
yet. Then Prefect's server is restarted, PostgreSQL is restarted, and the bucket is away.

The exit code is 1 unless every flow run is Completed without a hand and published its video, every purchase was made
once, and nothing is left over: no unfinished record, no money reserved, no upload, no process of a flow run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from cluster_flow import NAME, clip
from cluster_parts import Cluster, say
from cluster_servers import ClusterServer, Kept, Postgres, find_postgres, start_workers
from cluster_verdict import figures, find_problems
from outage import Door
from prefect_api import Prefect

from prefect_media.cli.demo_servers import BucketServer
from prefect_media.simulator import Fault, Simulator

WINDOW = 90
"""Seconds without a heartbeat after which a flow run counts as lost; three heartbeats of 30 s."""

REPLY_SECONDS = 1.5
"""How long the provider takes to answer after it accepted a job: long enough to lose a worker right then."""

BUCKET_SECONDS = 20.0


def main() -> int:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--runs", type=int, default=60)
    asked.add_argument("--workers", type=int, default=3)
    asked.add_argument("--room", type=int, default=5, help="flow runs at once on each worker")
    asked.add_argument("--latency", type=float, default=10.0, help="seconds that a video takes")
    asked.add_argument("--frozen", type=float, default=WINDOW + 20.0, help="seconds that a worker is frozen")
    asked.add_argument("--patience", type=float, default=900.0, help="seconds until whatever is not done is a failure")
    asked.add_argument("--logs", type=Path, help="folder that keeps the logs")
    options = asked.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # everything that was started is ended
    programs = find_postgres(install=True)
    if programs is None:
        say("PostgreSQL is missing: apt-get install postgresql")
        return 1
    with ExitStack() as stack:
        folder = options.logs or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        database = stack.enter_context(Postgres(programs))
        server = stack.enter_context(ClusterServer(database, folder))
        simulator = stack.enter_context(Simulator(latency=options.latency))
        simulator.faults.append(Fault("POST", "/videos$", "hold_reply", times=None, seconds=REPLY_SECONDS))
        bucket = stack.enter_context(BucketServer())
        bucket.create(NAME)
        door = stack.enter_context(Door(urlsplit(bucket.url).port or 0))
        deployment = prepare(simulator, server, f"http://127.0.0.1:{door.port}")

        env = {**server.env, "PYTHONPATH": str(Path(__file__).parent), "PREFECT_WORKER_QUERY_SECONDS": "2"}
        env |= {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "PREFECT_MEDIA_LEASE_SECONDS": "10"}
        media = [sys.executable, "-m", "prefect_media"]
        save = ["recover-crashed", "--window", str(WINDOW), "--also", "connection-errors"]
        subprocess.run([*media, *save], env=env, check=True, stdout=subprocess.DEVNULL, timeout=120)
        prefect = Prefect(server.api_url)
        runs = start_runs(prefect, deployment, options.runs)
        workers = start_workers(stack, options.workers, NAME, options.room, env, folder)
        recover = [*media, "recover", "--stuck", f"{WINDOW}s", "--every", "20", "--json"]
        keeper = stack.enter_context(Kept("recover", recover, env, folder / "recover.log"))
        cluster = Cluster(server, database, [*workers], door, simulator, runs)
        began = time.monotonic()
        lose_parts(cluster, options.frozen)
        wait_for_the_end(prefect, cluster, began + options.patience)
        seconds = time.monotonic() - began
        problems = asyncio.run(find_problems(prefect, cluster, bucket))
        say(json.dumps(figures(prefect, cluster, keeper, folder / "recover.log"), indent=2))
    for problem in problems:
        say(problem)
    bought = Counter(job.prompt for job in simulator.jobs)
    say(
        f"{options.runs} flow runs, {len(set(runs.values()))} purchases, {bought.total()} videos bought, "
        f"{sum(times - 1 for times in bought.values())} duplicates, {len(problems)} problems ({seconds:.0f} s)"
    )
    return 1 if problems else 0


def prepare(simulator: Simulator, server: ClusterServer, bucket_url: str) -> str:
    """Save the blocks, the work pool and the deployment; its id."""
    os.environ.update({name: value for name, value in server.env.items() if name.startswith("PREFECT_")})
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect_media.blocks import MediaStore

    store = MediaStore(
        url=f"s3://{NAME}/store",
        endpoint_url=bucket_url,
        region="us-east-1",
        aws_access_key_id=BucketServer.KEY,
        aws_secret_access_key=BucketServer.SECRET,
    )

    async def save() -> str:
        await simulator.credentials.asave(NAME, overwrite=True)
        await store.asave(NAME, overwrite=True)
        async with get_client() as client:
            await client.create_work_pool(WorkPoolCreate(name=NAME, type="process"))
            flow_id = await client.create_flow(clip)
            entrypoint = "cluster_flow.clip"
            return str(await client.create_deployment(flow_id, "it", entrypoint=entrypoint, work_pool_name=NAME))

    with temporary_settings({PREFECT_API_URL: server.api_url}):
        return asyncio.run(save())


def start_runs(prefect: Prefect, deployment: str, count: int) -> dict[str, str]:
    """Schedule the flow runs, of which two in three share a purchase with their neighbour; the prompt of each."""
    runs: dict[str, str] = {}
    for number in range(count):
        shared = number % 3 != 2
        parameters = {
            "number": number,
            "prompt": f"boat {number // 3} for two" if shared else f"boat {number} alone",
            "scope": "forever" if shared else "run",
        }
        path = f"/deployments/{deployment}/create_flow_run"
        run = prefect.ask("POST", path, parameters=parameters, idempotency_key=str(number))
        runs[run["id"]] = parameters["prompt"]
    return runs


def lose_parts(cluster: Cluster, frozen_seconds: float) -> None:
    """Lose one part after the other, spread over the purchases."""
    cluster.wait_until_bought(1 / 8)
    cluster.kill_a_worker()
    cluster.wait_until_bought(2 / 8)
    thawing = cluster.freeze_a_worker(frozen_seconds)
    cluster.wait_until_bought(3 / 8)
    cluster.restart("Prefect's server", cluster.server.restart)
    cluster.wait_until_bought(4 / 8)
    cluster.restart("PostgreSQL", cluster.database.restart)
    cluster.wait_until_bought(5 / 8)
    cluster.shut_the_bucket(BUCKET_SECONDS)
    thawing.join()


def wait_for_the_end(prefect: Prefect, cluster: Cluster, deadline: float) -> None:
    """Return when all flow runs are Completed, with nobody left who executes one, or at the deadline."""
    while time.monotonic() < deadline:
        completed = prefect.states(list(cluster.runs))["Completed"]
        if completed == len(cluster.runs) and not any(worker.flow_runs() for worker in cluster.workers):
            break
        time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
