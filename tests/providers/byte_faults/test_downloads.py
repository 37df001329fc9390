"""Downloads that are cut, reset or drip: they are taken up where they broke off, or begin again."""

from itertools import chain, repeat

import pytest
from faulty_server import FaultyProvider, head, part_of
from film_shop import CUTS, FILM, SHA256, first_of_each, offsets, sha256s

from prefect_media.errors import DownloadCorrupt, ProviderUnavailable
from prefect_media.providers import download as content
from prefect_media.purchases import store_video as delivery
from prefect_media.runtime import transfers as transport

pytestmark = pytest.mark.usefixtures("short_pauses")


RESET = FaultyProvider.RESET


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


def drops(answer, size, seconds):
    """An answer, its body in drops of so many bytes."""
    first, body = answer
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return [first, *chain.from_iterable(zip(pieces, repeat(seconds), strict=False))]


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
