"""A video as a block: triggered, waited for, fetched, attached to and cancelled, like any JobBlock of Prefect."""

import subprocess
import sys

import pytest
from prefect import flow
from prefect.blocks.abstract import JobBlock, JobRun
from prefect_media.blocks import VideoJobBlock

from prefect_media import Asset, Budget, MediaStore, RemixRequest, VideoJob, VideoRequest, agenerate_video
from prefect_media.errors import BudgetExceeded, InvalidRequest, JobFailed
from prefect_media.ledger.ledger import Ledger

REQUEST = VideoRequest(prompt="a paper boat", model="sora-2", seconds=4, size="1280x720")


@pytest.fixture
def place(tmp_path):
    return MediaStore(url=str(tmp_path))


@pytest.fixture
def block(media_simulator, place):
    return VideoJobBlock(credentials=media_simulator.credentials, request=REQUEST, store=place, scope="a block")


def test_the_life_of_a_job(media_simulator, block, place):
    run = block.trigger()
    assert isinstance(block, JobBlock) and isinstance(run, JobRun)
    assert run.job.id == media_simulator.jobs[0].id
    run.wait_for_completion()
    asset = run.fetch_result()
    assert (asset.width, asset.seconds) == (1280, 4)
    assert block.trigger().fetch_result() == asset
    assert len(media_simulator.jobs) == 1


async def test_the_same_for_async_code_and_the_same_purchase_as_the_task(media_simulator, block, place):
    run = await block.atrigger()
    await run.await_for_completion()
    asset = await run.afetch_result()
    by_task = await agenerate_video.fn(media_simulator.credentials, REQUEST, store=place, scope="a block")
    assert by_task == asset
    assert len(media_simulator.jobs) == 1


def test_attaching_to_a_job_of_another_process(media_simulator, block):
    elsewhere = VideoJob.model_validate_json(block.trigger().job.model_dump_json())
    asset = block.attach(elsewhere).fetch_result()
    assert asset.source.job_id == elsewhere.id
    assert block.attach(elsewhere.id).fetch_result().sha256 == asset.sha256, "by its id alone"
    assert len(media_simulator.jobs) == 1


async def test_cancelling_is_put_on_record(media_simulator, tmp_path):
    from prefect_media.simulator import Simulator

    with Simulator(profile="vllm-omni", latency=60) as server:
        block = VideoJobBlock(
            credentials=server.credentials, request=REQUEST, store=MediaStore(url=str(tmp_path)), scope="a block"
        )
        run = await block.atrigger()
        await run.acancel()
        assert server.jobs[0].deleted
        with pytest.raises(JobFailed, match="was cancelled"):
            await run.afetch_result()
        again = await block.atrigger()
        with pytest.raises(JobFailed, match="was cancelled"):
            await again.afetch_result()
        assert len(server.jobs) == 1
    [record] = [record async for record in Ledger(block.store.storage()).purchases()]
    assert (record.state, record.failure.details["code"]) == ("failed", "cancelled")


def test_a_provider_that_can_not_cancel_lets_the_job_go_on(media_simulator, block):
    media_simulator.latency = 60
    run = block.trigger()
    with pytest.raises(InvalidRequest, match="still being generated"):
        run.cancel()
    media_simulator.jobs[0].latency = 0
    assert run.fetch_result().source.job_id == run.job.id


@pytest.mark.usefixtures("prefect")
def test_saved_loaded_and_run_in_a_flow(media_simulator, block):
    block = block.model_copy(update={"scope": "run"})
    with pytest.raises(InvalidRequest, match="there is none"):
        block.trigger()
    block.save("a-film", overwrite=True)

    @flow
    def make() -> list[Asset]:
        loaded = VideoJobBlock.load("a-film")
        assert loaded.request == REQUEST
        return [loaded.trigger().fetch_result(), loaded.trigger().fetch_result()]

    first, again = make()
    assert first == again
    assert make()[0].source.job_id != first.source.job_id, "another flow run is another purchase"
    assert len(media_simulator.jobs) == 2


def test_a_remix_keeps_its_kind(block, media_simulator):
    remix = RemixRequest(video="video_1", prompt="at night")
    again = VideoJobBlock.model_validate(
        {"credentials": media_simulator.credentials, "request": remix.model_dump(mode="json")}
    )
    assert again.request == remix


def test_a_field_it_does_not_have_is_warned_of(media_simulator):
    with pytest.warns(UserWarning, match="VideoJobBlock has no field 'timeout'; it is ignored. Its fields are credent"):
        VideoJobBlock(credentials=media_simulator.credentials, request=REQUEST, timeout=5)


def test_a_budget_that_is_saved_with_the_block(media_simulator, block):
    poor = block.model_copy(update={"budget": Budget(usd=0.3, period="month", unpriced_usd=0.4)})
    assert VideoJobBlock.model_validate(poor.model_dump()).budget == poor.budget
    with pytest.raises(BudgetExceeded, match=r"would cost 0\.40 USD"):
        poor.trigger()
    assert media_simulator.jobs == []


@pytest.mark.parametrize("scope", ["Run", "FOREVER", "RUN"])
def test_a_scope_that_only_looks_like_a_known_one_is_refused(media_simulator, block, scope):
    with pytest.raises(InvalidRequest, match=r"scope=.* is not possible.*pass \"run\", \"forever\" or a name"):
        block.model_copy(update={"scope": scope}).trigger()
    assert media_simulator.requests == []


def test_a_default_store_that_is_not_saved_is_an_error_that_says_so(media_simulator, prefect, configure):
    configure(store="no-such-shelf")
    block = VideoJobBlock(credentials=media_simulator.credentials, request=REQUEST, scope="a block")
    with pytest.raises(InvalidRequest, match="there is no saved block 'no-such-shelf' of the type media-store"):
        block.trigger()
    assert media_simulator.requests == []


@pytest.mark.parametrize("name", ["shelf", "media-store/shelf"])
def test_the_default_store_may_be_the_name_of_a_saved_one(media_simulator, prefect, place, configure, name):
    place.save("shelf", overwrite=True)
    configure(store=name)
    block = VideoJobBlock(credentials=media_simulator.credentials, request=REQUEST, scope="a block")
    asset = block.trigger().fetch_result()
    assert asset.uri.startswith(f"{place.storage().url}/")


@pytest.mark.parametrize("first", ["blocks", "tasks"])
def test_blocks_and_tasks_can_be_imported_in_either_order(first):
    code = f"import prefect_media.{first}; from prefect_media.blocks import VideoJobBlock; import prefect_media.tasks"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_form_asks_for_what_is_needed_only(media_simulator):
    """As Prefect's pages draw it: an empty tab comes first and asks for nothing, one word to choose is no text."""
    form = VideoJobBlock.model_json_schema()
    assert form["required"] == ["credentials", "request"]
    assert {field["title"] for field in form["properties"].values()} >= {"Store", "Budget"}
    for name in ("store", "budget"):
        assert form["properties"][name]["anyOf"][0]["properties"] == {}
    providers = [
        form["definitions"][name]["properties"]["provider"]["enum"]
        for name in ("OpenAICredentials", "AzureOpenAICredentials")
    ]
    assert providers == [["openai"], ["azure"]]

    sent = {"credentials": media_simulator.credentials, "request": REQUEST.model_dump(), "store": {}, "budget": {}}
    left_alone = VideoJobBlock.model_validate(sent)
    assert (left_alone.store, left_alone.budget) == (None, None)
    of_before = VideoJobBlock.model_validate({**sent, "store": None, "budget": {"usd": 5}})
    assert (of_before.store, of_before.budget) == (None, Budget(usd=5))
