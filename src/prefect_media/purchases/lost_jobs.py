"""The job of a paid request whose reply was lost, looked up in the provider's list of jobs."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import InvalidRequest, NotFound, ProviderUnavailable, RateLimited, SubmissionInDoubt
from ..jobs import JobState, VideoJob
from ..ledger.claim import Claim
from ..ledger.job_owners import owner_of, take_job
from ..ledger.lease import LeaseWatch
from ..ledger.ledger import Ledger
from ..ledger.record import Record
from ..providers import videos
from ..providers.connection import Connection
from ..providers.server_time import Oldest, server_time
from ..purchase_options import PurchaseOptions
from ..runtime import clock
from ..runtime.read_ahead import read_ahead
from ..settings import settings
from .likeness import interchangeable, look_alike, matches

LOOKS = (0.0, 1.0, 3.0)
"""Pauses, in seconds, before each look: a server may list a job a moment after it took it."""

SERVERS_OWN_SKEW = 600.0
"""Seconds by which the clocks of a server's own machines may differ: the one that dates its answers, and the one that
dates its jobs."""

PAGES = 50
"""Pages of 100 jobs looked through at most."""

RIVAL_LEASES = 4
"""Lengths of a lease for which a purchase of the same is waited for that is being made at this moment."""

NAMED = 5
"""Candidates that a doubt names in its message; its `candidates` has them all."""

TAKEN = "another purchase of the same took a job that may be this one's"

NO_LIST = "the provider has no list of jobs to look it up in"


async def reconcile(
    connection: Connection,
    claim: Claim,
    ledger: Ledger,
    options: PurchaseOptions,
    error: SubmissionInDoubt | None = None,
) -> VideoJob | None:
    """Find the job that a lost reply was about; None when it is certain enough that there is none.

    Raises:
        errors.SubmissionInDoubt: It can't be known.
        errors.ProviderUnavailable: The provider can't be asked just now; the doubt stays on record.
    """
    deadline = clock.monotonic() + min(options.timeout, RIVAL_LEASES * settings().lease_seconds)
    outcome = await _Search(connection, claim, ledger).look_until_clear(deadline)
    if isinstance(outcome, _Unclear):
        raise _in_doubt(claim.record, ledger, outcome) from error
    if outcome is None:
        return None
    options.logger.info("Adopted the job of a lost reply: %s", outcome.id)
    record = claim.record
    return videos.job_of(connection, outcome, fingerprint=record.fingerprint, model=record.request.get("model", ""))


def since(connection: Connection, claim: Claim) -> Oldest:
    """The moment, by the server's own clock, before which it can't have taken what a claim is in doubt about.

    None where nobody knows it: the process died before the server had told its time. Then the whole list counts.
    """

    def oldest() -> float | None:
        if not claim.inherited:
            claim.note_server_time(server_time(connection.base_url, claim.made))
        known, now = claim.record.server_time, server_time(connection.base_url)
        if known is None or now is None or known > now + SERVERS_OWN_SKEW:  # its clock was set back meanwhile
            return None
        return known - SERVERS_OWN_SKEW

    return oldest


@dataclass(frozen=True, slots=True)
class _Unclear:
    """Why a look did not tell which job it is.

    Attributes:
        why: In words.
        candidates: Ids of the jobs that it may be.
        look_again: Seconds after which another look may tell more; None where none will.
        final: Whether no other look of the first ones will tell more either.
    """

    why: str
    candidates: tuple[str, ...] = ()
    look_again: float | None = None
    final: bool = False

    def pauses(self, deadline: float) -> list[float]:
        """The pause before another look, if one may tell more and comes in time."""
        if self.look_again is None or clock.monotonic() + self.look_again > deadline:
            return []
        return [self.look_again]


@dataclass(slots=True)
class _Search:
    """A search in the list of the provider. A look returns the job, why it is unclear, or None where there is none."""

    connection: Connection
    claim: Claim
    ledger: Ledger
    watch: LeaseWatch = field(default_factory=LeaseWatch)
    taken: frozenset[str] = frozenset()
    """Ids of the jobs that look like ours and that others have, as far as the looks so far have seen."""

    async def look_until_clear(self, deadline: float) -> JobState | _Unclear | None:
        """Look several times, and again as long as another look may tell more; what the last look returned."""
        outcome: JobState | _Unclear | None = None
        pauses, taken = list(LOOKS), None
        while pauses:
            await clock.sleep(pauses.pop(0))
            outcome = await self.look()
            if isinstance(outcome, JobState):
                return outcome
            if taken not in (None, self.taken):
                # One of these may be ours. Then what its taker ordered, perhaps later than we did, is for us to find.
                if clock.monotonic() > deadline:
                    return _Unclear(TAKEN)
                pauses = list(LOOKS[1:])
            taken = self.taken
            if outcome and (outcome.final or not pauses):
                pauses = outcome.pauses(deadline)
        return outcome

    async def look(self) -> JobState | _Unclear | None:
        """Look once."""
        jobs, gap = await self._list()
        alike = [job for job in jobs if matches(job, self.claim.record) is not False]
        return (await self._choose(alike) if alike else None) or gap

    async def _list(self) -> tuple[list[JobState], _Unclear | None]:
        """The recent jobs at the provider, and why there may be others that are not listed."""
        jobs: list[JobState] = []
        try:
            async for job in videos.recent(self.connection, since=since(self.connection, self.claim), pages=PAGES):
                jobs.append(job)
        except NotFound:
            return [], _Unclear(NO_LIST, final=True)
        except InvalidRequest as refusal:
            gap = _Unclear(refusal.message.partition(";")[0], final=True)
            return jobs if refusal.details.get("incomplete") else [], gap
        except (ProviderUnavailable, RateLimited) as away:
            if away.status_code in (200, 501):  # a page of HTML, or "not implemented"
                return [], _Unclear(NO_LIST, final=True)
            raise ProviderUnavailable(
                "an earlier reply was lost, and the provider can't be asked now what it has "
                f"({away.message.partition(';')[0]}); run the same again",
                **{**away.details, "key": self.claim.record.key},
            ) from away
        return jobs, None

    async def _choose(self, alike: list[JobState]) -> JobState | _Unclear | None:
        """Which of the jobs that look like ours it is."""
        record, storage = self.claim.record, self.ledger.storage
        # Only now, after the list: a job on it that is not on record belongs to nobody, or to somebody at work.
        others = await self.ledger.purchases_with_prompt_of(record)
        on_record = {job_id for other in (*others, record) for job_id in other.job_ids}
        jobs = [job for job in alike if job.id not in on_record]
        owning = read_ahead(lambda job: owner_of(storage, record, job.id), jobs)
        owners = dict(zip((job.id for job in jobs), [owner async for owner in owning], strict=True))
        for job in jobs:
            if owners[job.id] == record.key:
                return job  # we died right after we took it
        free = [job for job in jobs if owners[job.id] is None]
        certain = [job for job in free if matches(job, record)]
        self.taken |= {job.id for job in alike if matches(job, record)}.difference(job.id for job in certain)
        if not certain:
            return _too_vague(free)
        rivals = [other for other in others if _is_rival(other, record) and other.key not in owners.values()]
        return self._obstacle(rivals, certain) or await self._take_one(certain)

    def _obstacle(self, rivals: list[Record], jobs: list[JobState]) -> _Unclear | None:
        """Why none of the jobs may be taken: other purchases that look the same may have made them."""
        record, candidates = self.claim.record, tuple(job.id for job in jobs)
        if waits := [left for rival in rivals if (left := self._at_work(rival))]:
            why = "another purchase of the same is being made at this moment"
            return _Unclear(why, candidates, look_again=min(max(waits), settings().lease_seconds / 10))
        doubtful = [rival for rival in rivals if _is_doubtful(rival)]
        if not all(interchangeable(rival, record) for rival in doubtful):
            return _Unclear("another purchase that looks the same there is in doubt as well", candidates)
        if len(jobs) > 1 + len(doubtful):
            return _Unclear("several jobs at the provider match", candidates)
        return None

    def _at_work(self, other: Record) -> float | None:
        """For how many seconds the lease of a purchase whose request may be in the air still has to be watched."""
        if other.state != "intent" or other.lease is None or other.doubtful:
            return None
        left = self.watch.seconds_left(other.key, other.lease)
        return left if left > 0 else None

    async def _take_one(self, jobs: list[JobState]) -> JobState | None:
        """The first of the jobs that nobody else takes at this moment."""
        for job in jobs:
            if await take_job(self.ledger.storage, self.claim.record, job.id):
                return job
        self.taken |= {job.id for job in jobs}
        return None


def _too_vague(jobs: list[JobState]) -> _Unclear | None:
    """Jobs that may be ours, of which the list says too little; None if there are none."""
    candidates = tuple(job.id for job in jobs)
    return _Unclear("the provider's list does not say enough about its jobs", candidates) if candidates else None


def _is_rival(other: Record, record: Record) -> bool:
    """Whether the job of another purchase would look the same on the list."""
    return other.key != record.key and other.kind == "video" and look_alike(other, record)


def _is_doubtful(other: Record) -> bool:
    """Whether the request of a purchase that nobody is at work on may have been taken: who sent it died, or says so."""
    return other.state == "in_doubt" or (other.state == "intent" and (other.doubtful or other.lease is not None))


def _in_doubt(record: Record, ledger: Ledger, unclear: _Unclear) -> SubmissionInDoubt:
    ids = ", ".join(unclear.candidates[:NAMED])
    more = f" and {len(unclear.candidates) - NAMED} more" if len(unclear.candidates) > NAMED else ""
    which = f"; it may be {ids}{more}" if ids else ""
    return SubmissionInDoubt(
        f"it can't be known whether the provider took the job: {unclear.why}{which}; look at the provider's dashboard; "
        f"attach the job with: prefect-media jobs adopt {record.key[:12]} JOB_ID --store {ledger.storage.url}; "
        'or pass on_doubt="resubmit" to go on and perhaps pay twice',
        key=record.key,
        candidates=unclear.candidates,
    )
