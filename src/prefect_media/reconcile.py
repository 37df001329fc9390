"""What became of a paid request whose reply was lost: the provider's own list of jobs knows."""

from __future__ import annotations

from . import clock
from .errors import InvalidRequest, JobExpired, ProviderUnavailable, RateLimited, SubmissionInDoubt
from .jobs import JobState, VideoJob
from .ledger import Ledger
from .providers import videos
from .providers.client import Connection
from .record import Record
from .terms import Terms

LOOKS = (0.0, 1.0, 3.0)
"""Pauses, in seconds, before each look: a server may list a job a moment after it took it."""

CLOCK_SKEW = 120.0
"""Seconds by which the provider's clock may differ from ours."""

PAGES = 50
"""Pages of 100 jobs looked through at most."""

NO_LIST = "the provider has no list of jobs to look it up in"


async def reconcile(
    connection: Connection, record: Record, ledger: Ledger, terms: Terms, error: SubmissionInDoubt | None = None
) -> VideoJob | None:
    """Find the job that a lost reply was about; None when it is certain enough that there is none.

    Raises:
        errors.SubmissionInDoubt: It can't be known.
        errors.ProviderUnavailable: The provider can't be asked just now; the doubt stays on record.
    """
    why: str | None = None
    for pause in LOOKS:
        await clock.sleep(pause)
        try:
            since = record.created_at.timestamp() - CLOCK_SKEW
            listed = [state async for state in videos.recent(connection, since=since, pages=PAGES)]
        except JobExpired:
            why = NO_LIST
            break
        except InvalidRequest as refusal:
            why = refusal.message.partition(";")[0]
            break
        except (ProviderUnavailable, RateLimited) as away:
            if away.status_code in (200, 501):  # a page of HTML, or "not implemented"
                why = NO_LIST
                break
            raise ProviderUnavailable(
                "an earlier reply was lost, and the provider can't be asked now what it has "
                f"({away.message.partition(';')[0]}); run the same again",
                **{**away.details, "key": record.key},
            ) from away
        alike = [(state, sure) for state in listed if (sure := _matches(state, record)) is not False]
        # Only now: a job that was on the list and is not on record yet belongs to nobody, or to somebody at work.
        others = [other async for other in ledger.purchases() if other.account == record.account] if alike else []
        taken = {job_id for other in others for job_id in other.job_ids}
        found = [state for state, sure in alike if sure and state.id not in taken]
        unsure = [state for state, sure in alike if not sure and state.id not in taken]
        if len(found) > 1:
            why = "several jobs at the provider match"
        elif found and any(_at_work_on_the_same(other, record) for other in others):
            why = "another purchase of the same is being made at this moment"
        elif found:
            terms.logger.info("Found the job of a lost reply: %s", found[0].id)
            return videos.job_of(
                connection, found[0], fingerprint=record.fingerprint, model=record.request.get("model", "")
            )
        elif unsure:
            why = "the provider's list does not say enough about its jobs"
        else:
            why = None
    if why is None:
        return None
    raise SubmissionInDoubt(
        f"it can't be known whether the provider took the job: {why}. "
        'Look at the provider\'s dashboard; pass on_doubt="resubmit" to go on and perhaps pay twice',
        key=record.key,
    ) from error


def _matches(state: JobState, record: Record) -> bool | None:
    """Whether a job at the provider is the one that a purchase asked for; None when the list says too little.

    A wrong "no" buys the job again, so what a server may spell its own way (the model's name, a number) never
    decides alone.
    """
    wanted = record.request
    pairs: list[tuple[object, object]] = [
        (_words(state.prompt), _words(wanted.get("prompt"))),
        (state.size, wanted.get("size")),
        (state.remixed_from, wanted.get("video")),
    ]
    if record.operation != "extend":  # asked for are the seconds to add, listed is the length of the whole
        pairs.append((_number(state.seconds), _number(wanted.get("seconds"))))
    if any(theirs is not None and ours is not None and theirs != ours for theirs, ours in pairs):
        return False
    if state.remixed_from and record.operation == "generate":
        return False
    same_model = state.model in (None, wanted.get("model")) or "model" not in wanted
    return True if same_model and state.prompt is not None else None


def _words(prompt: str | None) -> list[str] | None:
    """A prompt as a server may tell it that trims it or changes its line ends."""
    return None if prompt is None else prompt.split()


def _number(value: object) -> float | None:
    try:
        return float(str(value).removesuffix("s"))
    except ValueError:
        return None


def _at_work_on_the_same(other: Record, record: Record) -> bool:
    """Whether somebody alive is submitting what looks the same at the provider, so that the job may be theirs."""
    if other.key == record.key or other.state != "intent" or not other.lease or other.lease.until < clock.now():
        return False
    told = ("prompt", "model", "size", "seconds", "video")
    return all(other.request.get(name) == record.request.get(name) for name in told)
