"""Which job of the provider's list is the one whose reply was lost; nothing is guessed."""

from __future__ import annotations

import pytest
from buyer import clip, connection, terms
from lost_replies import LIST, SUBMIT, other_job, the_record

from prefect_media.errors import SubmissionInDoubt
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault

pytestmark = pytest.mark.usefixtures("short_pauses")


async def test_jobs_on_record_are_not_adopted(simulator, storage):
    """The same request in another scope: its job is on record there, so the lost reply was about the other one."""
    first = await buy_video(connection(simulator), clip(), storage, terms("a"))
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    second = await buy_video(connection(simulator), clip(), storage, terms("b"))
    assert first.source.job_id != second.source.job_id
    assert [job.id for job in simulator.jobs] == [first.source.job_id, second.source.job_id]


async def test_a_job_that_failed_before_is_not_adopted(simulator, storage):
    """retry_failed=True with a lost reply: the job that failed is not what the reply was about."""
    with pytest.raises(Exception, match="failed"):
        await buy_video(connection(simulator), clip("explode"), storage, terms())
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    with pytest.raises(Exception, match="failed") as caught:
        await buy_video(connection(simulator), clip("explode"), storage, terms(retry_failed=True))
    assert [job.id for job in simulator.jobs][1:] == [caught.value.job_id]
    record = await the_record(storage)
    assert set(record.job_ids) == {job.id for job in simulator.jobs}


async def test_several_jobs_that_match_are_a_doubt(simulator, storage):
    """Two jobs that nobody has on record: taking either would be a guess."""
    await other_job(simulator)
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    with pytest.raises(SubmissionInDoubt, match="several jobs"):
        await buy_video(connection(simulator), clip(), storage, terms())
    assert len(simulator.jobs) == 2
    assert (await the_record(storage)).state == "in_doubt"


@pytest.mark.parametrize("fields", [{"seconds": 2}, {"size": "72x64"}, {"prompt": "a paper crane"}])
async def test_jobs_that_differ_are_not_adopted(fields, simulator, storage):
    """Other jobs of the account are told apart by all that the list says."""
    other = await other_job(simulator, **fields)
    simulator.faults.append(Fault(*SUBMIT, "lose_reply"))
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [job.id for job in simulator.jobs] == [other.id, asset.source.job_id]


def listed(job, **changes):
    row = {name: value for name, value in {**job.resource(), **changes}.items() if value is not ...}
    return {"object": "list", "data": [row], "has_more": False}


@pytest.mark.parametrize("changes", [{"prompt": ...}, {"prompt": None}, {"model": "gateway/boats-1"}])
async def test_a_list_that_says_too_little_is_a_doubt(changes, simulator, storage):
    """A gateway whose list leaves out prompts, or renames models: a job that may be ours is not bought again."""
    fault = Fault(*SUBMIT, "lose_reply")
    fault.after_accept = lambda: simulator.faults.append(
        Fault(*LIST, "answer", times=None, status=200, body=listed(simulator.jobs[0], **changes))
    )
    simulator.faults.append(fault)
    with pytest.raises(SubmissionInDoubt, match="does not say enough"):
        await buy_video(connection(simulator), clip(), storage, terms())
    assert len(simulator.jobs) == 1


@pytest.mark.parametrize("changes", [{"seconds": 1}, {"seconds": "1.0"}, {"size": None}, {"model": None}])
async def test_a_list_that_spells_things_its_own_way_is_understood(changes, simulator, storage):
    """Numbers as text or not, fields left out: the job is adopted all the same."""
    fault = Fault(*SUBMIT, "lose_reply")
    fault.after_accept = lambda: simulator.faults.append(
        Fault(*LIST, "answer", times=None, status=200, body=listed(simulator.jobs[0], **changes))
    )
    simulator.faults.append(fault)
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert [job.id for job in simulator.jobs] == [asset.source.job_id]


async def test_a_job_behind_a_hundred_others_is_found(simulator, storage):
    """The list comes in pages of a hundred; the job lies on the second."""

    def a_hundred_more() -> None:
        for number in range(120):
            simulator.jobs.append(
                type(mine := simulator.jobs[0])(
                    **{
                        **{name: getattr(mine, name) for name in ("operation", "model", "size", "seconds", "film")},
                        "prompt": f"boat {number}",
                        "latency": 0.05,
                        "expires_in": 60.0,
                    }
                )
            )

    simulator.faults.append(Fault(*SUBMIT, "lose_reply", after_accept=a_hundred_more))
    asset = await buy_video(connection(simulator), clip(), storage, terms())
    assert asset.source.job_id == simulator.jobs[0].id
    assert len([job for job in simulator.jobs if job.prompt == "a paper boat"]) == 1
    assert len([request for request in simulator.requests if "after=" in request.path]) == 1
