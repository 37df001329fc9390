"""The buyer to whom servers lie.

A program: it takes a list of lies and where they are told from its standard input, buys from each, and says what came
of it, a line of JSON for each. So its memory is its own, and none of the server's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import sys
import time
import traceback
from pathlib import Path

from lies import KEY

LIMIT = 40.0
"""Seconds that a lie may keep a buyer busy, whose own timeout is a tenth of that."""
TIMEOUT = 4.0
AT_ONCE = 3


async def buy(name: str, kind: str, url: str, place: str) -> str:
    """Buy from a liar; the words for what came of it."""
    from prefect_media.providers.connection import Connection
    from prefect_media.purchase_options import PurchaseOptions
    from prefect_media.purchases.batch_fetch import fetch
    from prefect_media.purchases.batch_submit import submit
    from prefect_media.purchases.images import buy_images
    from prefect_media.purchases.videos import buy_video
    from prefect_media.requests import ImageRequest, VideoRequest
    from prefect_media.storage.store import storage_at

    dialect = "auto" if name.startswith("models") else "openai"
    at = Connection(provider="openai", base_url=url, api_key=KEY, dialect=dialect, request_timeout=TIMEOUT)
    storage, terms = storage_at(place), PurchaseOptions(scope="hostile", timeout=TIMEOUT)
    picture = ImageRequest(prompt="boat 1", model="pictures-1")
    if kind == "image":
        await buy_images(at, picture, storage, terms)
    elif kind == "batch":
        order = await submit(at, [picture], storage, terms)
        [made] = await fetch(at, order, storage, terms)
        if made.error:
            raise made.error
    elif kind == "many":
        request = VideoRequest(prompt="boat 1", model="boats-1", seconds=1, size="64x64")
        many = [request.model_copy(update={"prompt": f"boat {n}"}) for n in range(1, 7)]
        done = await asyncio.gather(*(buy_video(at, each, storage, terms) for each in many), return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException):
                raise each
    else:
        request = VideoRequest(prompt="boat 1", model="boats-1", seconds=1, size="64x64")
        asset = await buy_video(at, request, storage, terms)
        assert asset.source and asset.source.job_id == "video_000001", asset
    return "right"


async def try_one(name: str, kind: str, url: str, place: str) -> dict[str, object]:
    from prefect_media.errors import MediaError

    began, text = time.monotonic(), ""
    try:
        async with asyncio.timeout(LIMIT):
            outcome = await buy(name, kind, url, place)
    except MediaError as error:
        outcome = type(error).__name__
        text = f"{error} {error!r} {error.details} {pickle.dumps(error)!r} {traceback.format_exc()}"
    except BaseException as error:
        outcome, text = f"not ours: {type(error).__name__}", traceback.format_exc()
    peak = peak_mb()
    return {"name": name, "outcome": outcome, "text": text[-20_000:], "length": len(text), "key": KEY in text,
            "seconds": round(time.monotonic() - began, 1), "peak": peak}  # fmt: skip


def peak_mb() -> float:
    """Of this program alone: `ru_maxrss` counts whoever started it, too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


async def main() -> None:
    from prefect_media.providers import download
    from prefect_media.purchases import batch_submit, lost_jobs, store_video

    store_video.PAUSES = (0.05, 0.05)
    lost_jobs.LOOKS = batch_submit.LOOKS = (0.0, 0.1)
    download.NOT_YET_PAUSES, download.BREAK_PAUSE = (0.05,), 0.01
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(row: list[str]) -> None:
        async with slots:
            print(json.dumps(await try_one(*row)), flush=True)  # noqa: T201

    await asyncio.gather(*(one(json.loads(text)) for text in sys.stdin))


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    for name in ("asyncio", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)
    asyncio.run(main())
