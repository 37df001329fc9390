"""Reading jobs as loosely as servers write them, and the pace of looking at them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_media.errors import (
    AuthenticationFailed,
    ContentRejected,
    JobExpired,
    JobFailed,
    JobTimedOut,
    MediaError,
    NotFound,
    ProviderUnavailable,
    RateLimited,
)
from prefect_media.jobs import KNOWN, JobState, VideoJob
from prefect_media.ledger.record import Failure, error_of, failure_of
from prefect_media.waiting.deadlines import UNKNOWN_LOOKS, Done, LookAgain, Patience, Watch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["progress", "error", "model", "prompt", "size", "seconds", "created_at", "remixed_from_video_id"]


@pytest.mark.parametrize(
    ("word", "phase"),
    [
        *[(word, "waiting") for word in ("queued", "pending", "NOT_START", "submitted")],
        *[(word, "running") for word in ("in_progress", "processing", "cancelling", "thinking about it")],
        *[(word, "done") for word in ("completed", "SUCCESS", "succeeded", "finished")],
        *[(word, "failed") for word in ("failed", "error", "cancelled", "canceled", "expired", "deleted")],
    ],
)
def test_every_word_that_servers_use(word, phase):
    assert JobState.parse({"id": "v", "status": word}).phase == phase


@given(st.text(min_size=1))
def test_a_word_nobody_knows_is_never_the_end(word):
    state = JobState(id="v", status=word)
    assert word.lower() in KNOWN or state.phase == "running"


@given(JSON)
def test_any_json_is_read_or_is_no_job(body):
    state = JobState.parse(body)
    assert state is None or isinstance(state.status, str)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_a_job_is_read_whatever_its_other_fields_are(fields):
    state = JobState.parse({"id": "v", "status": "queued", **fields})
    assert state.id == "v"
    assert state.phase == "waiting"


@pytest.mark.parametrize(
    ("told", "per_cent"),
    [
        *[(45, 45), (45.5, 45.5), ("45%", 45), (" 45 ", 45), (0.45, 45), (1, 1), (1.0, 1), ("0.5", 0.5), (0, 0)],
        *[(100, 100), (250, 100), (-1, 0), (True, None), ("half", None), ("nan", None), (None, None), ([50], None)],
        *[(float("nan"), None), (float("inf"), None), (10**400, None)],
    ],
)
def test_progress_however_it_is_told(told, per_cent):
    assert JobState.parse({"id": "v", "status": "queued", "progress": told}).progress == per_cent


@given(JSON | st.floats() | st.integers().map(lambda digits: digits * 10**300))
def test_progress_is_a_share_of_a_hundred_or_nothing(told):
    state = JobState.parse({"id": "v", "status": "queued", "progress": told, "created_at": told, "cost_usd": told})
    assert state.progress is None or 0 <= state.progress <= 100
    assert state.created_at is None or math.isfinite(state.created_at)


@given(st.lists(st.floats(0, 1), min_size=2))
def test_a_fraction_that_grows_is_progress_that_grows(told):
    states = [JobState.parse({"id": "v", "status": "running", "progress": share}) for share in sorted(told)]
    shares = [state.progress for state in states if state.progress not in (0, 1)]  # 1.0 may be the whole or a hundredth
    assert shares == sorted(shares)


def test_the_forms_of_an_error():
    def read(error):
        state = JobState.parse({"id": "v", "status": "failed", "error": error})
        return state.error_code, state.error_message

    assert read({"code": "moderation_blocked", "message": "no"}) == ("moderation_blocked", "no")
    assert read({"code": 500, "message": "out of memory"}) == ("500", "out of memory")
    assert read({"message": "boom"}) == (None, "boom")
    assert read("boom") == (None, "boom")
    assert read(None) == (None, None)


def test_milliseconds_are_not_taken_for_seconds():
    assert JobState.parse({"id": "v", "status": "queued", "created_at": 1_790_000_000_000}).created_at == 1_790_000_000
    assert JobState.parse({"id": "v", "status": "queued", "created_at": 1_790_000_000}).created_at == 1_790_000_000


def test_a_job_is_rebuilt_from_its_json_alone():
    job = VideoJob(
        provider="azure",
        base_url="https://me.openai.azure.com/openai/v1",
        api_version="preview",
        dialect="openai",
        model="films",
        id="video_1",
        fingerprint="f",
        submitted_at="2026-11-22T00:00:00Z",
    )
    assert VideoJob.model_validate_json(job.model_dump_json()) == job


# The wait for one job, driven as a server would drive it.

MEANT = {"done": Done, "failed": JobFailed}
HINTS = st.none() | st.floats(0, 1e3) | st.sampled_from([math.nan, math.inf, -1.0])
LOOKS = st.builds(
    JobState,
    id=st.just("v"),
    status=st.sampled_from(sorted(KNOWN)) | st.text(max_size=8),
    progress=st.none() | st.floats(allow_nan=True),
    error_code=st.none() | st.sampled_from(["moderation_blocked", "server_error"]),
    look_again_after=HINTS,
)
BLIPS = st.one_of(
    st.builds(lambda wait: ProviderUnavailable("away", retry_after=wait), HINTS),
    st.builds(lambda wait: RateLimited("too many", retry_after=wait), HINTS),
    st.just("404").map(lambda said: NotFound(said)),
)
PATIENCE = st.builds(
    Patience,
    timeout=st.floats(0.01, 1e4),
    queue_timeout=st.none() | st.floats(0.01, 1e4),
    stall=st.floats(1, 1e3),
    poll_errors=st.integers(1, 12),
)


def seen(status, progress=None, **fields):
    return JobState(id="v", status=status, progress=progress, **fields)


@given(PATIENCE, st.lists(st.tuples(LOOKS | BLIPS, st.floats(0, 1)), max_size=60))
def test_no_sequence_of_answers_ends_a_wait_early_or_hangs_it_or_calls_a_failed_job_done(patience, answers):
    now, began = 1000.0, 1000.0
    wait = Watch("v", patience, now=now)
    misses = unknowns = 0
    for answer, late in answers:
        if isinstance(answer, JobState):
            misses, unknowns = 0, 0
            verdict = wait.judge(answer, now)
        else:
            misses += isinstance(answer, ProviderUnavailable)
            unknowns = unknowns + 1 if isinstance(answer, NotFound) else 0
            verdict = wait.judge_error(answer, now)
        phase = answer.phase if isinstance(answer, JobState) else None
        assert isinstance(verdict, Done) == (phase == "done"), "done is what the server calls done, and nothing else"
        if phase == "failed":
            assert isinstance(verdict, JobFailed | ContentRejected)
        if isinstance(verdict, LookAgain):
            assert now < wait.deadline, "no wait goes on past its deadline"
            assert verdict.not_before <= verdict.not_after <= wait.deadline
            assert verdict.not_after >= now
            # A look is asked for anywhere between the two, and takes no time.
            now = max(now, verdict.not_before + (verdict.not_after - verdict.not_before) * late)
            continue
        if isinstance(verdict, JobTimedOut):
            queued = patience.queue_timeout is not None and wait.state and wait.state.phase == "waiting"
            assert now >= wait.deadline or (queued and now - began >= patience.queue_timeout)
        elif isinstance(verdict, JobExpired) and phase is None:
            assert unknowns >= UNKNOWN_LOOKS
            assert now - began > patience.unknown
        elif isinstance(verdict, MediaError) and phase is None:
            assert misses >= patience.poll_errors
        return


@given(PATIENCE, st.lists(BLIPS | LOOKS.filter(lambda state: state.phase == "running"), max_size=200))
def test_a_wait_that_looks_when_it_is_told_to_ends_in_time(patience, answers):
    """Whatever a server says and however long it asks to be left alone."""
    wait, now = Watch("v", patience, now=0.0), 0.0
    for answer in answers:
        verdict = wait.judge(answer, now) if isinstance(answer, JobState) else wait.judge_error(answer, now)
        if not isinstance(verdict, LookAgain):
            return
        now = verdict.not_after
    assert not answers or isinstance(wait.judge(seen("running"), now), JobTimedOut)


def test_one_failed_look_is_a_blip_and_many_are_not():
    wait = Watch("v", Patience(600, poll_errors=3), now=0.0)
    away = ProviderUnavailable("away")
    for now in (1.0, 2.0):
        assert isinstance(wait.judge_error(away, now), LookAgain)
    assert isinstance(wait.judge(seen("running"), 3.0), LookAgain), "a good answer makes all forgotten"
    for now in (4.0, 5.0):
        assert isinstance(wait.judge_error(away, now), LookAgain)
    assert wait.judge_error(away, 6.0) is away
    assert (away.job_id, away.details["job_id"]) == ("v", "v")


def test_looks_get_rarer_while_the_server_is_away():
    wait = Watch("v", Patience(6000), now=0.0)
    pauses = [wait.judge_error(ProviderUnavailable("away"), 0.0).not_before for _ in range(9)]
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 15, 15, 15]
    assert isinstance(wait.judge_error(ProviderUnavailable("away"), 0.0), ProviderUnavailable)


def test_a_server_that_says_when_is_asked_then():
    wait = Watch("v", Patience(600, poll_errors=3), now=0.0)
    for _ in range(10):
        assert wait.judge_error(RateLimited("too many", retry_after=40), 100.0) == LookAgain(140.0, 600.0)
    assert wait.judge_error(ProviderUnavailable("busy", retry_after=30), 100.0) == LookAgain(130.0, 600.0)
    assert wait.judge(seen("running", look_again_after=7), 100.0) == LookAgain(107.0, 600.0)
    assert wait.judge_error(RateLimited("too many", retry_after=9000), 100.0) == LookAgain(600.0, 600.0)


def test_a_refusal_of_the_key_is_told_at_once():
    error = AuthenticationFailed("no")
    assert Watch("v", Patience(600), now=0.0).judge_error(error, 1.0) is error


def test_a_job_that_the_server_does_not_know_yet_is_waited_for_and_one_that_is_gone_is_not():
    """By how long this wait has seen it so: when it was submitted, another machine's clock says."""
    unknown, wait = NotFound("404"), Watch("v", Patience(600), now=0.0)
    for now in (0.0, 5.0, 10.0, 20.0):
        assert isinstance(wait.judge_error(unknown, now), LookAgain)
    assert isinstance(wait.judge_error(unknown, 20.1), JobExpired)


