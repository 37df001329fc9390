"""One process that reads what a server answers, and says what came of it and how much memory that took.

    python answer_reader.py BASE_URL FOLDER CASE...

Each line it prints is JSON: {"case": ..., "error": ..., "message": ..., "peak_mb": ...}. Its memory is bounded, so that
code which takes all of it fails instead of the machine.
"""

import asyncio
import gc
import json
import resource
import sys
from pathlib import Path

from prefect_media.jobs import JobState
from prefect_media.ledger.record import Record
from prefect_media.providers import download, videos
from prefect_media.providers.connection import Connection
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases import store_video as storing
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.store_video import store_video
from prefect_media.purchases.video_steps import job_at
from prefect_media.requests import ImageRequest
from prefect_media.storage.store import storage_at

resource.setrlimit(resource.RLIMIT_DATA, (1200 * 1024**2,) * 2)
storing.PAUSES = (0.01,) * 2
download.NOT_YET_PAUSES = (0.01, 0.01)
download.BREAK_PAUSE = 0.01


def peak_mb():
    """Of this program alone: `ru_maxrss` counts whoever started it, too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


async def read(case, base_url, folder):
    line = Connection(provider="openai", base_url=f"{base_url}/{case}/v1", api_key="sk-x")
    family, storage = case.partition("-")[0], storage_at(f"{folder}/{case}")
    if family == "look":
        return await videos.look(line, "video_1")
    if family == "image":
        previews = {"partial_images": 2, "on_partial": lambda *_: None} if "event" in case else {}
        model = "gpt-image-2" if previews else "foxes-1"
        return await buy_images(
            line, ImageRequest(prompt="a fox", model=model), storage, PurchaseOptions("x", 60.0, **previews)
        )
    job, now = job_at(line, "video_1"), "2026-01-01T00:00:00Z"
    record = Record(
        key="k" * 64, scope="x", kind="video", operation="generate", account={}, fingerprint="f", request={},
        created_at=now, updated_at=now, state="submitted", job=job,
    )  # fmt: skip
    return await store_video(line, job, JobState("video_1", "completed"), storage, record)


async def main(base_url, folder, *cases):
    for case in cases:
        error = None
        gc.collect()  # what the last error held on to
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        try:
            async with asyncio.timeout(60):
                await read(case, base_url, folder)
        except Exception as caught:
            error = caught
        report = {"error": type(error).__name__, "message": str(error), "transient": getattr(error, "transient", None)}
        sys.stdout.write(json.dumps({"case": case, **report, "peak_mb": peak_mb()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
