"""A store that fails, and a disk that is full: the paid video lands later."""

import asyncio
import json
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from film_shop import FILM, SHA256, sha256s

pytestmark = pytest.mark.usefixtures("short_pauses")


async def test_a_store_that_fails_one_upload_in_five(s3_shop, configure):
    """Anything that is written may fail, records as well; a task tries again, and buys nothing twice."""
    configure(lease_seconds=1)  # whoever finds his own lease has to wait for its end
    shop, dice, lock, struck = s3_shop, random.Random(8), threading.Lock(), Counter()
    faults = [(500, "InternalError"), (503, "SlowDown"), ("reset",), ("lost",)]

    def fault(asked):
        with lock:
            if asked.method != "PUT" or dice.random() >= 0.2:
                return None
            chosen = dice.choice(faults)
            struck[chosen] += 1
        return chosen

    shop.buckets.fault = fault
    assert sha256s(await shop.buy_many(40, tries=12)) == {SHA256}
    shop.buckets.fault = lambda asked: None
    assert len(struck) == len(faults)
    await shop.check(40)


BUYER = """
import asyncio, json, resource, signal, sys
sys.path.insert(0, sys.argv[1])
from buyer import clip, terms
from prefect_media.errors import MediaError
from prefect_media.providers.connection import Connection
from prefect_media.purchases.videos import buy_video
from prefect_media.storage.store import storage_at
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
line = Connection(provider="openai", base_url=sys.argv[2], api_key="sk-simulated")
try:
    asset = asyncio.run(buy_video(line, clip("a paper boat"), storage_at(sys.argv[3]), terms()))
    print(json.dumps([asset.sha256, None]))
except MediaError as error:
    print(json.dumps([error.message, error.transient]))
"""


async def test_a_disk_that_is_full(shop):
    """What was begun is removed, and that is said at once; with more room the paid video lands."""

    async def bought(most):
        place = shop.storage.url
        command = [
            sys.executable,
            "-c",
            BUYER,
            str(Path(__file__).parents[2] / "support"),
            shop.line.base_url,
            place,
            str(most),
        ]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    for most in (len(FILM) - 1, 300_000):
        message, transient = await bought(most)
        assert "no room left" in message and transient is False
        await shop.check(0, sold=1)
    assert await bought(len(FILM)) == [SHA256, None]
    await shop.check(1)
