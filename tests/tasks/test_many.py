"""Many generations in one call: bounded, lazy, each result as it lands, and no failure that loses the others."""

import asyncio
import contextlib
import itertools
from collections import Counter

import pytest
from many_requests import MOTION, STILL, in_flow, motion, still, until
from prefect import flow, get_client
from prefect.artifacts import Artifact
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.runtime import flow_run

from prefect_media import (
    Generation,
    ImageEditRequest,
    OpenAICredentials,
    RemixRequest,
    VideoEditRequest,
    VideoExtendRequest,
    agather,
    agenerate_video,
    gather,
)
from prefect_media.errors import AuthenticationFailed, ContentRejected, InvalidRequest, JobFailed, MediaError
from prefect_media.runtime.sync import run_sync
from prefect_media.simulator import Fault

pytestmark = pytest.mark.usefixtures("prefect")


def a_mixture(count):
    """Images and videos, some of which can't work: 1 in 20 is refused, 1 in 20 fails at the provider."""
    for number in range(count):
        if number % 20 == 7:
            yield still(number, "forbidden")
        elif number % 20 == 12:
            yield motion(number, "explode")
        else:
            yield still(number) if number % 2 else motion(number)


def most_at_once(jobs):
    """The most video jobs that were accepted and not ended at any one time, by the provider's clock."""
    times = [change for job in jobs for change in ((job.created, 1), (job.created + job.latency, -1))]
    return max(itertools.accumulate(change for _, change in sorted(times)))


def test_many_in_one_task_run(media_simulator, tmp_path, monkeypatch):
    """The same results, each by itself, from a fiftieth of the task runs; one that passes by itself is tried again."""
    monkeypatch.setattr("prefect_media.tasks.shared_runs.RETRY_SECONDS", (0.01,) * 4)
    media_simulator.faults.append(Fault("POST", "/images/generations$", "answer", status=429, body={}))

    async def shared_boats():
        gathering = agather(
            media_simulator.credentials,
            a_mixture(60),
            store=str(tmp_path),
            per_task_run=25,
            concurrency=7,
            ordered=True,
        )
        return flow_run.id, [made async for made in gathering]

    run, made = in_flow(shared_boats)
    assert [each.index for each in made] == list(range(60))
    assert {each.index: type(each.error) for each in made if each.error} == {
        **dict.fromkeys((7, 27, 47), ContentRejected),
        **dict.fromkeys((12, 32, 52), JobFailed),
    }
    assert run_sync(_task_runs(run, 3)) == {("generate_many", "COMPLETED"): 3}
    assert most_at_once(media_simulator.jobs) <= 7
    run_sync(_page("media-shared-boats", "54 of 60 made · 6 failed"))


async def _page(key, words):
    async with asyncio.timeout(150):  # pages of earlier tests may come first, one request in 2 s
        while not (found := await Artifact.aget(key)) or words not in str(found.data):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


def test_two_hundred_of_all_kinds(media_simulator, tmp_path):
    async def body():
        return flow_run.id, [
            made async for made in agather(media_simulator.credentials, a_mixture(200), store=str(tmp_path))
        ]

    run_id, generations = in_flow(body)
    assert sorted(made.index for made in generations) == list(range(200))
    wanted = list(a_mixture(200))
    for made in generations:
        assert made.request == wanted[made.index]
        if made.index % 20 == 7:
            assert isinstance(made.error, ContentRejected)
        elif made.index % 20 == 12:
            assert isinstance(made.error, JobFailed)
        else:
            assert made.error is None
            assert made.asset.kind == ("image" if made.index % 2 else "video")
        if made.error:
            assert made.assets == ()
            with pytest.raises(type(made.error)):
                made.asset  # noqa: B018
    uris = {asset.uri for made in generations for asset in made.assets}
    assert len(uris) == 180
    assert run_sync(_task_runs(run_id, 200)) == {
        ("agenerate_images", "COMPLETED"): 90,
        ("agenerate_images", "FAILED"): 10,
        ("agenerate_video", "COMPLETED"): 90,
        ("agenerate_video", "FAILED"): 10,
    }


async def _task_runs(run_id, count):
    """Names and ends of the task runs that the server knows of; it hears of them by events, a moment later."""
    async with get_client() as client:
        for _ in range(300):
            runs = await client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
            if len(runs) == count and all(run.state and run.state.is_final() for run in runs):
                break
            await asyncio.sleep(0.1)
    return Counter((run.task_key.rpartition("-")[0], run.state_type.value) for run in runs)


@pytest.mark.parametrize("concurrency", [1, 7])
def test_no_more_at_once_than_asked_for(concurrency, media_simulator, tmp_path):
    media_simulator.latency = 0.1

    async def body():
        requests = [motion(number) for number in range(21)]
        return [
            made.asset
            async for made in agather(
                media_simulator.credentials, requests, store=str(tmp_path), concurrency=concurrency
            )
        ]

    assert len(in_flow(body)) == 21
    most = most_at_once(media_simulator.jobs)
    assert most <= concurrency
    assert most > 1 or concurrency == 1


