"""A job of the provider, attached by hand to a purchase whose reply was lost.

For servers whose list can't tell which job is whose, and for a person who knows.
"""

from __future__ import annotations

from ..errors import InvalidRequest, NotFound
from ..jobs import JobState, VideoJob
from ..ledger.claim import Claim
from ..ledger.job_owners import owner_of, take_job
from ..ledger.ledger import Ledger
from ..ledger.record import Record
from ..providers import videos
from ..providers.connection import Connection
from .likeness import differences


async def adopt(connection: Connection, key: str, job_id: str, ledger: Ledger) -> VideoJob:
    """Attach a job to a purchase, so that the next run or `jobs resume` fetches it. Buys nothing.

    Raises:
        errors.InvalidRequest: The purchase needs no job, the job is not what it asked for, or another purchase has it.
        errors.MediaError: The server can't be asked, or the ledger not be written.
    """
    record = await _without_a_job(ledger, key)
    if connection.account != record.account:
        raise InvalidRequest(
            f"the purchase {record.key[:12]} was made at {record.account.get('host')} (organization "
            f"{record.account.get('organization')}, project {record.account.get('project')}); pass the credentials it "
            "was made with",
            key=record.key,
        )
    state = await _look(connection, job_id)
    if wrong := _mistakes(state, record):
        raise InvalidRequest(
            f"job {job_id} is not what {record.key[:12]} asked for: {'; '.join(wrong)}; pass the id of another job",
            key=record.key,
            job_id=job_id,
        )
    claim = await _claim(record, ledger)
    try:
        for other in await ledger.purchases_with_prompt_of(record):
            if job_id in other.job_ids:
                raise _taken_error(job_id, record, other.key)
        if not await take_job(ledger.storage, record, job_id, even_forgotten=True):
            raise _taken_error(job_id, record, await owner_of(ledger.storage, record, job_id))
        job = videos.job_of(
            connection, state, fingerprint=record.fingerprint, model=record.request.get("model", "")
        ).model_copy(update={"purchase": record.key})
        await ledger.move(claim, state="submitted", job=job)
    except BaseException:
        if claim.ours:
            await ledger.move(claim, state="in_doubt" if claim.record.doubtful else "intent")
        raise
    return job


async def _without_a_job(ledger: Ledger, key: str) -> Record:
    entry = await ledger.get(key)
    if entry is None:
        raise InvalidRequest(f"there is no purchase {key} on the ledger of {ledger.storage.url}")
    record = entry[0]
    if record.kind != "video":
        raise InvalidRequest(f"the purchase {key[:12]} is not a video; only videos are jobs", key=key)
    if record.state not in ("in_doubt", "intent"):
        own = record.job_ids[0] if record.job_ids else None
        raise InvalidRequest(
            f"the purchase {key[:12]} is {record.state}{f' with job {own}' if own else ''}; only one in doubt, or one "
            "that was never submitted, can be given a job",
            key=key,
        )
    return record


async def _look(connection: Connection, job_id: str) -> JobState:
    try:
        state = await videos.look(connection, job_id)
    except NotFound as error:
        raise InvalidRequest(
            f"{connection.host}: job {job_id} not found; check the id, and that the credentials are of its account",
            job_id=job_id,
        ) from error
    if state.id != job_id:
        raise InvalidRequest(
            f"{connection.host} was asked for the job {job_id} and answered with {state.id!r}; pass the id as the "
            "server writes it",
            job_id=job_id,
        )
    return state


def _mistakes(state: JobState, record: Record) -> list[str]:
    """What speaks against a job, as far as the server tells."""
    wrong = differences(state, record)
    ordered = record.request.get("model")
    # A gateway may put its own name before the model's.
    if state.model and ordered and state.model.rpartition("/")[2] != str(ordered).rpartition("/")[2]:
        wrong.append(f"its model is {state.model!r}, not {ordered!r}")
    if state.remixed_from and record.operation == "generate":
        wrong.append(f"it is a remix of {state.remixed_from}")
    if state.phase == "failed":
        wrong.append(f"it is {state.status}")
    return wrong


async def _claim(record: Record, ledger: Ledger) -> Claim:
    """The purchase, ours to move on; somebody alive who is submitting it is waited for."""
    claim = await ledger.claim(record)
    if claim.record.state == "in_doubt":
        claim = await ledger.take_doubt(claim) or claim
    if not claim.ours:
        raise InvalidRequest(
            f"the purchase {record.key[:12]} is {claim.record.state} by now; see prefect-media jobs show",
            key=record.key,
        )
    return claim


def _taken_error(job_id: str, record: Record, other: str | None) -> InvalidRequest:
    return InvalidRequest(
        f"job {job_id} belongs to {f'the purchase {other[:12]}' if other else 'another purchase'}; "
        "pass the id of a job that no purchase has",
        key=record.key,
        job_id=job_id,
    )
