"""Questions to people: real suspensions at Prefect's server, answered over its API as its pages do."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import httpx
import pytest
from deployed import Deployed
from prefect import flow, get_client
from prefect.exceptions import FailedRun
from prefect.settings import PREFECT_API_URL
from prefect.states import Failed, Scheduled
from prefect_media.blocks import MediaStore
from prefect_media.flows.approval import approval
from prefect_media.tasks import suspension, wake
from prefect_media.tasks.event_payloads import PAYLOADS, PREFIX

from prefect_media import (
    ImageRequest,
    Manifest,
    VideoRequest,
    aapprove,
    achoose,
    agenerate_images,
    agenerate_video,
    approve,
    choose,
    generate_images,
)
from prefect_media.errors import InvalidRequest, ReviewTimedOut
from prefect_media.ledger import reviews
from prefect_media.runtime import clock
from prefect_media.waiting import records

pytestmark = pytest.mark.usefixtures("prefect")

NAME = "asker"
STILLS = ImageRequest(prompt="a paper boat", model="gpt-image-2", size="1024x1024", quality="low", n=4)
MOTION = VideoRequest(prompt="it sails", model="boats-1", seconds=1, size="64x64")


@pytest.fixture
async def provider(media_simulator):
    await media_simulator.credentials.asave(NAME, overwrite=True)
    return media_simulator


@pytest.fixture
def folder(tmp_path):
    return MediaStore(url=str(tmp_path / "store"))


@pytest.fixture
def later(monkeypatch):
    """`later(3600)` moves the clock of this process, which is also the waker's."""

    def move(seconds):
        true = clock.source.now
        monkeypatch.setattr(clock.source, "now", lambda: true() + timedelta(seconds=seconds))

    return move


