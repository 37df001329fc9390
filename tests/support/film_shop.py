"""A film, and a shop for it whose provider and store break: what lands is whole, whatever happened to its bytes.

Every purchase goes over real sockets. After each test all that lies under the name of a video is the video, each job
was sold once, and neither parts of files nor parts of uploads are left.
"""

import asyncio
import base64
import hashlib
import random
import threading
import time
from collections import Counter
from pathlib import Path

from buyer import clip, connection, terms

from prefect_media.errors import MediaError
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator.drawing.film import Film, shoot

KB = 1024
CUTS = 50


def film_of(nbytes, seed=0):
    """A film that can be played, and is as long as one likes: the rest is in a box that players skip."""
    film = shoot(Film("a paper boat", "boats-1", (64, 64), 1))
    rest = nbytes - len(film)
    return film + rest.to_bytes(4, "big") + b"free" + random.Random(seed).randbytes(rest - 8)


SIZE = 700 * KB
FILM = film_of(SIZE)
SHA256 = hashlib.sha256(FILM).hexdigest()


def offsets(seed, size=SIZE, count=CUTS):
    """Where to cut: before the first byte, behind it, before the last one, and anywhere."""
    return [0, 1, size - 1, *random.Random(seed).sample(range(2, size - 1), count - 3)]


class Shop:
    """A provider whose bytes break, and a store whose bytes break; `check` has to be called by each test."""

    def __init__(self, simulator, provider, storage, buckets):
        self.simulator, self.provider, self.storage, self.buckets = simulator, provider, storage, buckets
        self.line = connection(simulator, base_url=f"{provider.url}/v1")
        self.checked = False

    async def buy(self, prompt="a paper boat", tries=1):
        """One video; tried again as a task does it, when the error says that this may help."""
        for left in reversed(range(tries)):
            try:
                return await buy_video(self.line, clip(prompt), self.storage, terms())
            except MediaError as error:
                if not left or not error.transient:
                    raise
        raise AssertionError("unreachable")

    async def buy_many(self, count, tries=1):
        return await asyncio.gather(
            *(self.buy(f"boat {number}", tries) for number in range(count)), return_exceptions=True
        )

    async def check(self, landed, film=None, sold=None):
        """So many films and nothing else lie in the store, and so many jobs were sold, each once."""
        self.checked = True
        film = self.provider.film if film is None else film
        lying = [key async for key, _ in self.storage.list("media/") if not key.endswith(".json")]
        assert len(lying) == landed
        for key in lying:
            assert key.endswith(".mp4") and await self.storage.read(key) == film
        jobs = Counter(job.prompt for job in self.simulator.jobs)
        assert len(jobs) == (landed if sold is None else sold) and set(jobs.values()) <= {1}
        records = [record async for record in Ledger(self.storage).purchases()]
        assert {record.job.id for record in records} == {job.id for job in self.simulator.jobs}
        assert Counter(record.state for record in records)["done"] == landed
        self.nothing_left()

    def nothing_left(self):
        if self.buckets:
            bucket = self.storage.url.split("/")[2]
            uploads = self.buckets.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
            assert uploads == []
        else:
            root, deadline = Path(self.storage.url.removeprefix("file://")), time.monotonic() + 10
            while (parts := list(root.rglob(".prefect-media-part-*"))) and time.monotonic() < deadline:
                time.sleep(0.01)  # how long jobs take is noted meanwhile, by a thread of its own
            assert not parts

    async def records(self):
        return [record async for record in Ledger(self.storage).purchases()]


def first_of_each(values):
    """The next of the values for each new thing it is asked about; the same for the same."""
    left, lock, known = iter(values), threading.Lock(), {}

    def value(thing):
        with lock:
            if thing not in known:
                known[thing] = next(left)
            return known[thing]

    return value


def sha256s(bought):
    assert all(not isinstance(asset, BaseException) for asset in bought), bought
    return {asset.sha256 for asset in bought}


def promise(name, film=FILM):
    sha256 = base64.b64encode(hashlib.sha256(film).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(film, usedforsecurity=False).digest()).decode()
    return {
        "Repr-Digest": {"Repr_Digest": f"sha-256=:{sha256}:"},
        "Digest": {"Digest": f"SHA-256={sha256}"},
        "x-amz-checksum-sha256": {"x_amz_checksum_sha256": sha256},
        "Content-MD5": {"Content_MD5": md5},
    }[name]