def test_requests_are_taken_as_there_is_room(media_simulator, tmp_path):
    """An endless generator; whoever fetches no results gets no more made."""
    taken = 0

    def endless():
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield still(number)

    async def body():
        async with contextlib.aclosing(
            agather(media_simulator.credentials, endless(), store=str(tmp_path), concurrency=2)
        ) as results:
            first = await anext(results)
            await until(lambda: len(media_simulator.images) >= 8)
            await asyncio.sleep(0.3)
            seen = [taken, len(media_simulator.images)]
            for _ in range(20):
                await anext(results)
            return first, seen

    first, (at_rest, bought) = in_flow(body)
    assert first.assets
    assert at_rest == bought == 8, "concurrency times four, until results are fetched"
    assert 20 <= taken <= 20 + 1 + 8


def test_results_as_they_land_or_in_order(media_simulator, tmp_path):
    async def body():
        requests = [motion(0), still(1), still(2)]
        media_simulator.latency = 1.5
        landed = [made.index async for made in agather(media_simulator.credentials, requests, store=str(tmp_path))]
        requests = [motion(10), still(11), still(12)]
        in_order = [
            made.index
            async for made in agather(media_simulator.credentials, requests, store=str(tmp_path), ordered=True)
        ]
        return landed, in_order

    landed, in_order = in_flow(body)
    assert landed[-1] == 0
    assert in_order == [0, 1, 2]


def test_in_order_for_long(media_simulator, tmp_path):
    async def body():
        requests = (still(number) for number in range(60))
        return [
            made.index
            async for made in agather(
                media_simulator.credentials, requests, store=str(tmp_path), ordered=True, concurrency=3
            )
        ]

    assert in_flow(body) == list(range(60))


def test_each_kind_of_request_goes_to_its_task(media_simulator, tmp_path):
    here = {"store": str(tmp_path)}

    async def body():
        clip = await agenerate_video(media_simulator.credentials, MOTION, **here)

        async def requests():
            yield STILL
            yield ImageEditRequest(prompt="at night", model="gpt-image-2", images=[clip_still], size="1024x1024")
            yield MOTION
            yield RemixRequest(video=clip, prompt="at night")
            yield VideoEditRequest(video=clip, prompt="a red sail")
            yield VideoExtendRequest(video=clip, prompt="it sinks", seconds=4)
            yield "a request in words"

        [clip_still] = [made.asset async for made in agather(media_simulator.credentials, [still(9)], **here)]
        return [made async for made in agather(media_simulator.credentials, requests(), ordered=True, **here)]

    *made, words = in_flow(body)
    assert [one.error for one in made] == [None] * 6
    assert [one.asset.source.operation for one in made] == ["generate", "edit", "generate", "remix", "edit", "extend"]
    assert isinstance(words.error, InvalidRequest)
    assert "a str is not a request" in str(words.error)


def test_equal_requests_are_one_purchase(media_simulator, tmp_path):
    async def body():
        requests = [STILL, STILL, still(1), STILL]
        return [
            made async for made in agather(media_simulator.credentials, requests, store=str(tmp_path), ordered=True)
        ]

    made = in_flow(body)
    assert len(media_simulator.images) == 2
    assert made[0].assets == made[1].assets == made[3].assets != made[2].assets


def test_more_images_of_one_request(media_simulator, tmp_path):
    [made] = gather(media_simulator.credentials, [STILL.model_copy(update={"n": 3})], store=str(tmp_path), scope="x")
    assert len(made.assets) == 3
    assert made.asset == made.assets[0]


# Errors.


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"concurrency": 0}, "concurrency=0 is not possible"),
        ({"on_error": "ignore"}, "on_error='ignore' is not possible"),
        ({"requests": STILL}, "requests is one ImageRequest"),
        ({"scope": ""}, "scope='' is not possible"),
        ({"timeout": 0}, "timeout=0 is not a time to wait"),
        ({"on_doubt": "shrug"}, "on_doubt='shrug' is not possible"),
        ({"credentials": "nobody-saved-this"}, "no saved block 'nobody-saved-this'"),
        ({"store": "nor-this"}, "there is no saved block 'nor-this'"),
    ],
)
def test_what_can_not_work_is_said_once_and_before_anything_is_sent(arguments, error, media_simulator, tmp_path):
    given = {
        "credentials": media_simulator.credentials,
        "requests": [STILL, still(1)],
        "store": str(tmp_path),
        "scope": "x",
        **arguments,
    }
    with pytest.raises(InvalidRequest, match=error):
        list(gather(**given))
    assert not media_simulator.requests


def test_no_key_is_said_once():
    with pytest.raises(AuthenticationFailed):
        list(gather(OpenAICredentials(), [STILL, still(1)], scope="x"))


# The sync twin.


def test_in_a_sync_flow(media_simulator, tmp_path):
    def body():
        return list(gather(media_simulator.credentials, a_mixture(40), store=str(tmp_path), ordered=True))

    generations = flow(body)()
    assert [made.index for made in generations] == list(range(40))
    assert [isinstance(made, Generation) and made.error is None for made in generations].count(True) == 36
    assert {type(made.error) for made in generations if made.error} == {ContentRejected, JobFailed}


def test_the_sync_form_in_an_async_task_of_the_same_loop_is_refused(media_simulator):
    async def on_the_loop():
        return list(gather(media_simulator.credentials, [STILL], scope="x"))

    with pytest.raises(RuntimeError, match="use agather"):
        run_sync(on_the_loop())
    assert not media_simulator.requests


def test_the_errors_are_ours():
    made = Generation(0, STILL, error=ContentRejected("no"))
    with pytest.raises(MediaError):
        made.asset  # noqa: B018
