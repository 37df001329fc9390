"""Content that is packed, chunked or without a length: it is unpacked, and what is cut is noticed."""

import gzip

import pytest
from faulty_server import etag, head, part_of, whole
from film_shop import CUTS, FILM, SHA256, first_of_each, offsets, sha256s

from prefect_media.errors import DownloadCorrupt

pytestmark = pytest.mark.usefixtures("short_pauses")


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
        first = head(Content_Length=len(packed), Content_Encoding="gzip", ETag='"packed"')
        return [first, packed if number else packed[:cut]]

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
    with pytest.raises(DownloadCorrupt, match="not a valid video"):
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
