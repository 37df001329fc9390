"""Bytes of a video that break on their way, at the provider, in the air or before the store: what lands is whole.

Every purchase here goes over real sockets. After each test all that lies under the name of a video is the video, each
job was sold once, and neither parts of files nor parts of uploads are left.
"""

import asyncio
import base64
import gzip
import hashlib
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import chain, repeat
from pathlib import Path

import pytest
from buyer import clip, connection, terms
from faulty_server import FaultyBuckets, FaultyProvider, etag, head, part_of, whole

from prefect_media.errors import DownloadCorrupt, MediaError, ProviderUnavailable, StoreError
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers import download as content
from prefect_media.purchases import store_video as delivery
from prefect_media.purchases.videos import buy_video
from prefect_media.runtime import transfers as transport
from prefect_media.simulator import Simulator
from prefect_media.simulator.drawing.film import Film, shoot
from prefect_media.storage import bucket as storage_bucket
from prefect_media.storage.store import storage_at

KB = 1024
CUTS = 50
RESET = FaultyProvider.RESET


def filmed(nbytes, seed=0):
    """A film that can be played, and is as long as one likes: the rest is in a box that players skip."""
    film = shoot(Film("a paper boat", "boats-1", (64, 64), 1))
    rest = nbytes - len(film)
    return film + rest.to_bytes(4, "big") + b"free" + random.Random(seed).randbytes(rest - 8)


SIZE = 700 * KB
FILM = filmed(SIZE)
OTHER = filmed(SIZE, seed=1)
SHA256 = hashlib.sha256(FILM).hexdigest()


def offsets(seed, size=SIZE, count=CUTS):
    """Where to cut: before the first byte, behind it, before the last one, and anywhere."""
    return [0, 1, size - 1, *random.Random(seed).sample(range(2, size - 1), count - 3)]


pytestmark = pytest.mark.usefixtures("short_pauses")


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


@pytest.fixture
def open_shop(request, tmp_path):
    """`open_shop("folder")` or `open_shop("s3")`."""
    shops = []
    with Simulator(latency=0.05) as simulator:

        def open_(kind, film=FILM):
            buckets = FaultyBuckets(request.getfixturevalue("s3")) if kind == "s3" else None
            storage = buckets.storage() if buckets else storage_at(str(tmp_path / "store"))
            shops.append(Shop(simulator, FaultyProvider(simulator, film), storage, buckets))
            return shops[-1]

        yield open_
        for shop in shops:
            shop.provider.close()
            if shop.buckets:
                shop.buckets.close()
            assert shop.checked
            shop.nothing_left()


@pytest.fixture
def shop(open_shop):
    """One kind of store is enough where only the way to it matters."""
    return open_shop("folder")


@pytest.fixture
def s3_shop(open_shop):
    return open_shop("s3")


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


# ---------------------------------------------------------------- downloads that are cut


@pytest.mark.parametrize(
    ("kind", "ranges", "tag"),
    [
        ("folder", True, True),
        ("folder", True, False),
        ("folder", False, True),
        ("folder", False, False),
        ("s3", True, True),
        ("s3", False, False),
    ],
)
async def test_a_download_cut_anywhere(open_shop, kind, ranges, tag):
    """It is taken up where it broke off, and not a byte is sent twice; else it begins again."""
    shop = open_shop(kind)
    cut = first_of_each(offsets(1))
    shop.provider.plan = lambda number, asked: part_of(
        FILM, asked, ranges=ranges, tag=tag, upto=None if number else cut(asked.path)
    )
    bought = await shop.buy_many(CUTS)
    assert sha256s(bought) == {SHA256}
    for asset in bought:
        job = asset.source.job_id
        before = cut(f"/v1/videos/{job}/content")
        assert len(shop.provider.asked[job]) == (2 if ranges or not before else 3)
        if ranges:
            assert shop.provider.sent[job] == len(FILM)
        assert asset.source.integrity == "length"
    await shop.check(CUTS)


