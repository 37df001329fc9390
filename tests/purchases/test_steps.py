"""What a purchase reports of itself, step by step, over the wire."""

import asyncio

import pytest
from buyer import connection, terms

from prefect_media import Budget, ImageRequest, MediaStore, VideoRequest
from prefect_media.errors import BudgetExceeded, ContentRejected, JobFailed, RateLimited, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.purchases import batch_fetch, batch_submit, video_steps
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator

LOOKS = {"queued", "started", "progress"}


@pytest.fixture(autouse=True)
def prices(tmp_path, short_pauses, configure):
    prices = tmp_path / "prices.toml"
    prices.write_text('[prices."sora-2"]\nper_second = 0.1\n')
    configure(prices=prices)


@pytest.fixture
def simulator():
    with Simulator(latency=0.4) as simulator:
        yield simulator


@pytest.fixture
def storage(tmp_path):
    return MediaStore(url=str(tmp_path / "store")).storage()


@pytest.fixture
def steps():
    return []


def clip(prompt="a paper boat"):
    return VideoRequest(prompt=prompt, model="sora-2", seconds=4, size="1280x720")


def still(prompt="a paper boat", n=1):
    return ImageRequest(prompt=prompt, model="gpt-image-1", size="1024x1024", quality="low", n=n)


def kinds(steps):
    """The kinds in order, without the looks at a running job: how many there are depends on the machine."""
    return [step.kind for step in steps if step.kind not in LOOKS]


async def test_an_image(simulator, storage, steps):
    options = terms(on_step=steps.append, budget=Budget(usd=1), flow_run_id="run-1")
    assets = await buy_images(connection(simulator), still(n=2), storage, options)
    assert kinds(steps) == ["reserved", "submitted", "stored"]
    [record] = [record async for record in Ledger(storage).purchases()]
    for step in steps:
        assert (step.purchase, step.operation, step.media, step.count) == (record.key, "generate", "image", 2)
        assert (step.model, step.prompt, step.size) == ("gpt-image-1", "a paper boat", "1024x1024")
        assert step.host == simulator.url.removeprefix("http://").removesuffix("/v1")
        assert step.at.tzinfo is not None
        assert "sk-simulated" not in repr(step)
    reserved, submitted, stored = steps
    assert reserved.cost_usd == submitted.cost_usd == reserved.budget.reserved_usd > 0
    assert (reserved.budget.limit_usd, reserved.budget.spent_usd) == (1, 0)
    assert reserved.budget.path == record.budget
    assert stored.assets == tuple(assets)
    assert stored.bytes == sum(asset.size_bytes for asset in assets)
    assert stored.cost_usd == record.cost_usd


async def test_a_video_and_then_the_same_again(simulator, storage, steps):
    def answer_looks():
        [job] = simulator.jobs
        for status, progress in (("queued", 0), ("in_progress", 42), ("in_progress", 43)):
            body = {"id": job.id, "status": status, "progress": progress}
            simulator.faults.append(Fault("GET", f"/videos/{job.id}$", "answer", status=200, body=body))

    simulator.faults.append(Fault("POST", "/videos$", "hold_reply", seconds=0, after_accept=answer_looks))
    options = terms(on_step=steps.append)
    asset = await buy_video(connection(simulator), clip(), storage, options)
    assert [(step.kind, step.progress) for step in steps[1:4]] == [("queued", 0), ("started", 42), ("progress", 43)]
    assert kinds(steps) == ["submitted", "finished", "stored"]
    [job] = simulator.jobs
    submitted, *looks, finished, stored = steps
    assert {step.job_id for step in steps} == {job.id}
    assert all(step.submitted_at == submitted.submitted_at for step in steps)
    assert [step.progress for step in looks] == sorted(step.progress for step in looks)
    assert (finished.status, finished.progress, finished.seconds) == ("completed", 100, 4)
    assert stored.assets == (asset,)
    assert stored.bytes == asset.size_bytes
    assert submitted.cost_usd == stored.cost_usd == 0.4

    steps.clear()
    await buy_video(connection(simulator), clip(), storage, options)
    [reused] = steps
    assert (reused.kind, reused.assets, reused.job_id, reused.bytes) == ("reused", (asset,), job.id, asset.size_bytes)


async def test_a_video_in_steps_of_its_own(simulator, storage, steps):
    line, options = connection(simulator), terms(on_step=steps.append)
    job = await video_steps.submit(line, clip(), storage, options)
    await video_steps.wait(line, job, storage, options)
    await video_steps.fetch(line, job, storage, options)
    assert kinds(steps) == ["submitted", "finished", "finished", "stored"]
    assert {step.purchase for step in steps} == {job.purchase}
    assert {step.prompt for step in steps} == {"a paper boat"}


async def test_a_job_that_is_on_no_ledger(simulator, storage, steps, tmp_path):
    line = connection(simulator)
    job = await video_steps.submit(line, clip(), MediaStore(url=str(tmp_path / "other")).storage(), terms())
    await video_steps.wait(line, job.model_copy(update={"purchase": None}), storage, terms(on_step=steps.append))
    assert steps[-1].kind == "finished"
    assert {(step.purchase, step.operation, step.job_id) for step in steps} == {(None, "adopt", job.id)}


async def test_a_failure_and_what_is_remembered_of_it(simulator, storage, steps):
    options = terms(on_step=steps.append)
    for _ in range(2):
        steps.clear()
        with pytest.raises(JobFailed) as failure:
            await buy_video(connection(simulator), clip("explode"), storage, options)
        assert (steps[-1].kind, steps[-1].error) == ("failed", failure.value)
    assert kinds(steps) == ["failed"]


