"""Content that is truncated, corrupted or another film at the second look: it is never stored."""

import hashlib
import json

import pytest
from faulty_server import etag, head, part_of, whole
from film_shop import CUTS, FILM, SHA256, SIZE, film_of, first_of_each, offsets, promise, sha256s

from prefect_media.errors import DownloadCorrupt

pytestmark = pytest.mark.usefixtures("short_pauses")


OTHER = film_of(SIZE, seed=1)


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
