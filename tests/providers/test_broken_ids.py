"""Servers that mix up the ids of their jobs: nobody gets another's film, and nobody pays twice for the mistake."""

import asyncio
import base64
from dataclasses import replace

import pytest
from buyer import clip, connection, terms

from prefect_media.errors import InvalidRequest, ProviderUnavailable, SubmissionInDoubt
from prefect_media.jobs import JobState
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers import videos
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator
from prefect_media.simulator.profiles import PROFILES

SUBMIT, LOOK = ("POST", "/videos$"), ("GET", "/videos/[^/]+$")


@pytest.fixture
def simulator():
    with Simulator(latency=0.0) as simulator:
        yield simulator


@pytest.fixture
def storage(store, monkeypatch, configure):
    monkeypatch.setattr("prefect_media.purchases.lost_jobs.LOOKS", (0.0,))
    configure(poll_seconds=0.05)
    return store.storage()


async def states(storage):
    return {record.request["prompt"]: record.state async for record in Ledger(storage).purchases()}


def ids(monkeypatch, name, make):
    """Have servers of a kind make ids of their own."""
    monkeypatch.setitem(PROFILES, name, replace(PROFILES[name], id=lambda digits, operation: make(digits)))


# One id for two orders.


async def test_an_order_answered_with_the_id_of_another_is_a_doubt(monkeypatch, storage):
    ids(monkeypatch, "openai", lambda digits: "video_same")
    with Simulator(latency=0.0) as server:
        first = await buy_video(connection(server), clip("a boat"), storage, terms())
        with pytest.raises(SubmissionInDoubt, match=r"id of another.*video_same") as caught:
            await buy_video(connection(server), clip("a fox"), storage, terms())
        assert len(server.jobs) == 2, "and it is not sent again"
    assert caught.value.key
    assert first.source.job_id == "video_same"
    assert await states(storage) == {"a boat": "done", "a fox": "in_doubt"}


async def test_two_orders_at_once_do_not_share_a_job(monkeypatch, storage):
    ids(monkeypatch, "openai", lambda digits: "video_same")
    with Simulator(latency=0.3) as server:
        orders = [buy_video(connection(server), clip(prompt), storage, terms()) for prompt in ("a boat", "a fox")]
        outcomes = await asyncio.gather(*orders, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Asset", "SubmissionInDoubt"]


async def test_the_id_of_an_earlier_attempt_is_another_jobs_too(monkeypatch, storage):
    ids(monkeypatch, "openai", lambda digits: "video_same")
    with Simulator(latency=0.0) as server:
        with pytest.raises(Exception, match="could not be generated"):
            await buy_video(connection(server), clip("explode"), storage, terms())
        with pytest.raises(SubmissionInDoubt, match="id of another"):
            await buy_video(connection(server), clip("explode"), storage, terms(retry_failed=True))


async def test_one_id_at_two_servers_is_two_jobs(monkeypatch, storage):
    ids(monkeypatch, "openai", lambda digits: "video_same")
    with Simulator(latency=0.0) as here, Simulator(latency=0.0) as there:
        for server in (here, there):
            await buy_video(connection(server), clip(), storage, terms())
        assert (len(here.jobs), len(there.jobs)) == (1, 1)


async def test_an_id_whose_purchase_was_forgotten_may_come_again(monkeypatch, storage):
    ids(monkeypatch, "openai", lambda digits: "video_same")
    with Simulator(latency=0.0) as server:
        await buy_video(connection(server), clip("a boat"), storage, terms())
        [record] = [record async for record in Ledger(storage).purchases()]
        await Ledger(storage).forget(record.key)
        await buy_video(connection(server), clip("a fox"), storage, terms())
    assert await states(storage) == {"a fox": "done"}


# No id at all.


@pytest.mark.parametrize("empty", ["", " ", "\n"])
async def test_an_order_answered_with_an_empty_id_is_adopted_by_its_real_one(simulator, storage, empty):
    answer = {"id": empty, "status": "queued"}
    simulator.faults.append(Fault(*SUBMIT, "answer_after", status=200, body=answer))
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]