@pytest.fixture
def warnings():
    lines: list[str] = []
    handler = logging.Handler(level=logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logging.getLogger("prefect.flow_runs").addHandler(handler)
    yield lines
    logging.getLogger("prefect.flow_runs").removeHandler(handler)


async def call(method, path, **body):
    async with httpx.AsyncClient(base_url=PREFECT_API_URL.value(), timeout=30) as client:
        for _ in range(20):
            answer = await client.request(method, path, json=body or None)
            if answer.status_code != 503:  # so the server says that its database is busy
                break
            await asyncio.sleep(0.5)
    return answer.raise_for_status()


async def form(run_id):
    """What the page shows of a suspended or paused run: its fields, and its text."""
    state = (await call("GET", f"/flow_runs/{run_id}")).json()["state"]
    keys = state["state_details"]["run_input_keyset"]
    fields = (await call("GET", f"/flow_runs/{run_id}/input/{keys['schema']}")).json()
    text = (await call("GET", f"/flow_runs/{run_id}/input/{keys['description']}")).json()
    return fields["properties"], text


async def send(run_id, **answer):
    """Send the form as the page does: "ACCEPT" if Prefect's server takes it."""
    return (await call("POST", f"/flow_runs/{run_id}/resume", run_input=answer)).json()["status"]


async def events(run_id, name, count):
    """The payloads of a run's events of a name, once so many are there."""
    wanted = {"event": {"name": [PREFIX + name]}, "any_resource": {"id": [f"prefect.flow-run.{run_id}"]}}
    for _ in range(60):
        found = (await call("POST", "/events/filter", filter=wanted)).json()["events"]
        if len(found) >= count:
            break
        await asyncio.sleep(0.5)
    return [PAYLOADS[name].model_validate(event["payload"]) for event in found]


async def test_the_flow_approval_with_two_people(provider, store):
    """Four stills, one is chosen, it becomes a video, it is approved and published; each bought once."""
    run = Deployed(approval, store, credentials=NAME, still=STILLS, motion=MOTION, store=store)
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    [record] = await run.records()
    assert (record.reason, record.jobs) == ("review", ())

    fields, text = await form(run.id)
    assert fields["choice"]["enum"] == ["1", "2", "3", "4"]
    assert text.count("](data:image/jpeg;base64,") == 4
    assert len(text) < 200_000
    assert await send(run.id, choice="5", notes="") == "REJECT"
    assert await send(run.id, choice="3", notes="the red one") == "ACCEPT"
    assert (await run.execute()).name == "Suspended"
    assert (len(provider.images), len(provider.jobs)) == (1, 1)

    fields, text = await form(run.id)
    assert fields["decision"]["enum"] == ["approve", "reject"]
    assert text.count("](data:image/jpeg;base64,") == 1, "a frame of the video"
    assert (await wake.make_round(run.storage)).woken == [], "nobody answered, and the deadline is days away"
    assert await send(run.id, decision="approve", reason="") == "ACCEPT"
    assert (await run.execute()).is_completed()
    assert isinstance(run.result, Manifest)
    assert [asset.kind for asset in run.result.assets] == ["image", "video"]
    assert (len(provider.images), len(provider.jobs)) == (1, 1)
    await wake.make_round(run.storage)
    assert await run.records() == []

    answers = [answer async for answer in answered(run)]
    assert sorted((answer.chosen, answer.approved, answer.text) for answer in answers) == [
        ((), True, ""),
        ((3,), None, "the red one"),
    ]
    assert {asked.kind for asked in await events(run.id, "review.requested", 2)} == {"choose", "approve"}
    assert {(each.kind, *each.chosen) for each in await events(run.id, "review.answered", 2)} == {
        ("choose", 3),
        ("approve",),
    }
    assert [each.waited_for for each in await events(run.id, "flow.waiting", 2)] == ["review", "review"]


async def answered(run):
    async for path, _ in run.storage.list(reviews.FOLDER):
        review = reviews.Review.model_validate_json(await run.storage.read(path))
        assert review.answer
        yield review.answer


async def test_a_rejection_is_the_end_and_says_why(provider, folder):
    run = Deployed(approval, folder, credentials=NAME, still=STILLS, motion=MOTION, store=folder)
    await run.execute()
    await send(run.id, choice="1")
    await run.execute()
    await send(run.id, decision="reject", reason="too wet")
    with pytest.raises(FailedRun, match="The video was rejected: too wet"):
        await run.execute()
    assert (await run.state()).is_failed()
    assert not [path async for path, _ in run.storage.list() if path.endswith("manifest.json")]


@flow(persist_result=False)
async def pick(store: MediaStore, asking: dict):
    stills = await agenerate_images(NAME, STILLS, store=store)
    if isinstance(asking.get("default"), list):
        asking = {**asking, "default": [stills[number - 1] for number in asking["default"]]}
    try:
        choice = await achoose(stills, question="Which?", store=store, **asking)
    except ReviewTimedOut as error:
        if asking.get("notes") is False:
            raise
        return error.question
    return [stills.index(asset) + 1 for asset in choice.assets], choice.notes, choice.timed_out


async def test_several_or_none_can_be_chosen(provider, folder):
    run = Deployed(pick, folder, store=folder, asking={"at_least": 2, "at_most": 3})
    await run.execute()
    for wrong in (["1"], ["1", "1"], ["1", "2", "3", "4"], ["1", "9"]):
        assert await send(run.id, choices=wrong) == "REJECT"
    assert await send(run.id, choices=["4", "2"]) == "ACCEPT"
    assert (await run.execute()).is_completed()
    assert run.result == ([2, 4], "", False)

    run = Deployed(pick, folder, store=folder, asking={"at_least": 0})
    await run.execute()
    assert await send(run.id, choice="none", notes="all ugly") == "ACCEPT"
    await run.execute()
    assert run.result == ([], "all ugly", False)


async def test_nobody_answers(provider, folder, later):
    """The waker keeps the deadline; afterwards the outcome stays, until the run is retried as a whole."""
    run = Deployed(pick, folder, store=folder, asking={"timeout": 3600, "notes": False})
    await records.beat(run.storage, 60)
    assert (await run.execute()).name == "Suspended"
    assert await run.round() and (await run.state()).name == "Suspended"
    later(3601)
    assert (await run.round()).woken == [str(run.id)]
    with pytest.raises(ReviewTimedOut, match="nobody answered 'Which\\?' in time"):
        await run.execute()
    assert (await run.state()).is_failed()
    [payload] = await events(run.id, "review.timed-out", 1)
    assert (payload.default, payload.chosen) == (False, [])

    async with get_client() as client:
        await client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry"))
    assert (await run.execute()).name == "Suspended", "asked anew"
    assert await send(run.id, choice="2") == "ACCEPT"
    assert (await run.execute()).is_completed()
    assert run.result == ([2], "", False)
    assert len(provider.images) == 1


async def test_a_default_counts_when_nobody_answers_and_stays(provider, folder, later):
    run = Deployed(pick, folder, store=folder, asking={"timeout": 3600, "default": [3]})
    await records.beat(run.storage, 60)
    await run.execute()
    later(3601)
    assert (await run.round()).woken
    assert (await run.execute()).is_completed()
    assert run.result == ([3], "", True)
    [payload] = await events(run.id, "review.timed-out", 1)
    assert (payload.default, payload.chosen) == (True, [3])


async def test_an_answer_survives_a_crash_and_a_retry_before_it_was_read(provider, folder):
    """Prefect forgets which suspensions there were when a run is retried."""
    run = Deployed(pick, folder, store=folder, asking={})
    await run.execute()
    assert await send(run.id, choice="4") == "ACCEPT"
    async with get_client() as client:
        await client.set_flow_run_state(run.id, Failed(), force=True)
        await client.set_flow_run_state(run.id, Scheduled(name="AwaitingRetry"))
        assert not suspension.used_keys(await client.read_flow_run(run.id))
    assert (await run.execute()).is_completed()
    assert run.result == ([4], "", False)


async def test_woken_without_an_answer_it_sleeps_again_until_the_same_deadline(provider, folder):
    run = Deployed(pick, folder, store=folder, asking={})
    await run.execute()
    [first] = await run.records()
    async with get_client() as client:
        await client.set_flow_run_state(run.id, Scheduled(name="Resuming"))
    assert (await run.execute()).name == "Suspended"
    [second] = await run.records()
    assert second.suspension != first.suspension
    assert second.deadline == first.deadline
    assert await send(run.id, choice="1") == "ACCEPT"
    assert (await run.execute()).is_completed()
    assert len(provider.images) == 1


async def test_a_suspension_whose_form_was_never_saved_is_asked_again(provider, folder, later):
    """The process was killed between the suspension and the form, which Prefect saves after it."""
    run = Deployed(pick, folder, store=folder, asking={})
    await records.beat(run.storage, 60)
    await run.execute()
    [record] = await run.records()
    async with get_client() as client:
        await client.delete_flow_run_input(run.id, f"suspended-{record.suspension}-schema")
    assert (await run.round()).woken == [], "it may be on its way"
    later(121)
    assert (await run.round()).woken == [str(run.id)]
    assert (await run.execute()).name == "Suspended"
    assert await send(run.id, choice="1") == "ACCEPT"
    assert (await run.execute()).is_completed()
    assert (await run.round()).woken == []


@flow(persist_result=False)
async def side_by_side(store: MediaStore):
    stills = await agenerate_images(NAME, STILLS, store=store)
    first, second = await asyncio.gather(
        achoose(stills[:2], question="Which of these?", store=store),
        achoose(stills[2:], question="And of those?", store=store),
    )
    return [stills.index(each.assets[0]) + 1 for each in (first, second)]


async def test_two_questions_side_by_side_are_asked_one_after_the_other(provider, folder):
    run = Deployed(side_by_side, folder, store=folder)
    for choice in ("2", "1"):
        assert (await run.execute()).name == "Suspended"
        assert len(await run.records()) == 1
        await send(run.id, choice=choice)
    assert (await run.execute()).is_completed()
    assert run.result == [2, 3]


@flow(persist_result=False)
def sync_pick(store: MediaStore):
    stills = generate_images(NAME, STILLS, store=store)
    choice = choose(stills, question="Which?", store=store)
    return bool(approve(choice.assets, "This one?", store=store))


async def test_the_sync_twins(provider, folder):
    run = Deployed(sync_pick, folder, store=folder)
    assert (await run.execute()).name == "Suspended"
    await send(run.id, choice="2")
    assert (await run.execute()).name == "Suspended"
    await send(run.id, decision="reject")
    assert (await run.execute()).is_completed()
    assert run.result is False


@pytest.mark.parametrize("place", ["no deployment", "a subflow"])
async def test_where_prefect_cannot_suspend_it_is_paused_in_the_process(provider, folder, monkeypatch, warnings, place):
    monkeypatch.setattr(suspension, "PAUSE", 0.2)
    seen = []

    @flow(persist_result=False)
    async def inner():
        stills = await agenerate_images(NAME, STILLS, store=folder)
        choice = await achoose(stills, question="Which?", store=folder)
        late = await aapprove(choice.assets, "Sure?", timeout=0.5, default=False, store=folder)
        return stills.index(choice.assets[0]) + 1, late.approved, late.timed_out

    @flow(persist_result=False)
    async def outer():
        return await inner()

    async def somebody():
        for _ in range(300):
            paused = (
                await call("POST", "/flow_runs/filter", flow_runs={"state": {"name": {"any_": ["Paused"]}}})
            ).json()
            if paused:
                seen.append(await form(paused[0]["id"]))
                return await send(paused[0]["id"], choice="3")
            await asyncio.sleep(0.2)

    answering = asyncio.create_task(somebody())
    if place == "no deployment":
        assert await inner() == (3, False, True)
    else:
        run = Deployed(outer, folder)
        assert (await run.execute()).is_completed()
        assert run.result == (3, False, True)
    assert await answering == "ACCEPT"
    assert len(seen) == 1
    assert len([line for line in warnings if "Waiting in the process" in line]) == 2, "once for each question"
    assert [path async for path, _ in folder.storage().list(records.FOLDER)] == []


async def test_bad_input_is_refused(provider, folder):
    @flow
    async def ask():
        stills = await agenerate_images(NAME, STILLS, store=folder)
        film = await agenerate_video(NAME, MOTION, store=folder)
        for given, options in (
            ([], {}),
            (["fox.png"], {}),
            (stills * 7, {}),
            (stills, {"at_least": 3}),
            (stills, {"at_most": 5}),
            (stills, {"at_least": 0, "at_most": 0}),
            (stills, {"at_least": True}),
            (stills, {"default": film}),
            (stills, {"default": stills}),
            (stills, {"timeout": 0}),
            (stills, {"question": " "}),
        ):
            with pytest.raises(InvalidRequest):
                await achoose(given, **{"question": "Which?", **options}, store=folder)
        with pytest.raises(InvalidRequest):
            await aapprove(film, "Good?", default="yes", store=folder)

        return stills

    stills = await ask()
    with pytest.raises(InvalidRequest, match="outside of a flow"):
        await achoose(stills, question="Which?")
