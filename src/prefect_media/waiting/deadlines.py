"""How long a job is waited for, and what each look at it means: go on, done, failed or too late. No input or output."""

from dataclasses import dataclass
from typing import Any, Literal

from ..cleaning import quote_provider
from ..errors import (
    ContentRejected,
    JobExpired,
    JobFailed,
    JobTimedOut,
    MediaError,
    NotFound,
    ProviderUnavailable,
    RateLimited,
)
from ..figures import LEAST_PAUSE, amount
from ..jobs import KNOWN, JobState, expiry_error


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to put up with what; all in seconds but `poll_errors`."""

    timeout: float
    """From the beginning of the wait to its end, the queue included."""
    queue_timeout: float | None = None
    """From the beginning of the wait to the first sign that the provider works on the job."""
    stall: float = 600.0
    """Without any change until a warning is given."""
    poll_errors: int = 10
    """Failed looks in a row until watching is given up for now."""
    unknown: float = 20.0
    """From the beginning of the wait, during which a server need not know its own job yet; the clock that says when the
    job was submitted may be another one."""


UNKNOWN_LOOKS = 3
"""Looks in a row that must say that there is no such job: a balanced server's newest replica may not know it yet."""


LONGEST_AFTER_ERROR = 15.0
"""Longest pause after a failed look, in seconds."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The job is to be looked at again; times on the clock that the `Watch` was given."""

    not_before: float
    """What the server asked for, or what a failed look makes wise."""
    not_after: float
    """When the deadline is decided. Always goes before `not_before`: a paid job gets its last look."""


@dataclass(frozen=True, slots=True)
class Done:
    """The job is done; its content can be fetched."""

    state: JobState


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about a job that a person may want to know; the wait goes on."""

    kind: Literal["stalled", "unknown_status"]
    text: str
    seconds: float = 0.0
    """How long there was no change, of a job that stalled."""


Verdict = LookAgain | Done | MediaError
"""What to do after a look; an error is to be raised."""


class Watch:
    """The wait for one job: takes what looks at it brought, and says what to do then.

    Args:
        job_id: The provider's id of the job.
        patience: How long to put up with what.
        now: When the wait begins, in seconds on any clock that never goes back.
    """

    def __init__(self, job_id: str, patience: Patience, *, now: float) -> None:
        self.job_id = job_id
        self.deadline = now + patience.timeout
        self.state: JobState | None = None
        self.notices: list[Notice] = []
        """What was noticed so far; whoever tells people about it takes it out."""
        self._patience = patience
        self._began = now
        self._misses = 0
        self._refused = 0
        self._unknown = 0
        self._changed = now
        self._stalled = False
        self._words: set[str] = set()
        self._timeline: list[tuple[float, str]] = []

    def judge(self, state: JobState, now: float) -> Verdict:
        """What a good answer means."""
        self._misses = self._refused = self._unknown = 0
        self._note(state, now)
        if state.phase == "done":
            return Done(state)
        if state.phase == "failed":
            return failure_error(self.job_id, state)
        return self._look_again(now, now + (amount(state.look_again_after) or 0.0))

    def judge_error(self, error: MediaError, now: float) -> Verdict:
        """What a failed look means: mostly nothing, because a look that failed says little about the job."""
        if isinstance(error, NotFound):
            self._unknown += 1
            if self._unknown >= UNKNOWN_LOOKS and now - self._began > self._patience.unknown:
                return expiry_error(self.job_id, error)
            return self._look_again(now, now + _pause_after(self._unknown))
        self._unknown = 0
        if not isinstance(error, ProviderUnavailable | RateLimited):
            return self._with_job_id(error)
        if isinstance(error, RateLimited):
            self._refused += 1  # a server that says so is well, and so may the job be: only the deadline ends that
        else:
            self._misses += 1
        if self._misses >= self._patience.poll_errors:
            return self._with_job_id(error)
        pause = _pause_after(self._misses + self._refused)
        if (retry_after := amount(error.retry_after)) is not None:
            pause = max(pause, retry_after, LEAST_PAUSE)
        return self._look_again(now, now + pause)

    def overdue(self) -> JobTimedOut:
        """The error of a wait that ran out, be it while a look was on its way."""
        status = self.state.status if self.state else "unknown"
        return self._timed_out(f"was not done after {self._patience.timeout:g} s (it is {status})")

    def _look_again(self, now: float, not_before: float) -> LookAgain | JobTimedOut:
        queued = self.state is not None and self.state.phase == "waiting"
        queue = self._patience.queue_timeout if queued else None
        if now >= self.deadline:
            return self.overdue()
        if queue is not None and now - self._began >= queue:
            return self._timed_out(f"was still waiting in the provider's queue after {queue:g} s")
        not_after = self.deadline if queue is None else min(self.deadline, self._began + queue)
        return LookAgain(not_before=min(not_before, not_after), not_after=not_after)

    def _note(self, state: JobState, now: float) -> None:
        before, self.state = self.state, state
        if before is None or before.status != state.status:
            self._timeline.append((round(now - self._began, 3), state.status))
        word = state.status.lower()
        if word not in KNOWN and word not in self._words:
            self._words.add(word)
            text = f"job {self.job_id} has an unknown status, {state.status!r}; it counts as running"
            self.notices.append(Notice("unknown_status", text))
        if before is None or (before.status, before.progress) != (state.status, state.progress):
            self._changed, self._stalled = now, False
        elif not self._stalled and now - self._changed >= self._patience.stall:
            self._stalled = True
            at = f" at {state.progress:g} %" if state.progress is not None else ""
            still = now - self._changed
            left = f"it is given up in {max(0.0, self.deadline - now) / 60:.0f} min"
            text = f"job {self.job_id} is {state.status}{at} for {still / 60:.0f} min; {left}"
            self.notices.append(Notice("stalled", text, still))

    def _timed_out(self, what: str) -> JobTimedOut:
        return JobTimedOut(
            f"job {self.job_id} {what}; "
            "it is billed and may still finish: run the same again, or prefect-media jobs resume (with --store, "
            "where it is not the default one)",
            job_id=self.job_id,
            timeline=tuple(self._timeline),
        )

    def _with_job_id(self, error: MediaError) -> MediaError:
        error.job_id = error.details["job_id"] = self.job_id
        return error


def failure_error(job_id: str, state: JobState) -> JobFailed | ContentRejected:
    """The error of a job that the provider gave up on.

    Args:
        job_id: The provider's id of the job.
        state: The look that showed it, whose phase is "failed".
    """
    reason = state.error_message or f"{state.status!r} and nothing else"
    about: dict[str, Any] = {"job_id": job_id, "code": state.error_code, "provider_message": state.error_message}
    billed, words = "", quote_provider(reason)
    if state.cost_usd is not None:
        about["billed"] = state.cost_usd > 0
        billed = f" (billed {state.cost_usd:g} USD)" if about["billed"] else " (not billed)"
    if (state.error_code and "moderation" in state.error_code) or state.error_code == "content_policy_violation":
        stopped = f"job {job_id} was stopped by moderation{billed}; change the prompt{words}"
        return ContentRejected(stopped, stage="output", **about)
    if state.status.lower() == "expired":
        return JobExpired(
            f"job {job_id} expired at the provider{billed}; pass retry_failed=True to buy it again{words}", **about
        )
    return JobFailed(f"job {job_id} failed{billed}; pass retry_failed=True to buy it again{words}", **about)


def _pause_after(failures: int) -> float:
    """Seconds after the nth failure in a row: a blip is over at once, a restart takes a minute."""
    return min(0.25 * 2 ** min(failures - 1, 10), LONGEST_AFTER_ERROR)