def test_only_looks_in_a_row_say_that_a_job_is_gone():
    """It was not known at first; then the server was away for long, and its first answer is one of a stale replica."""
    unknown, wait = NotFound("404"), Watch("v", Patience(600), now=0.0)
    for now, error in ((0.0, unknown), (1.0, unknown), (5.0, ProviderUnavailable("503")), (79.0, unknown)):
        assert isinstance(wait.judge_error(error, now), LookAgain)
    assert isinstance(wait.judge_error(RateLimited("429"), 80.0), LookAgain)
    for now in (81.0, 82.0):
        assert isinstance(wait.judge_error(unknown, now), LookAgain)
    assert isinstance(wait.judge_error(unknown, 83.0), JobExpired)


def test_time_in_the_queue_has_a_limit_of_its_own():
    def wait():
        return Watch("v", Patience(600, queue_timeout=60), now=0.0)

    assert wait().judge(seen("queued"), 10.0) == LookAgain(10.0, 60.0)
    assert wait().judge(seen("in_progress"), 100.0) == LookAgain(100.0, 600.0)
    assert isinstance(wait().judge_error(ProviderUnavailable("away"), 100.0), LookAgain), (
        "nobody knows that it is queued"
    )
    stuck = wait()
    stuck.judge(seen("queued"), 10.0)
    error = stuck.judge(seen("queued"), 60.0)
    assert isinstance(error, JobTimedOut)
    assert "queue after 60 s" in str(error)
    assert isinstance(wait().judge(seen("completed"), 70.0), Done), "whatever it took"


