"""The URL that a server calls when a video is finished."""

import pytest
from dialect_servers import TERMS, connection, sent, video

from prefect_media.purchases.videos import buy_video
from prefect_media.settings import settings

pytestmark = pytest.mark.usefixtures("short_pauses")


async def test_openrouter_is_told_where_to_call_and_the_purchase_is_the_same(servers, configure, place):
    """The address goes along with the job, and is no part of what is bought."""
    server = servers["openrouter"]
    del server.requests[:], server.jobs[:]
    first = await buy_video(connection(server), video(), place, TERMS)
    assert "callback_url" not in sent(server)[1]
    configure(callback_url="https://example.com/openrouter")
    assert await buy_video(connection(server), video(), place, TERMS) == first
    del server.requests[:]
    await buy_video(connection(server), video(variant=1), place, TERMS)
    assert sent(server)[1]["callback_url"] == "https://example.com/openrouter"
    del server.requests[:]
    await buy_video(connection(server), video(extra={"callback_url": "https://example.com/mine"}), place, TERMS)
    assert sent(server)[1]["callback_url"] == "https://example.com/mine"


async def test_other_servers_are_not_told_where_to_call(server, configure, place):
    configure(callback_url="https://example.com/openrouter")
    await buy_video(connection(server), video(), place, TERMS)
    assert ("callback_url" in sent(server)[1]) == (server.name == "openrouter")


@pytest.mark.parametrize("url", ["http://example.com/a", "https://", "example.com", "https://example.com:443a/b"])
def test_an_address_that_nobody_could_call_is_refused_before_anything_is_sent(configure, url):
    configure(callback_url=url)
    with pytest.raises(ValueError, match="PREFECT_MEDIA_CALLBACK_URL"):
        settings()