async def test_a_server_that_knows_no_ids_at_all_is_paid_once(monkeypatch, storage):
    ids(monkeypatch, "openai", lambda digits: "")
    with Simulator(latency=0.0) as server:
        with pytest.raises(SubmissionInDoubt):
            await buy_video(connection(server), clip(), storage, terms())
        assert len(server.jobs) == 1
    assert await states(storage) == {"a paper boat": "in_doubt"}


async def test_a_list_with_rows_that_name_no_job_is_none(simulator):
    rows = [{"id": "video_1", "status": "queued"}, {"id": "", "status": "queued"}]
    simulator.faults.append(Fault("GET", "/videos$", "answer", status=200, body={"data": rows, "has_more": False}))
    with pytest.raises(InvalidRequest, match="without an id"):
        _ = [state async for state in videos.recent(connection(simulator), since=lambda: None)]


# A look that shows another job.


@pytest.mark.parametrize("shown", ["video_another", "", "VIDEO_1", 5, None])
async def test_a_look_that_shows_another_job_says_nothing_of_this_one(simulator, shown):
    simulator.faults.append(Fault(*LOOK, "answer", status=200, body={"id": shown, "status": "completed"}))
    with pytest.raises(ProviderUnavailable, match="video_1") as caught:
        await videos.look(connection(simulator), "video_1")
    assert caught.value.job_id == "video_1"


async def test_another_jobs_end_is_not_this_ones(simulator, storage):
    """One look is mixed up, the next is not."""
    fault = Fault(*LOOK, "answer", times=2, status=200, body={"id": "video_another", "status": "failed"})
    simulator.faults.append(fault)
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert fault.hits == 2
    assert asset.source.job_id == simulator.jobs[0].id


async def test_a_server_that_only_shows_other_jobs_leaves_this_one_on_record(simulator, storage, monkeypatch):
    monkeypatch.setattr("prefect_media.waiting.deadlines.LONGEST_AFTER_ERROR", 0.1)
    simulator.faults.append(
        Fault(*LOOK, "answer", times=None, status=200, body={"id": "video_another", "status": "completed"})
    )
    with pytest.raises(ProviderUnavailable, match="video_another"):
        await buy_video(connection(simulator), clip(), storage, terms())
    assert await states(storage) == {"a paper boat": "submitted"}
    del simulator.faults[:]
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]


def litellm(**parts):
    text = ";".join(f"{name}:{value}" for name, value in parts.items())
    return "video_" + base64.b64encode(f"litellm:{text}".encode()).decode()


@pytest.mark.parametrize("padding", [True, False])
async def test_a_proxy_may_write_the_same_id_in_another_way(simulator, padding):
    """LiteLLM stamps the deployment that answered into each id it shows."""
    asked = litellm(custom_llm_provider="openai", model_id="films", video_id="video_1")
    shown = litellm(custom_llm_provider="openai", model_id="films", video_id="video_1", deployment_id="two")
    shown = shown if padding else shown.rstrip("=")
    simulator.faults.append(Fault(*LOOK, "answer", status=200, body={"id": shown, "status": "completed"}))
    state = await videos.look(connection(simulator), asked)
    assert (state.id, state.phase) == (asked, "done")
    other = litellm(custom_llm_provider="openai", model_id="films", video_id="video_2")
    simulator.faults.append(Fault(*LOOK, "answer", status=200, body={"id": other, "status": "completed"}))
    with pytest.raises(ProviderUnavailable):
        await videos.look(connection(simulator), asked)


async def test_a_relay_may_have_the_id_in_a_field_of_its_own(simulator):
    at = connection(simulator, dialect="new-api")
    body = {"id": "upstream", "task_id": "task_1", "status": "completed"}
    simulator.faults.append(Fault(*LOOK, "answer", status=200, body=body))
    assert (await videos.look(at, "task_1")).id == "task_1"


@pytest.mark.parametrize("identity", ["", "  ", "\t", 5, None, ["v"]])
def test_what_has_no_id_is_no_job(identity):
    assert JobState.parse({"id": identity, "status": "queued"}) is None