async def test_a_download_reset_anywhere(shop):
    """What was on the line then is lost; what was received before is not asked for again."""
    cut = first_of_each(offsets(2))

    def plan(number, asked):
        return part_of(FILM, asked, upto=None if number else cut(asked.path)) + ([] if number else [RESET])

    shop.provider.plan = plan
    assert sha256s(await shop.buy_many(CUTS)) == {SHA256}
    await shop.check(CUTS)


async def test_a_line_that_never_holds_for_a_block(shop):
    """Every connection is reset after 100 000 bytes, and the download is done all the same, in one go."""

    def plan(number, asked):
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        return [*part_of(FILM, asked, upto=start + 100_000), 0.05, RESET]

    shop.provider.plan = plan
    asset = await shop.buy()
    assert asset.sha256 == SHA256
    starts = [int(each.headers.get("range", "bytes=0-")[6:-1]) for each in shop.provider.asked[asset.source.job_id]]
    assert starts == [0, *range(0, starts[-1] + 1, content.CAREFUL_BYTES)], "what came before is kept"
    await shop.check(1)


async def test_a_download_cut_for_good_is_on_record(shop):
    """The job is paid for, so the next attempt fetches it."""
    shop.provider.plan = lambda number, asked: [head(Content_Length=len(FILM)), FILM[:1000]]
    with pytest.raises(DownloadCorrupt, match="paid for and can be fetched again"):
        await shop.buy()
    assert [record.state for record in await shop.records()] == ["submitted"]
    await shop.check(0, sold=1)
    shop.provider.plan = lambda number, asked: None
    assert (await shop.buy()).sha256 == SHA256
    await shop.check(1)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_is_busy_when_a_download_is_taken_up_again(shop, status):
    plans = [
        lambda asked: part_of(FILM, asked, upto=300_000),
        lambda asked: [head(status, Content_Length=4), b"busy"],
        lambda asked: part_of(FILM, asked),
    ]
    shop.provider.plan = lambda number, asked: plans[number](asked)
    asset = await shop.buy()
    assert shop.provider.sent[asset.source.job_id] == len(FILM) + 4
    await shop.check(1)


async def test_a_refusal_that_breaks_off(shop):
    """Its status is enough to tell that the content can be had later."""
    shop.provider.plan = lambda number, asked: [head(503, Content_Length=1000), b'{"error": {']
    with pytest.raises(ProviderUnavailable):
        await shop.buy()
    await shop.check(0, sold=1)
    shop.provider.plan = lambda number, asked: None
    await shop.buy()
    await shop.check(1)


async def test_an_answer_cut_within_its_head(shop):
    shop.provider.plan = lambda number, asked: None if number else [head(Content_Length=len(FILM))[:40]]
    assert (await shop.buy()).sha256 == SHA256
    await shop.check(1)


# ---------------------------------------------------------------- content that is not what it was


