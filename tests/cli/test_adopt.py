"""A purchase in doubt whose job a person knows: named in the doubt, checked, attached, and fetched without buying."""

from __future__ import annotations

import asyncio

import pytest
from buyer import clip, connection, terms

from prefect_media.errors import InvalidRequest, SubmissionInDoubt
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers import videos
from prefect_media.purchases.adopt_by_hand import adopt
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator

SUBMIT = ("POST", "/videos$")


pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def sglang():
    """A server whose list has no prompts."""
    with Simulator(latency=0.05, profile="sglang") as simulator:
        yield simulator


def at(simulator, **fields):
    return connection(simulator, dialect="sglang", **fields)


async def in_doubt(simulator, storage, request=None):
    """A purchase whose reply was lost; the error, and the job that the server made of it."""
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    with pytest.raises(SubmissionInDoubt) as caught:
        await buy_video(at(simulator), request or clip(), storage, terms())
    return caught.value, simulator.jobs[-1].id


async def test_the_doubt_names_the_candidates_and_the_command(sglang, store):
    storage = store.storage()
    other = await videos.submit(at(sglang), clip("a kite"), image=None, fingerprint="")
    longer = await videos.submit(at(sglang), clip("a kite", seconds=2), image=None, fingerprint="")
    doubt, job_id = await in_doubt(sglang, storage)
    assert set(doubt.candidates) == {other.id, job_id}
    assert longer.id not in doubt.message
    for word in (other.id, job_id, f"prefect-media jobs adopt {doubt.key[:12]} JOB_ID --store {storage.url}"):
        assert word in doubt.message


async def test_an_adopted_job_is_fetched_and_nothing_is_bought(sglang, store):
    storage = store.storage()
    doubt, job_id = await in_doubt(sglang, storage)
    job = await adopt(at(sglang), doubt.key, job_id, Ledger(storage))
    assert (job.id, job.purchase) == (job_id, doubt.key)
    asset = await buy_video(at(sglang), clip(), storage, terms())
    assert asset.source.job_id == job_id
    assert len(sglang.jobs) == 1


async def test_jobs_that_can_not_be_the_one_are_refused(sglang, tmp_path, store):
    """Another size, length or model, one that is not there, one that another purchase has; the doubt stays."""
    storage = store.storage()
    ledger = Ledger(storage)
    taken = await buy_video(at(sglang), clip("a kite"), storage, terms())
    wrong = {}
    for why, fields in {
        "its seconds is '2.0', not '1.0'": {"seconds": 2},
        "its size is '72x64', not '64x64'": {"size": "72x64"},
        "its model is 'boats-2', not 'boats-1'": {"model": "boats-2"},
    }.items():
        wrong[why] = (await videos.submit(at(sglang), clip(**fields), image=None, fingerprint="")).id
    wrong[f": job {'0' * 32} not found"] = "0" * 32
    wrong["belongs to the purchase"] = taken.source.job_id
    doubt, job_id = await in_doubt(sglang, storage)
    for why, other in wrong.items():
        with pytest.raises(InvalidRequest) as caught:
            await adopt(at(sglang), doubt.key, other, ledger)
        assert why in caught.value.message
        record, _ = await ledger.get(doubt.key)
        assert (record.state, record.job) == ("in_doubt", None)
    with pytest.raises(InvalidRequest, match="credentials it was made with"):
        await adopt(at(sglang, project="other"), doubt.key, job_id, ledger)
    await adopt(at(sglang), doubt.key, job_id, ledger)
    with pytest.raises(InvalidRequest, match="is submitted with job"):
        await adopt(at(sglang), doubt.key, job_id, ledger)


async def test_one_job_is_attached_to_one_of_two(sglang, store):
    """Two purchases in doubt, and two people who attach the same job at the same moment."""
    storage = store.storage()
    first, job_id = await in_doubt(sglang, storage)
    second, _ = await in_doubt(sglang, storage, clip(variant=1))
    outcomes = await asyncio.gather(
        *(adopt(at(sglang), doubt.key, job_id, Ledger(storage)) for doubt in (first, second)), return_exceptions=True
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InvalidRequest", "VideoJob"]
    records = [record async for record in Ledger(storage).purchases()]
    assert sorted(record.state for record in records) == ["in_doubt", "submitted"]


async def test_a_forgotten_purchase_lets_go_of_its_job(sglang, store):
    storage, ledger = store.storage(), Ledger(store.storage())
    first, job_id = await in_doubt(sglang, storage)
    await adopt(at(sglang), first.key, job_id, ledger)
    await ledger.forget(first.key)
    second, _ = await in_doubt(sglang, storage, clip(variant=1))
    await adopt(at(sglang), second.key, job_id, ledger)