def test_a_timeout_tells_what_happened_when():
    wait = Watch("v", Patience(600), now=1000.0)
    for status, now in (("queued", 1001), ("queued", 1010), ("in_progress", 1030.5), ("in_progress", 1599)):
        wait.judge(seen(status), now)
    error = wait.judge(seen("in_progress"), 1600)
    assert error.timeline == ((1, "queued"), (30.5, "in_progress"))
    assert "600 s (it is in_progress)" in str(error)
    assert "billed" in str(error)


def test_a_job_that_stands_still_is_told_of_once_until_it_moves():
    wait = Watch("v", Patience(7200, stall=600), now=0.0)
    for now in range(0, 1800, 100):
        wait.judge(seen("in_progress", 99), float(now))
    [notice] = wait.notices
    assert notice.kind == "stalled"
    assert "in_progress at 99 % for 10 min" in notice.text
    wait.judge(seen("in_progress", 99.5), 1800.0)
    wait.judge(seen("in_progress", 99.5), 2300.0)
    assert len(wait.notices) == 1
    wait.judge(seen("in_progress", 99.5), 2400.0)
    assert len(wait.notices) == 2


def test_a_status_nobody_knows_is_told_of_once():
    wait = Watch("v", Patience(600), now=0.0)
    for word in ("dreaming", "Dreaming", "queued", "dreaming"):
        assert isinstance(wait.judge(seen(word), 1.0), LookAgain)
    assert [notice.kind for notice in wait.notices] == ["unknown_status"]
    assert "'dreaming'" in wait.notices[0].text


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        (seen("failed", error_message="no", cost_usd=0.16), JobFailed, "(billed 0.16 USD)"),
        (seen("failed", error_message="no", cost_usd=0), JobFailed, "(not billed)"),
        (
            seen("failed", error_code="moderation_blocked", error_message="no"),
            ContentRejected,
            "moderation; change the prompt; the provider says: no",
        ),
        (
            seen("failed", error_code="oom", error_message="out of memory"),
            JobFailed,
            "failed; pass retry_failed=True to buy it again; the provider says: out of memory",
        ),
        (seen("expired"), JobExpired, "expired"),
        (seen("cancelled"), JobFailed, "'cancelled'"),
    ],
)
def test_a_failed_job_is_specific(state, kind, said):
    error = Watch("v", Patience(600), now=0.0).judge(state, 1.0)
    assert type(error) is kind
    assert said in str(error)
    assert (error.job_id, error.code) == ("v", state.error_code)
    assert error.billed is (None if state.cost_usd is None else state.cost_usd > 0), "not known is not no"
    again = error_of(Failure.model_validate_json(failure_of(error).model_dump_json()))
    assert (type(again), again.billed, str(again)) == (type(error), error.billed, str(error)), "as the ledger keeps it"


def test_a_job_from_before_it_knew_its_size_is_read():
    old = {"provider": "openai", "base_url": "http://x/v1", "model": "m", "id": "v", "fingerprint": "f"}
    job = VideoJob.model_validate({**old, "submitted_at": "2026-01-01T00:00:00Z"})
    assert job.kind == ("m", None, None)
    assert VideoJob.model_validate_json(job.model_dump_json()) == job
