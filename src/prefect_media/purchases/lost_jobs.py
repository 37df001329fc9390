"""What became of a paid request whose reply was lost: the provider's own list of jobs knows."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import InvalidRequest, NotFound, ProviderUnavailable, RateLimited, SubmissionInDoubt
from ..jobs import JobState, VideoJob
from ..ledger.claim import Claim
from ..ledger.job_owners import owner_of, take_job
from ..ledger.lease_watch import LeaseWatch
from ..ledger.ledger import Ledger
from ..ledger.record import Record
from ..providers import videos
from ..providers.connection import Connection
from ..providers.server_time import Oldest, server_time
from ..purchase_options import PurchaseOptions
from ..runtime import clock
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
    search = _Search(connection, claim, ledger)
    pauses, taken = list(LOOKS), None
    deadline = clock.monotonic() + min(options.timeout, RIVAL_LEASES * settings().lease_seconds)
    while True:
        await clock.sleep(pauses.pop(0))
        outcome = await search.look()
        if isinstance(outcome, JobState):
            options.logger.info("Found the job of a lost reply: %s", outcome.id)
            record = claim.record
            return videos.job_of(
                connection, outcome, fingerprint=record.fingerprint, model=record.request.get("model", "")
            )
        if taken not in (None, search.taken):
            # One of these may be ours. Then what its taker ordered, perhaps later than we did, is for us to find.
            if clock.monotonic() > deadline:
                raise _in_doubt(claim.record, ledger, _Unclear(TAKEN)) from error
            pauses = list(LOOKS[1:])
        taken = search.taken
        if pauses and not (outcome and outcome.final):
            continue
        if outcome is None:
            return None
        if outcome.look_again is None or clock.monotonic() + outcome.look_again > deadline:
            raise _in_doubt(claim.record, ledger, outcome) from error
        pauses = [outcome.look_again]


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
    """Why a look did not tell.

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


@dataclass(slots=True)
class _Search:
    connection: Connection
    claim: Claim
    ledger: Ledger
    watch: LeaseWatch = field(default_factory=LeaseWatch)
    taken: frozenset[str] = frozenset()
    """Ids of the jobs that look like ours and that others have, as far as the looks so far have seen."""

    async def look(self) -> JobState | _Unclear | None:
        """The job; or why it is unclear which it is; None where there is none."""
        record, missing = self.claim.record, None
        listed: list[JobState] = []
        try:
            async for state in videos.recent(self.connection, since=since(self.connection, self.claim), pages=PAGES):
                listed.append(state)
        except NotFound:
            return _Unclear(NO_LIST, final=True)
        except InvalidRequest as refusal:
            missing = _Unclear(refusal.message.partition(";")[0], final=True)
            if not refusal.details.get("incomplete"):
                return missing
        except (ProviderUnavailable, RateLimited) as away:
            if away.status_code in (200, 501):  # a page of HTML, or "not implemented"
                return _Unclear(NO_LIST, final=True)
            raise ProviderUnavailable(
                "an earlier reply was lost, and the provider can't be asked now what it has "
                f"({away.message.partition(';')[0]}); run the same again",
                **{**away.details, "key": record.key},
            ) from away
        alike = [(state, sure) for state in listed if (sure := matches(state, record)) is not False]
        return await self._choose(alike) or missing if alike else missing

    async def _choose(self, alike: list[tuple[JobState, bool | None]]) -> JobState | _Unclear | None:
        """Which of the jobs that look like ours it is."""
        record, storage = self.claim.record, self.ledger.storage
        # Only now, after the list: a job on it that is not on record belongs to nobody, or to somebody at work.
        others = [other async for other in self.ledger.purchases() if other.account == record.account]
        on_record = {job_id for other in others for job_id in other.job_ids}
        takers = {
            state.id: await owner_of(storage, record, state.id) for state, _ in alike if state.id not in on_record
        }
        for state, _ in alike:
            if takers.get(state.id) == record.key:
                return state  # we died right after we took it
        free = [(state, sure) for state, sure in alike if takers.get(state.id, "") is None]
        sure_ones = [state for state, sure in free if sure]
        candidates = tuple(state.id for state in sure_ones)
        self.taken |= {state.id for state, sure in alike if sure}.difference(candidates)
        if not sure_ones:
            unsure = tuple(state.id for state, _ in free)
            return _Unclear("the provider's list does not say enough about its jobs", unsure) if unsure else None

        rivals = [
            other
            for other in others
            if other.key != record.key
            and other.kind == "video"
            and look_alike(other, record)
            and other.key not in takers.values()
        ]
        if waits := [left for other in rivals if (left := self._at_work(other))]:
            why = "another purchase of the same is being made at this moment"
            return _Unclear(why, candidates, look_again=min(max(waits), settings().lease_seconds / 10))
        doubtful = [each for each in rivals if each.state == "in_doubt" or (each.state == "intent" and _unsure(each))]
        if not all(interchangeable(each, record) for each in doubtful):
            return _Unclear("another purchase that looks the same there is in doubt as well", candidates)
        if len(sure_ones) > 1 + len(doubtful):
            return _Unclear("several jobs at the provider match", candidates)
        for state in sure_ones:
            if await take_job(storage, record, state.id):
                return state
        self.taken = self.taken.union(candidates)
        return None  # all of them were taken by the others at this moment

    def _at_work(self, other: Record) -> float | None:
        """For how many seconds the lease of a purchase whose request may be in the air still has to be watched."""
        if other.state != "intent" or other.lease is None or other.doubtful:
            return None
        left = self.watch.seconds_left(other.key, other.lease)
        return left if left > 0 else None


def _unsure(intent: Record) -> bool:
    """Whether the request of a purchase that is nobody's at work may have been taken: who did it died, or says so."""
    return intent.doubtful or intent.lease is not None


def _in_doubt(record: Record, ledger: Ledger, unclear: _Unclear) -> SubmissionInDoubt:
    named = ", ".join(unclear.candidates[:NAMED])
    more = f" and {len(unclear.candidates) - NAMED} more" if len(unclear.candidates) > NAMED else ""
    which = f"; it may be {named}{more}" if named else ""
    return SubmissionInDoubt(
        f"it can't be known whether the provider took the job: {unclear.why}{which}. Look at the provider's dashboard; "
        f"attach the job with: prefect-media jobs adopt {record.key[:12]} JOB_ID --store {ledger.storage.url}; "
        'or pass on_doubt="resubmit" to go on and perhaps pay twice',
        key=record.key,
        candidates=unclear.candidates,
    )
