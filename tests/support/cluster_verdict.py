"""What came of the flow runs of `cluster.py`: the problems, and the figures."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from cluster_flow import BUDGET, NAME
from cluster_parts import Cluster
from cluster_servers import Kept
from prefect_api import Prefect

from prefect_media.cli.demo_servers import BucketServer
from prefect_media.ledger.accounts import Account, read
from prefect_media.ledger.ledger import Ledger
from prefect_media.simulator.drawing.film import shoot
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import Storage, storage_at


async def find_problems(prefect: Prefect, cluster: Cluster, bucket: BucketServer) -> list[str]:
    """Everything that is not as it should be in the end."""
    options = StorageOptions(
        endpoint_url=bucket.url, region="us-east-1", access_key_id=bucket.KEY, secret_access_key=bucket.SECRET
    )
    storage = storage_at(f"s3://{NAME}/store", options)
    problems = [
        f"{count} flow runs ended as {name}"
        for name, count in prefect.states(list(cluster.runs)).items()
        if name != "Completed"
    ]
    bought = Counter(job.prompt for job in cluster.simulator.jobs)
    for prompt in dict.fromkeys(cluster.runs.values()):
        if bought[prompt] != 1:
            problems.append(f"{prompt} was bought {bought[prompt]} times")
    problems += await _problems_of_videos(cluster, storage)
    problems += await _left_over(cluster, storage, bucket)
    return problems


async def _problems_of_videos(cluster: Cluster, storage: Storage) -> list[str]:
    """Every flow run has published the one video of its prompt, as the provider made it."""
    problems: list[str] = []
    films = {job.prompt: hashlib.sha256(shoot(job.film)).hexdigest() for job in cluster.simulator.jobs}
    for number, prompt in enumerate(cluster.runs.values()):
        paths = [path async for path, _ in storage.list(f"published/{number}/") if path.endswith(".mp4")]
        hashes = [hashlib.sha256(await storage.read(path)).hexdigest() for path in paths]
        if hashes != [films.get(prompt)]:
            problems.append(f"flow run {number} published {len(paths)} videos, or not that of {prompt}")
    return problems


async def _left_over(cluster: Cluster, storage: Storage, bucket: BucketServer) -> list[str]:
    problems: list[str] = []
    records = [record async for record in Ledger(storage).purchases()]
    purchases = len(set(cluster.runs.values()))
    if [record.state for record in records] != ["done"] * purchases:
        problems.append(f"the ledger has {dict(Counter(record.state for record in records))}, not {purchases} done")
    account_file = await storage.fetch(BUDGET.path(None))
    account = read(account_file.data) if account_file else Account()
    if account.reserved or (account.purchases, account.spent_usd) != (purchases, purchases):
        problems.append(f"the budget has {account.spent_usd:g} spent and {account.reserved_usd:g} reserved")
    client = boto3.client(
        "s3",
        endpoint_url=bucket.url,
        region_name="us-east-1",
        aws_access_key_id=bucket.KEY,
        aws_secret_access_key=bucket.SECRET,
    )
    if uploads := client.list_multipart_uploads(Bucket=NAME).get("Uploads", []):
        problems.append(f"{len(uploads)} unfinished uploads are left in the bucket")
    problems += [f"{worker.name} still executes a flow run" for worker in cluster.workers if worker.flow_runs()]
    return problems


def figures(prefect: Prefect, cluster: Cluster, keeper: Kept, log: Path) -> dict[str, Any]:
    """What happened, and how long it took."""
    histories = {run: prefect.history(run) for run in cluster.runs}
    asked = Counter(_kind(request.method, request.path) for request in cluster.simulator.requests)
    starts = Counter(sum(state["type"] == "RUNNING" for state in states) for states in histories.values())
    freed = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return {
        **_recovery(cluster, histories),
        "flow runs of the frozen worker": len(cluster.frozen),
        "of those, run again elsewhere meanwhile": sum(
            sum(state["type"] == "RUNNING" for state in histories[run]) > 1 for run in cluster.frozen
        ),
        **cluster.figures,
        "flow runs by how often they ran": dict(sorted(starts.items())),
        "flow runs freed by recover": dict(Counter(row["state"] for row in freed)),
        "ended by themselves and started again": {each.name: each.ended for each in [*cluster.workers, keeper]},
        "requests to the provider": dict(asked),
    }


def _recovery(cluster: Cluster, histories: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """How long it took until the flow runs of the lost worker were scheduled again, ran again, and ended.

    Between the first two they wait for room: a worker executes only so many at a time.
    """
    steps: dict[str, list[float]] = {"SCHEDULED": [], "RUNNING": [], "COMPLETED": []}
    for run, died in cluster.lost.items():
        later = [(state["type"], _seconds(state["timestamp"]) - died) for state in histories[run]]
        for kind, seconds in steps.items():
            seconds += [when for each, when in later if each == kind and when > 0][:1]
    scheduled, running, completed = (sorted(map(round, seconds)) for seconds in steps.values())
    return {
        "flow runs of the lost worker": len(cluster.lost),
        "scheduled again after s": scheduled,
        "running again after s": running,
        "completed after s": completed,
    }


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def _kind(method: str, path: str) -> str:
    path = path.partition("?")[0].rstrip("/")
    if path.endswith("/videos"):
        return "submit" if method == "POST" else "list"
    return "download" if path.endswith("/content") else "status"
