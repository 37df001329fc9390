"""A key goes to the origin of the credentials that were given, whatever a record in the store says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from buyer import clip, connection, terms

from prefect_media.errors import InvalidRequest
from prefect_media.ledger.ledger import Claim, Ledger
from prefect_media.providers.connection import Connection
from prefect_media.purchases import video_steps as steps
from prefect_media.purchases.batch_fetch import fetch, is_finished
from prefect_media.purchases.batch_submit import submit
from prefect_media.purchases.videos import buy_video, cancel_purchase
from prefect_media.requests import ImageRequest, RemixRequest, VideoEditRequest, VideoExtendRequest
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at

KEY = "sk-for-one-server-alone"


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def servers():
    with Simulator() as own, Simulator() as stranger:
        yield own, stranger


@pytest.fixture
def storage(tmp_path):
    return storage_at(str(tmp_path))


def means(own, **fields) -> Connection:
    return connection(own, api_key=KEY, dialect="openai", **fields)


async def ordered(own, storage):
    """A job on the ledger that nobody has fetched yet."""
    return await steps.submit(means(own), clip(), storage, terms())


async def moved(storage, job, base_url):
    """The same job, with another address in the record: what anybody who may write to the store can do."""
    ledger = Ledger(storage)
    found = await ledger.get(job.purchase)
    elsewhere = job.model_copy(update={"base_url": base_url})
    await ledger.move(Claim(*found), job=elsewhere)
    return elsewhere


def refused(own, stranger):
    """The error: what is wrong, both origins, what to do."""
    theirs, ours = stranger.url.removesuffix("/v1"), own.url.removesuffix("/v1")
    return pytest.raises(
        InvalidRequest,
        match=f"was made at {theirs}, and these credentials are for {ours};.*pass the credentials.*nothing was sent",
    )


VERBS = {
    "buy": lambda at, job, storage: buy_video(at, clip(), storage, terms()),
    "fetch": lambda at, job, storage: steps.fetch(at, job, storage, terms()),
    "wait": lambda at, job, storage: steps.wait(at, job, storage, terms()),
    "look": lambda at, job, storage: steps.is_finished(at, job, storage),
    "cancel": lambda at, job, storage: steps.cancel(at, job, storage),
    "remix": lambda at, job, storage: buy_video(at, RemixRequest(video=job, prompt="x"), storage, terms()),
    "edit": lambda at, job, storage: buy_video(at, VideoEditRequest(video=job, prompt="x"), storage, terms()),
    "extend": lambda at, job, storage: buy_video(
        at, VideoExtendRequest(video=job, prompt="x", seconds=4), storage, terms()
    ),
}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_job_of_another_server_is_refused_before_anything_is_sent(servers, storage, verb):
    own, stranger = servers
    job = await moved(storage, await ordered(own, storage), stranger.url)
    asked = len(own.requests)

    with refused(own, stranger):
        await VERBS[verb](means(own), job, storage)

    assert not stranger.requests
    assert len(own.requests) == asked
    [record] = [record async for record in Ledger(storage).purchases()]
    assert record.state == "submitted", "it is still there for whoever has the right credentials"


@pytest.mark.parametrize(
    "spelling",
    [
        "http://{own}\\@{stranger}/v1",
        "http://{stranger}\\@{own}/v1",
        "http://{own}@{stranger}/v1",
        "http://{own}\t.{stranger}/v1",
        "http://{own}#@{stranger}/v1",
        "//{stranger}/v1",
        "https://{own}/v1",
        "{own}/v1",
        "",
        "http://[{stranger}/v1",
        "http://{own}/v1/../../admin",
        "http://{own}/%2e%2e/admin",
        "http://{own}/v1?x=",
    ],
)
async def test_no_way_of_writing_an_address_gets_around_that(servers, storage, spelling):
    own, stranger = servers
    places = {name: server.url[7:-3] for name, server in (("own", own), ("stranger", stranger))}
    job = await moved(storage, await ordered(own, storage), spelling.format(**places))
    asked = len(own.requests)
    for verb in ("buy", "fetch", "wait", "cancel"):
        with pytest.raises(InvalidRequest):
            await VERBS[verb](means(own), job, storage)
    assert not stranger.requests
    assert len(own.requests) == asked


async def test_the_same_server_by_another_prefix_or_spelling_is_the_same(servers, storage):
    """The path is the job's own: a server's jobs may have been bought by an older API version's address."""
    own, _ = servers
    job = await ordered(own, storage)
    shouted = job.model_copy(update={"base_url": own.url.replace("http://", "HTTP://") + "/"})
    assert await steps.fetch(means(own), shouted, storage, terms())
    credentials = replace(means(own), base_url=own.url.removesuffix("/v1") + "/another/prefix")
    assert await steps.fetch(credentials, job.model_copy(update={"purchase": None}), storage, terms())


@pytest.mark.parametrize("verb", ["fetch", "is_finished"])
async def test_a_batch_of_another_server_is_refused_before_anything_is_sent(servers, storage, verb):
    own, stranger = servers
    request = ImageRequest(prompt="a paper boat", model="gpt-image-2")
    batch = await submit(means(own), [request], storage, terms())
    moved_batch = batch.model_copy(update={"base_url": stranger.url})
    asked = len(own.requests)
    with refused(own, stranger):
        if verb == "fetch":
            await fetch(means(own), moved_batch, storage, terms())
        else:
            await is_finished(means(own), moved_batch, storage)
    assert not stranger.requests
    assert len(own.requests) == asked


async def test_ending_a_job_by_hand_asks_no_stranger(servers, storage):
    from prefect_media.purchases.orders import connection_of

    own, stranger = servers
    job = await moved(storage, await ordered(own, storage), stranger.url)
    found = await Ledger(storage).get(job.purchase)
    with refused(own, stranger):
        await cancel_purchase(connection_of(job, means(own)), job, Ledger(storage), Claim(*found))
    assert not stranger.requests


def test_a_block_attaches_to_no_job_of_another_server(servers, storage, prefect):
    from prefect_media.blocks import MediaStore, OpenAICredentials, VideoJobBlock

    own, stranger = servers
    credentials = OpenAICredentials(base_url=own.url, api_key=KEY, dialect="openai")
    block = VideoJobBlock(credentials=credentials, request=clip(), store=MediaStore(url=storage.url), scope="forever")
    job = block.trigger().job
    with refused(own, stranger):
        block.attach(job.model_copy(update={"base_url": stranger.url}))
    for odd in ("../files", "a\nb", "a?b", ""):
        with pytest.raises(InvalidRequest, match=r"job id .* is malformed"):
            block.attach(odd)
    assert not stranger.requests


async def test_resume_on_the_command_line_picks_credentials_by_origin(servers, storage):
    """A record that says https was once read as the http of the same host and port, and the other way round."""
    import io
    from contextlib import redirect_stderr

    from prefect_media.cli.jobs import _resume_one

    own, _ = servers
    job = await moved(storage, await ordered(own, storage), own.url.replace("http://", "https://"))
    found = await Ledger(storage).get(job.purchase)
    asked = len(own.requests)
    said = io.StringIO()
    with redirect_stderr(said):
        assert not await _resume_one(Ledger(storage), Claim(*found), [means(own)], 5.0)
    assert "skipped, it was made at https://" in said.getvalue()
    assert f"there are credentials for {own.url.removesuffix('/v1')}" in said.getvalue()
    assert len(own.requests) == asked
