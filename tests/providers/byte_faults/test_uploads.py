"""Uploads that are cut, whole or in parts: what lands is whole, and no part is left behind."""

import hashlib
import random
from collections import Counter
from itertools import repeat

import pytest
from faulty_server import part_of, whole
from film_shop import CUTS, FILM, KB, SHA256, film_of, first_of_each, offsets, promise, sha256s

from prefect_media.errors import DownloadCorrupt, StoreError
from prefect_media.purchases import store_video as delivery
from prefect_media.storage import bucket as storage_bucket

pytestmark = pytest.mark.usefixtures("short_pauses")


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


@pytest.fixture
def in_parts(monkeypatch, open_shop):
    """A bucket into which everything goes in parts, and a film of three of them."""
    monkeypatch.setattr(storage_bucket, "WHOLE_BYTES", 0)
    monkeypatch.setattr(storage_bucket, "AT_ONCE_BYTES", 0)
    return open_shop("s3", film_of(2 * storage_bucket.PART_BYTES + 300 * KB))


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