def heedless(film, asked, start, total=None, **headers):
    """The rest of a film from a server that does not look at If-Range."""
    total = len(film) if total is None else total
    where = f"bytes {start}-{len(film) - 1}/{total}"
    return [head(206, Content_Length=len(film) - start, Content_Range=where, **headers), film[start:]]


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ({"ETag": etag(FILM)}, lambda asked: part_of(OTHER, asked)),
        ({"ETag": etag(FILM)}, lambda asked: heedless(OTHER, asked, 300_000, ETag=etag(OTHER))),
        ({"ETag": 'W/"1"'}, lambda asked: heedless(OTHER, asked, 300_000, ETag='W/"2"')),
        ({}, lambda asked: heedless(OTHER, asked, 300_000, total=10 * len(FILM))),
        ({}, lambda asked: heedless(OTHER, asked, 299_000)),
        ({}, lambda asked: heedless(OTHER, asked, 300_000, Content_Encoding="gzip")),
        ({}, lambda asked: [head(206, Content_Length=400_000), OTHER[-400_000:]]),
    ],
    ids=["etag", "etag, If-Range unheeded", "weak etag", "total", "start", "encoding", "no range named"],
)
async def test_another_film_at_the_second_look_is_never_mixed_in(shop, first, rest):
    """The first is one film, the second another: what lands is the other, from its beginning to its end."""

    def plan(number, asked):
        if number == 0:
            return [head(Content_Length=len(FILM), **first), FILM[:300_000]]
        return rest(asked) if "range" in asked.headers else whole(OTHER)

    shop.provider.plan = plan
    asset = await shop.buy()
    assert asset.sha256 == hashlib.sha256(OTHER).hexdigest()
    assert len(shop.provider.asked[asset.source.job_id]) == 3
    await shop.check(1, film=OTHER)


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_truncated_though_the_length_says_so_too(open_shop, kind):
    """The film itself says how long it is."""
    shop = open_shop(kind)
    cuts = offsets(3)
    cut = first_of_each(cuts)
    shop.provider.plan = lambda number, asked: None if number else whole(FILM[: cut(asked.path)])
    bought = await shop.buy_many(10 if kind == "s3" else CUTS)
    assert sha256s(bought) == {SHA256}
    await shop.check(len(bought))


async def test_truncated_every_time(shop):
    shop.provider.plan = lambda number, asked: whole(FILM[:-1])
    with pytest.raises(DownloadCorrupt, match="breaks off before its end"):
        await shop.buy()
    assert len(shop.provider.asked[shop.simulator.jobs[0].id]) == 6
    await shop.check(0, sold=1)


CORRUPT = FILM[:400_000] + bytes([FILM[400_000] ^ 1]) + FILM[400_001:]


def promise(name, film=FILM):
    sha256 = base64.b64encode(hashlib.sha256(film).digest()).decode()
    md5 = base64.b64encode(hashlib.md5(film, usedforsecurity=False).digest()).decode()
    return {
        "Repr-Digest": {"Repr_Digest": f"sha-256=:{sha256}:"},
        "Digest": {"Digest": f"SHA-256={sha256}"},
        "x-amz-checksum-sha256": {"x_amz_checksum_sha256": sha256},
        "Content-MD5": {"Content_MD5": md5},
    }[name]


@pytest.mark.parametrize("kind", ["folder", "s3"])
@pytest.mark.parametrize("name", ["Repr-Digest", "Digest", "x-amz-checksum-sha256", "Content-MD5"])
async def test_corrupted_with_the_right_length_is_caught_by_a_hash(open_shop, kind, name):
    shop = open_shop(kind)
    shop.provider.plan = lambda number, asked: whole(FILM if number > 1 else CORRUPT, **promise(name))
    asset = await shop.buy()
    assert (asset.sha256, asset.source.integrity) == (SHA256, "hash")
    assert len(shop.provider.asked[asset.source.job_id]) == 3
    await shop.check(1)


async def test_corrupted_every_time(shop):
    shop.provider.plan = lambda number, asked: whole(CORRUPT, **promise("Content-MD5"))
    with pytest.raises(DownloadCorrupt, match="does not match its MD5"):
        await shop.buy()
    await shop.check(0, sold=1)


async def test_a_hash_holds_for_a_film_in_two_pieces(shop):
    """The rest is of another film, and nothing but the hash says so."""

    def plan(number, asked):
        if number == 1:
            return heedless(OTHER, asked, 300_000)
        return [head(Content_Length=len(FILM), **promise("Repr-Digest")), FILM[: None if number else 300_000]]

    shop.provider.plan = plan
    assert (await shop.buy()).source.integrity == "hash"
    await shop.check(1)


