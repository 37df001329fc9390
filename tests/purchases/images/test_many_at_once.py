"""Many images at once: more than a model makes in one go, none lost by the failure of another, in bounded memory."""

import base64
import io
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from prefect_media import ImageRequest
from prefect_media.errors import RateLimited
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.simulator import Fault, Simulator

TERMS = PurchaseOptions(scope="test", timeout=60)


async def test_more_images_than_the_model_makes_at_once(simulator, seen, place):
    request = ImageRequest(prompt="a fox", model="gpt-image-2", n=25, size="1024x1024")
    connection = simulator.credentials.connection()
    assets = await buy_images(connection, request, place, TERMS)
    assert len({asset.uri for asset in assets}) == 25
    assert sorted(image.n for image in simulator.images) == [5, 10, 10]
    assert await buy_images(connection, request, place, TERMS) == assets, "in the same order"
    assert len(simulator.images) == 3
    await buy_images(connection, request.model_copy(update={"n": 10}), place, TERMS)
    assert len(simulator.images) == 4, "ten of them alone are another purchase"


async def test_dall_e_3_makes_several_one_by_one(simulator, seen, place):
    request = ImageRequest(prompt="a fox", model="dall-e-3", n=3, size="1024x1024")
    assets = await buy_images(simulator.credentials.connection(), request, place, TERMS)
    assert len(assets) == 3
    assert [image.n for image in simulator.images] == [1, 1, 1]


async def test_the_failure_of_one_does_not_lose_the_others(simulator, seen, place):
    request = ImageRequest(prompt="a fox", model="gpt-image-2", n=25)
    connection = simulator.credentials.connection()
    simulator.faults.append(Fault("POST", "/images", "answer", status=429, body={"error": {"message": "slow down"}}))
    with pytest.raises(RateLimited, match=r"1 of 3 purchases failed.*slow down.*stored and on record") as caught:
        await buy_images(connection, request, place, TERMS)
    assert caught.value.transient
    made = len(simulator.images)
    assert made == 2
    assert len(await buy_images(connection, request, place, TERMS)) == 25
    assert len(simulator.images) == 3, "only what was missing was bought"


MANY = """
import asyncio, os, sys, threading, time
from prefect_media.providers.connection import Connection
from prefect_media.purchases.images import buy_images
from prefect_media.requests import ImageRequest
from prefect_media.storage.store import storage_at
from prefect_media.purchase_options import PurchaseOptions

url, folder, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = Connection(provider="openai", base_url=url, api_key="sk-x", max_concurrency=16)
place, terms = storage_at(folder), PurchaseOptions(scope="x", timeout=120)
page = os.sysconf("SC_PAGE_SIZE")
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * page

def lines():
    rows = (row.split() for row in open("/proc/net/tcp").read().splitlines()[1:])
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)

def buy(variant):
    return buy_images(connection, ImageRequest(prompt="a fox", model="wide", variant=variant), place, terms)

async def main():
    await asyncio.gather(*(buy(variant) for variant in range(1000, 1032)))  # small ones: all threads and lines are up
    base, peak, most, over = rss(), 0, 0, False

    def watch():
        nonlocal peak, most
        while not over:
            peak, most = max(peak, rss()), max(most, lines())
            time.sleep(0.004)

    watcher = threading.Thread(target=watch)
    watcher.start()
    assets = await asyncio.gather(*(buy(variant) for variant in range(100)))
    over = True
    watcher.join()
    assert len({asset.uri for [asset] in assets}) == 100
    assert len({asset.sha256 for [asset] in assets}) == 1
    print(assets[0][0].size_bytes, peak - base, most)

asyncio.run(main())
"""


def noise(width, height):
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), os.urandom(3 * width * height)).save(file, "PNG", compress_level=0)
    return file.getvalue()


def test_a_hundred_images_at_once_in_bounded_memory(tmp_path):
    small, large = (base64.b64encode(noise(*size)).decode() for size in ((8, 8), (1000, 900)))
    with Simulator() as simulator:
        for times, encoded in ((32, small), (100, large)):
            body = json.dumps({"created": 1, "data": [{"b64_json": encoded}]})
            simulator.faults.append(Fault("POST", "/images", "answer", times=times, status=200, body=body))
        port = simulator.url.rpartition(":")[2].partition("/")[0]
        done = subprocess.run(
            [sys.executable, "-c", MANY, simulator.url, str(tmp_path), port],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        image_bytes, grown, lines = map(int, done.stdout.split())
        assert len(simulator.requests) == 132
    assert image_bytes > 2_500_000
    assert grown < 6 * len(large), f"{grown / len(large):.1f} answers' worth of base64"
    assert 16 <= lines <= 40  # of a hundred: 16 at work, and those that are being closed still count