async def test_a_failure_that_the_next_attempt_cures(simulator, storage, steps):
    simulator.faults.append(Fault("POST", "/videos$", "answer", status=429))
    with pytest.raises(RateLimited):
        await buy_video(connection(simulator), clip(), storage, terms(on_step=steps.append))
    [failed] = steps
    assert failed.kind == "failed"
    assert failed.error.transient


@pytest.mark.parametrize("buy", ["image", "video"])
async def test_a_rejection(simulator, storage, steps, buy):
    options = terms(on_step=steps.append)
    with pytest.raises(ContentRejected) as rejection:
        if buy == "image":
            await buy_images(connection(simulator), still("forbidden"), storage, options)
        else:
            await buy_video(connection(simulator), clip("forbidden"), storage, options)
    assert (steps[0].kind, steps[-1].kind) == ("submitted", "rejected")
    assert steps[-1].error is rejection.value


async def test_a_refused_budget(simulator, storage, steps):
    options = terms(on_step=steps.append, budget=Budget(usd=0.5), flow_run_id="run-1")
    await buy_video(connection(simulator), clip(), storage, terms(budget=Budget(usd=0.5), flow_run_id="run-1"))
    with pytest.raises(BudgetExceeded) as refusal:
        await buy_video(connection(simulator), clip("another"), storage, options)
    [step] = steps
    assert (step.kind, step.error) == ("over_budget", refusal.value)
    assert (step.budget.limit_usd, step.budget.spent_usd, step.budget.reserved_usd) == (0.5, 0.4, 0)
    assert step.budget.path == "ledger/budgets/default/run-run-1.json"
    assert len(simulator.jobs) == 1


async def test_a_doubt(simulator, storage, steps):
    simulator.faults.append(Fault("POST", "/images/generations$", "lose_reply"))
    with pytest.raises(SubmissionInDoubt) as doubt:
        await buy_images(connection(simulator), still(), storage, terms(on_step=steps.append))
    assert kinds(steps) == ["submitted", "doubt"]
    assert steps[-1].error is doubt.value


async def test_the_job_of_a_lost_reply_is_submitted_once(simulator, storage, steps):
    simulator.faults.append(Fault("POST", "/videos$", "lose_reply"))
    options = terms(on_step=steps.append, budget=Budget(usd=1), flow_run_id="run-1")
    await buy_video(connection(simulator), clip(), storage, options)
    assert kinds(steps) == ["reserved", "reserved", "submitted", "finished", "stored"]
    assert len(simulator.jobs) == 1


async def test_a_batch_reports_itself_and_each_of_its_purchases(simulator, storage, steps):
    line, options = connection(simulator), terms(on_step=steps.append)
    [bought] = await buy_images(line, still("bought before"), storage, terms())
    requests = [still("bought before"), still("one"), still("forbidden")]
    batch = await batch_submit.submit(line, requests, storage, options)
    assert [step.kind for step in steps] == ["reused", "submitted"]
    assert steps[0].assets == (bought,)
    assert (steps[1].operation, steps[1].count, steps[1].job_id) == ("batch", 3, batch.id)

    steps.clear()
    _, made, _ = await batch_fetch.fetch(line, batch, storage, options)
    own = [step for step in steps if step.operation == "batch"]
    assert own[-1].kind == "finished"
    assert {step.kind for step in own} <= {*LOOKS, "finished"}
    others = {step.prompt: step for step in steps if step.operation != "batch"}
    assert {prompt: step.kind for prompt, step in others.items()} == {"one": "stored", "forbidden": "rejected"}
    assert others["one"].assets == made.assets


@pytest.mark.parametrize("what", ["video", "fetched video", "batch"])
async def test_a_cancelled_wait_says_which_job_goes_on_and_comes_last(storage, steps, what):
    """Also while a finished video is downloaded: `jobs_left.py` tells of the job at the end of the process."""
    looked = asyncio.Event()

    def show(step):
        steps.append(step)
        if step.kind in (*LOOKS, "finished"):
            looked.set()

    with Simulator(latency=0 if what == "fetched video" else 3600) as simulator:
        line, options = connection(simulator), terms(on_step=show)
        if what == "fetched video":
            simulator.faults.append(Fault("GET", "/content", "hold", seconds=5))
        if what == "batch":
            batch = await batch_submit.submit(line, [still()], storage, options)
            work = asyncio.create_task(batch_fetch.fetch(line, batch, storage, options))
        else:
            work = asyncio.create_task(buy_video(line, clip(), storage, options))
        await asyncio.wait_for(looked.wait(), 60)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        job_id = batch.id if what == "batch" else simulator.jobs[0].id
    assert [step.kind for step in steps[-2:]] == ["interrupted", "cancelled"]
    assert steps[-2].job_id == job_id


async def test_what_on_step_raises_changes_nothing(simulator, storage, caplog):
    def broken(step):
        raise RuntimeError("nobody listens")

    asset = await buy_video(connection(simulator), clip(), storage, terms(on_step=broken))
    assert asset.seconds == 4
    assert "A step (stored) could not be shown: RuntimeError: nobody listens" in caplog.text
    assert len(simulator.jobs) == 1


async def test_many_at_once_keep_their_steps_apart(simulator, storage, steps):
    line, options = connection(simulator), terms(on_step=steps.append)
    await asyncio.gather(*(buy_video(line, clip(f"boat {number}"), storage, options) for number in range(5)))
    for number in range(5):
        own = [step for step in steps if step.prompt == f"boat {number}"]
        assert kinds(own) == ["submitted", "finished", "stored"]
        assert len({(step.purchase, step.job_id) for step in own}) == 1
