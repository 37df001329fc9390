"""Reading jobs as loosely as servers write them, and the pace of looking at them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_media.jobs import KNOWN, JobState, VideoJob, next_look

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


@given(st.floats(0, 1e6), st.floats(0.01, 60))
def test_looks_are_never_further_apart_than_asked(waited, longest):
    assert 0 < next_look(waited, None, longest=longest) <= longest


@given(st.floats(0, 1e4), st.floats(0, 600))
def test_the_servers_wish_is_respected(waited, hint):
    state = JobState(id="v", status="queued", look_again_after=hint)
    assert next_look(waited, state, longest=5) >= hint


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