async def test_what_nothing_vouches_for_is_on_record_as_such(shop):
    """Without a hash a flipped bit can't be seen; the asset, its record and its sidecar say what was compared."""
    shop.provider.plan = lambda number, asked: whole(CORRUPT)
    asset = await shop.buy()
    [record] = await shop.records()
    key = shop.storage.key_of(asset.uri)
    noted = json.loads(await shop.storage.read(f"{key}.json"))
    assert asset.source.integrity == record.assets[0].source.integrity == "length"
    assert "integrity" in json.dumps(noted)
    await shop.check(1, film=CORRUPT)


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_longer_than_it_is(open_shop, kind):
    """A length that is never reached: nothing is kept, until the server comes to its senses."""
    shop = open_shop(kind)

    def plan(number, asked):
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        if start >= len(FILM):
            return [head(416, Content_Range=f"bytes */{len(FILM)}", Content_Length=0)]
        return [head(Content_Length=len(FILM) + 100), FILM]

    shop.provider.plan = plan
    with pytest.raises(DownloadCorrupt, match=f"broke off after {len(FILM)} of {len(FILM) + 100} bytes"):
        await shop.buy()
    await shop.check(0, sold=1)
    shop.provider.plan = lambda number, asked: None
    await shop.buy()
    await shop.check(1)


# ---------------------------------------------------------------- packed, chunked, dripping


def chunked(data, size=50_000):
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("kind", ["folder", "s3"])
@pytest.mark.parametrize("cut", [None, 10, 300_000, -1])
async def test_packed_though_nobody_asked_for_it(open_shop, kind, cut):
    """It is unpacked. Cut off it can't be taken up again, so it begins anew."""
    shop, packed = open_shop(kind), gzip.compress(FILM, 1)

    def plan(number, asked):
        assert asked.headers["accept-encoding"] == "identity"
        said = head(Content_Length=len(packed), Content_Encoding="gzip", ETag='"packed"')
        return [said, packed if number else packed[:cut]]

    shop.provider.plan = plan
    asset = await shop.buy()
    assert (asset.sha256, asset.source.integrity) == (SHA256, None)
    await shop.check(1)


