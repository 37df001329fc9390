"""Remix, edit and extend at each kind of server that has them."""

import io

import pytest
from dialect_servers import JSON, TERMS, VARIATIONS, connection, sent, video
from PIL import Image

from prefect_media import RemixRequest, VideoEditRequest, VideoExtendRequest
from prefect_media.errors import (
    InvalidRequest,
)
from prefect_media.purchases.remix_fallback import buy_remix
from prefect_media.purchases.videos import buy_video

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.mark.parametrize("operation", ["remix", "edit", "extend"])
async def test_variations_where_there_are_any(server, place, operation):
    at = connection(server)
    source = await buy_video(at, video(), place, TERMS)
    told = {"video": source, "prompt": "at night"}
    request, path, body = {
        "remix": (RemixRequest(**told), f"/v1/videos/{source.source.job_id}/remix", {}),
        "edit": (VideoEditRequest(**told), "/v1/videos/edits", {"video": {"id": source.source.job_id}}),
        "extend": (
            VideoExtendRequest(**told, seconds=4),
            "/v1/videos/extensions",
            {"video": {"id": source.source.job_id}, "seconds": "4"},
        ),
    }[operation]
    del server.requests[:]
    if operation in VARIATIONS.get(server.name, ()):
        asset = await buy_video(at, request, place, TERMS)
        assert sent(server, path) == (JSON, {"prompt": "at night", **body})
        assert asset.source.remixed_from == source.source.job_id
        assert asset.source.operation == operation
        assert asset.seconds == (6 if operation == "extend" else 2)
        assert asset.warnings == ()
    else:
        with pytest.raises(InvalidRequest, match=f'can\'t {operation} videos.*fallback="last_frame"'):
            await buy_video(at, request, place, TERMS)
        assert server.requests == []
        assert len(server.jobs) == 1


async def test_where_there_is_no_remix_the_last_frame_goes_on(server, place):
    at = connection(server)
    source = await buy_video(at, video(), place, TERMS)
    request = RemixRequest(video=source, prompt="at night")
    asset = await buy_remix(at, request, place, TERMS, fallback="last_frame")
    assert await buy_remix(at, request, place, TERMS, fallback="last_frame") == asset
    assert len(server.jobs) == 2
    assert asset.source.remixed_from == source.source.job_id
    if server.name in VARIATIONS:
        assert server.jobs[1].operation == "remix"
    else:
        assert server.jobs[1].operation == "generate"
        assert Image.open(io.BytesIO(server.jobs[1].film.reference)).size == (128, 72)
        assert (asset.seconds, asset.source.model) == (2, "wan")
