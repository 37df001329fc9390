"""What makes a purchase the same one: request, scope, account and server."""

from __future__ import annotations

import base64
import logging

import pytest
from buyer import clip, connection, terms
from ledger_entries import order, picture

from prefect_media.errors import InvalidRequest, JobTimedOut
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases.videos import buy_video
from prefect_media.requests import RemixRequest
from prefect_media.simulator import Simulator

pytestmark = pytest.mark.usefixtures("short_pauses")


async def test_the_same_request_in_a_scope_is_one_purchase(simulator, storage, caplog):
    """Bought, then handed out, and a line in the log says so and how to get another."""
    caplog.set_level(logging.INFO, "prefect_media")
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert not [message for message in caplog.messages if "Bought before" in message]
    assert await buy_video(connection(simulator), clip(), storage, terms()) == asset
    assert [message for message in caplog.messages if "Bought before" in message] == [
        "Bought before in this scope (generate video, done); variant=1 makes another"
    ]
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize(
    "request_",
    [
        clip(variant=1),
        clip("a paper crane"),
        clip(seconds=2),
        clip(size="72x64"),
        clip(model="boats-2"),
        clip(extra={"seed": 7}),
    ],
    ids=["variant", "prompt", "seconds", "size", "model", "extra"],
)
async def test_another_request_is_another_purchase(request_, simulator, folder):
    await buy_video(connection(simulator), clip(), folder, terms())
    await buy_video(connection(simulator), request_, folder, terms())
    assert len(simulator.jobs) == 2


async def test_another_scope_is_another_purchase(simulator, folder):
    await buy_video(connection(simulator), clip(), folder, terms("a"))
    await buy_video(connection(simulator), clip(), folder, terms("b"))
    assert len(simulator.jobs) == 2


async def test_a_size_and_the_ratio_that_means_it_are_the_same_purchase(simulator, folder):
    """What counts is what is sent, not how it was said."""
    await buy_video(connection(simulator), clip(size=None, aspect_ratio="1:1"), folder, terms())
    await buy_video(connection(simulator), clip(size="1024x1024"), folder, terms())
    assert [made.size for made in simulator.jobs] == ["1024x1024"]


async def test_a_new_key_is_the_same_account(simulator, folder):
    """Keys are rotated; what was bought with the old one stays bought."""
    await buy_video(connection(simulator, api_key="sk-old"), clip(), folder, terms())
    await buy_video(connection(simulator, api_key="sk-new"), clip(), folder, terms())
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize("fields", [{"organization": "org-2"}, {"project": "proj-2"}, {"provider": "azure"}])
async def test_another_account_is_another_purchase(fields, simulator, folder):
    await buy_video(connection(simulator), clip(), folder, terms())
    await buy_video(connection(simulator, **fields), clip(), folder, terms())
    assert len(simulator.jobs) == 2


async def test_another_server_is_another_purchase(simulator, folder):
    """A job can only be asked for where it was made, so another host is another account."""
    await buy_video(connection(simulator), clip(), folder, terms())
    with Simulator(latency=0.05) as other:
        await buy_video(connection(other), clip(), folder, terms())
        assert (len(simulator.jobs), len(other.jobs)) == (1, 1)


async def test_a_job_is_asked_for_where_it_was_made(simulator, folder):
    """The same host under another path (a gateway that moved its prefix): the job keeps the URL it was made with."""
    simulator.latency = 60
    with pytest.raises(JobTimedOut):
        await buy_video(connection(simulator), clip(), folder, terms(timeout=0.1))
    simulator.jobs[0].latency = 0
    simulator.requests.clear()
    moved = connection(simulator, base_url=f"{simulator.azure_url}/openai/v1")
    asset = await buy_video(moved, clip(), folder, terms())
    assert asset.source.job_id == simulator.jobs[0].id
    assert {request.path for request in simulator.requests} == {
        f"/v1/videos/{simulator.jobs[0].id}",
        f"/v1/videos/{simulator.jobs[0].id}/content",
    }


async def test_a_reference_counts_by_its_content(simulator, folder, tmp_path):
    """The same bytes from another path, as bytes or as a data URL are the same purchase; other bytes are not."""
    red, blue = picture("red"), picture("blue")
    (tmp_path / "one.png").write_bytes(red)
    (tmp_path / "two.png").write_bytes(red)
    data_url = "data:image/png;base64," + base64.b64encode(red).decode()
    for image in (tmp_path / "one.png", str(tmp_path / "two.png"), red, data_url):
        await buy_video(connection(simulator), clip(image=image), folder, terms())
    assert len(simulator.jobs) == 1
    (tmp_path / "one.png").write_bytes(blue)
    await buy_video(connection(simulator), clip(image=tmp_path / "one.png"), folder, terms())
    assert len(simulator.jobs) == 2


async def test_a_remix_counts_by_the_job_it_is_made_from(simulator, folder):
    """An asset, its job and its job's id name the same video."""
    original = await buy_video(connection(simulator), clip(), folder, terms())
    [record] = [record async for record in Ledger(folder).purchases()]
    for video in (original, record.job, original.source.job_id):
        await buy_video(connection(simulator), RemixRequest(video=video, prompt="at night"), folder, terms())
    assert len(simulator.jobs) == 2


async def test_a_key_with_another_fingerprint_is_refused(storage):
    ledger = Ledger(storage)
    await ledger.claim(order())
    with pytest.raises(InvalidRequest, match="belongs to another request"):
        await ledger.claim(order(fingerprint="f2"))