async def test_packed_and_truncated_though_the_length_says_so_too(shop):
    packed = gzip.compress(FILM, 1)

    def plan(number, asked):
        body = packed if number else packed[: len(packed) // 2]
        return [head(Content_Length=len(body), Content_Encoding="gzip") + body]

    shop.provider.plan = plan
    assert (await shop.buy()).sha256 == SHA256
    await shop.check(1)


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_packed_without_a_word_is_refused(open_shop, kind):
    shop = open_shop(kind)
    shop.provider.plan = lambda number, asked: whole(gzip.compress(FILM, 1))
    with pytest.raises(DownloadCorrupt, match="no video"):
        await shop.buy()
    await shop.check(0, sold=1)


@pytest.mark.parametrize("kind", ["folder", "s3"])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("chunks", [None, 0, 1, 6, -1])
async def test_in_chunks_without_a_length(open_shop, kind, ranges, chunks):
    """Cut between any two chunks, before the one that says that it is all, too."""
    shop = open_shop(kind)

    def plan(number, asked):
        if number and "range" in asked.headers:
            return part_of(FILM, asked, ranges=ranges)
        pieces = list(chunked(FILM))
        return [head(Transfer_Encoding="chunked", ETag=etag(FILM)), *(pieces if number else pieces[:chunks])]

    shop.provider.plan = plan
    asset = await shop.buy()
    assert (asset.sha256, asset.source.integrity) == (SHA256, None)
    await shop.check(1)


async def test_until_the_line_ends(shop):
    """Neither a length nor chunks: the film alone tells whether that was all."""
    cut = first_of_each(offsets(4))
    shop.provider.plan = lambda number, asked: [head(), FILM if number else FILM[: cut(asked.path)]]
    bought = await shop.buy_many(CUTS)
    assert sha256s(bought) == {SHA256}
    await shop.check(CUTS)


def drops(answer, size, seconds):
    """An answer, its body in drops of so many bytes."""
    said, body = answer
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return [said, *chain.from_iterable(zip(pieces, repeat(seconds), strict=False))]


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_a_line_that_drips_is_broken_and_taken_up_again(open_shop, kind, monkeypatch):
    monkeypatch.setattr(content, "SLOW_SECONDS", 0.3)
    monkeypatch.setattr(transport, "CHECK_SECONDS", 0.05)
    shop = open_shop(kind)

    def plan(number, asked):
        if number > 1:
            return part_of(FILM, asked)
        return drops(part_of(FILM, asked), 2000, 0.02)

    shop.provider.plan = plan
    asset = await shop.buy()
    job = asset.source.job_id
    starts = [int(each.headers.get("range", "bytes=0-")[6:-1]) for each in shop.provider.asked[job]]
    assert len(starts) == 3 and 0 == starts[0] < starts[1] < starts[2] < 200_000, "what dripped in is kept"
    await shop.check(1)


async def test_a_server_that_only_drips_is_given_up(shop, monkeypatch):
    """Else a thread for transfers would be taken for days."""
    monkeypatch.setattr(content, "SLOW_SECONDS", 0.05)
    monkeypatch.setattr(transport, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(delivery, "PAUSES", ())
    shop.provider.plan = lambda number, asked: drops(part_of(FILM, asked), 100, 0.01)
    with pytest.raises(DownloadCorrupt, match="broke off after"):
        await shop.buy()
    assert len(shop.provider.asked[shop.simulator.jobs[0].id]) == 1 + content.BREAKS
    await shop.check(0, sold=1)


# ---------------------------------------------------------------- uploads that are cut, stores that fail


def is_film(asked):
    return asked.method == "PUT" and asked.path.partition("?")[0].endswith(".mp4")


def times(counts, faults):
    """The fault of each film's path, for its first so many uploads."""
    count, fault, seen = first_of_each(counts), first_of_each(faults), Counter()

    def strike(asked):
        path = asked.path.partition("?")[0]
        if not is_film(asked):
            return None
        seen[path] += 1
        return fault(path) if seen[path] <= count(path) else None

    return strike


async def test_an_upload_cut_anywhere(s3_shop):
    """Cut once or twice it lands at the next attempt; cut for good, the job is on record and lands later."""
    shop = s3_shop
    for_good = len(delivery.PAUSES) + 1
    shop.buckets.fault = times(
        random.Random(5).choices([1, 2, for_good], k=CUTS), [("cut", nbytes) for nbytes in offsets(5)]
    )
    bought = await shop.buy_many(CUTS)
    failed = [error for error in bought if isinstance(error, BaseException)]
    assert 5 < len(failed) < 30
    assert all(isinstance(error, StoreError) and error.transient for error in failed), failed
    await shop.check(CUTS - len(failed), sold=CUTS)
    assert {record.state for record in await shop.records()} == {"submitted", "done"}
    assert sha256s(await shop.buy_many(CUTS)) == {SHA256}
    await shop.check(CUTS)


async def test_both_ends_cut_anywhere(s3_shop):
    shop = s3_shop
    cut = first_of_each(offsets(6))
    shop.provider.plan = lambda number, asked: part_of(FILM, asked, upto=None if number else cut(asked.path))
    shop.buckets.fault = times(repeat(1), [("cut", nbytes) for nbytes in reversed(offsets(7))])
    assert sha256s(await shop.buy_many(CUTS)) == {SHA256}
    await shop.check(CUTS)


@pytest.mark.parametrize("hashed", [True, False])
async def test_an_upload_whose_reply_is_lost(s3_shop, hashed):
    """It is there already: it is read back and compared."""
    shop = s3_shop
    shop.buckets.fault = times([1], [("lost",)])
    shop.provider.plan = lambda number, asked: whole(FILM, **(promise("Repr-Digest") if hashed else {}))
    asset = await shop.buy()
    assert (asset.sha256, asset.source.integrity) == (SHA256, "hash" if hashed else "length")
    await shop.check(1)


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


# ---------------------------------------------------------------- uploads in parts


@pytest.fixture
def in_parts(monkeypatch, open_shop):
    """A bucket into which everything goes in parts, and a film of three of them."""
    monkeypatch.setattr(storage_bucket, "WHOLE_BYTES", 0)
    monkeypatch.setattr(storage_bucket, "AT_ONCE_BYTES", 0)
    return open_shop("s3", filmed(2 * storage_bucket.PART_BYTES + 300 * KB))


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_download_cut_while_parts_go_up(in_parts, ranges):
    shop, film = in_parts, in_parts.provider.film
    cut = first_of_each(offsets(9, len(film), 6))
    shop.provider.plan = lambda number, asked: part_of(
        film, asked, ranges=ranges, upto=None if number else cut(asked.path)
    )
    assert sha256s(await shop.buy_many(6)) == {hashlib.sha256(film).hexdigest()}
    await shop.check(6)


async def test_a_download_cut_for_good_while_parts_go_up(in_parts):
    shop, film = in_parts, in_parts.provider.film
    shop.provider.plan = lambda number, asked: part_of(film, asked, ranges=False, upto=len(film) - 1)
    with pytest.raises(DownloadCorrupt):
        await shop.buy()
    assert [asked for asked in shop.buckets.asked if is_film(asked) and "partNumber" in asked.path]
    await shop.check(0, sold=1)


@pytest.mark.parametrize("fault", [("cut", 1_000_000), ("lost",), (500, "InternalError")])
async def test_parts_that_fail(in_parts, fault):
    """Each of three parts once, and then for good."""
    shop, seen = in_parts, Counter()

    def once(asked):
        seen[asked.path] += is_film(asked)
        return fault if is_film(asked) and seen[asked.path] == 1 else None

    shop.buckets.fault = once
    await shop.buy("a boat")
    await shop.check(1)
    shop.buckets.fault = lambda asked: fault if is_film(asked) else None
    with pytest.raises(StoreError) as caught:
        await shop.buy("a crane")
    assert caught.value.transient
    await shop.check(1, sold=2)
    shop.buckets.fault = lambda asked: None
    await shop.buy("a crane")
    await shop.check(2)


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ("begin", ("reset",)),
        ("begin", (500, "InternalError")),
        ("complete", ("reset",)),
        ("complete", ("lost",)),
        ("complete", (500, "InternalError")),
    ],
)
async def test_an_upload_in_parts_that_can_not_begin_or_end(in_parts, step, fault):
    shop = in_parts
    mark = "?uploads" if step == "begin" else "uploadId="
    struck = []

    def once(asked):
        if asked.method != "POST" or mark not in asked.path or struck:
            return None
        struck.append(asked)
        return fault

    shop.buckets.fault = once
    assert (await shop.buy(tries=2)).size_bytes == len(shop.provider.film)
    assert struck
    await shop.check(1)


async def test_an_upload_that_began_without_anybody_hearing_of_it(in_parts):
    """Its name was in the reply that got lost, so nobody can end it; but it holds not a byte, and so costs nothing."""
    shop, struck = in_parts, []

    def once(asked):
        if asked.method != "POST" or "?uploads" not in asked.path or struck:
            return None
        struck.append(asked)
        return ("lost",)

    shop.buckets.fault = once
    await shop.buy()
    where = {"Bucket": shop.storage.url.split("/")[2]}
    [left] = shop.buckets.client.list_multipart_uploads(**where)["Uploads"]
    where |= {name: left[name] for name in ("Key", "UploadId")}
    assert "Parts" not in shop.buckets.client.list_parts(**where)
    shop.buckets.client.abort_multipart_upload(**where)
    await shop.check(1)


# ---------------------------------------------------------------- a disk that is full

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
            str(Path(__file__).parents[1] / "support"),
            shop.line.base_url,
            place,
            str(most),
        ]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    for most in (len(FILM) - 1, 300_000):
        said, transient = await bought(most)
        assert "no room left" in said and transient is False
        await shop.check(0, sold=1)
    assert await bought(len(FILM)) == [SHA256, None]
    await shop.check(1)
