"""The pace: few requests, a quick notice, whatever the server's list is like. All in simulated time, never asleep."""

import importlib.util
import random
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_media.jobs import JobState
from prefect_media.waiting.durations import Experience
from prefect_media.waiting.schedule import FAR, PAGE, SHORTEST, Pace, Page, Single

SPEC = importlib.util.spec_from_file_location("polling", Path(__file__).parents[2] / "benchmarks" / "polling.py")
polling = importlib.util.module_from_spec(SPEC)
sys.modules["polling"] = polling
SPEC.loader.exec_module(polling)

EXPERIENCED = [60, 80, 100, 120, 140, 200]


def state(job_id, status="in_progress", progress=None, **fields):
    return JobState(job_id, status, progress, **fields)


def pace(took=(), **options):
    experience = Experience()
    for seconds in took:
        experience.add(("sora-2", None, None), seconds)
    return Pace(experience=experience, dice=random.Random(1), **options)


def join(planned, *job_ids, now=0.0, age=0.0, not_after=3600.0):
    for number, job_id in enumerate(job_ids):
        submitted = 1_790_000_000 + now - age + number / 1000
        planned.join(job_id, ("sora-2", None, None), now=now, age=age, submitted=submitted, not_after=not_after)


def looked(planned, job_id, now, status="in_progress", progress=None, **plan):
    planned.learn_state(job_id, state(job_id, status, progress), now)
    planned.plan_look(job_id, now=now, **{"not_before": now, "not_after": 3600.0, **plan})


# What it costs and how soon it sees.


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("count", "most"), [(1, 6.0), (20, 3.0), (100, 1.3), (300, 1.3)])
def test_requests_and_lag(count, most, seed):
    result = polling.ours_over(count, seed=seed)
    assert result.per_job <= most
    assert result.mean <= 0.8
    assert result.quantile(0.95) <= 2
    fixed = polling.fixed_over(polling.each_by_itself(5), count, seed)
    assert result.per_job < fixed.per_job / 4
    assert result.mean < fixed.mean / 2


@pytest.mark.parametrize("count", [1, 20, 300])
def test_progress_that_stalls_near_the_end_delays_nothing_by_more_than_a_few_seconds(count):
    result = polling.ours_over(count, told="stall")
    assert max(result.lags) <= 5.5
    assert result.per_job <= 12


@pytest.mark.parametrize(("count", "most"), [(1, 25), (20, 4), (300, 2)])
def test_a_server_that_tells_no_progress(count, most):
    result = polling.ours_over(count, told="none")
    assert max(result.lags) <= 12
    assert result.per_job <= most


def test_jobs_of_others_on_the_list_cost_little():
    assert polling.ours_over(100, strangers=300).per_job <= 1.8


def test_a_server_without_a_list_is_asked_for_it_once():
    result = polling.ours_over(20, can_list=False)
    assert result.per_job <= 8
    assert result.mean <= 1.2


@pytest.mark.parametrize("count", [1, 20, 100])
def test_the_first_jobs_of_a_kind(count):
    result = polling.ours_over(count, cold=True)
    assert result.mean <= 1
    assert result.per_job <= 14


# When to look.


def test_a_job_that_may_take_no_time_is_looked_at_at_once_and_then_less_and_less_often():
    planned, now, looks = pace(), 0.0, []
    join(planned, "a")
    while now < 60:
        now = planned.wake()
        assert planned.due(now) == [Single("a")]
        looks.append(now)
        looked(planned, "a", now, "queued")
    pauses = [later - sooner for sooner, later in pairwise(looks)]
    assert looks[0] <= SHORTEST
    assert looks[2] < 1
    assert max(pauses) <= 5
    assert len(looks) < 20


def test_the_first_look_waits_for_the_quickest_of_its_kind():
    planned = pace(took=EXPERIENCED)
    join(planned, "a")
    assert 25 < planned.wake() < 60


def test_a_job_that_comes_back_is_looked_at_now():
    planned = pace(took=EXPERIENCED)
    join(planned, "a", now=100.0, age=3000)
    assert planned.wake() - 100 < 0.1


def test_what_a_resumed_job_took_is_not_learned_where_nobody_saw_it_end():
    experience = Experience()
    planned = Pace(experience=experience)
    for number in range(5):
        join(planned, f"{number}", age=90_000)
        planned.learn_state(f"{number}", state(f"{number}", "completed"), 0.1)
        planned.leave(f"{number}")
    assert not experience.of(("sora-2", None, None))


def test_experience_is_by_size_and_seconds_where_there_is_enough_of_it():
    experience = Experience()
    for seconds in (10, 30, 20):
        experience.add(("m", "720x1280", "4"), seconds)
    assert list(experience.of(("m", "720x1280", "4"))) == [10, 20, 30]
    assert list(experience.of(("m", "1x1", "12"))) == [10, 20, 30], "of the model, until its own are known"
    for seconds in (100, 120, 110):
        experience.add(("m", "1x1", "12"), seconds)
    assert list(experience.of(("m", "1x1", "12"))) == [100, 110, 120]
    assert not experience.of(("other", None, None))
    for seconds in range(1000):
        experience.add(("m", "1x1", "12"), seconds)
    assert len(experience.of(("m", "1x1", "12"))) == 200


def test_what_was_ordered_is_one_kind_whatever_the_server_says_of_it():
    experience = Experience()
    ordered, another = ("m", "1280x720", "4"), ("m", "1280x720", "8")
    experience.learn(another, [500.0] * 5)
    for number in range(3):
        planned = Pace(experience=experience)
        planned.join("a", ordered, now=0.0, age=0.0, submitted=0.0, not_after=3600.0)
        planned.learn_state("a", state("a", "in_progress", 50, size="1280x704", seconds="4.04"), 20.0)
        planned.plan_look("a", now=20.0, not_before=20.0, not_after=3600.0)
        planned.learn_state("a", state("a", "completed", 100, size="1280x704", seconds="4.04"), 30.0 + number)
    assert list(experience.of(ordered)) == [25.0, 25.5, 26.0]
    assert experience.of(another)[0] == 500


@pytest.mark.parametrize("progress", [90, 96, 99, 99.9])
def test_never_more_than_five_seconds_near_the_end(progress):
    planned = pace(took=EXPERIENCED)
    join(planned, "a")
    now = 50.0
    for _ in range(50):
        looked(planned, "a", now, progress=progress)
        assert planned.wake() - now <= 5
        now = planned.wake()


def test_never_more_than_five_seconds_after_most_others_were_done():
    planned = pace(took=EXPERIENCED)
    join(planned, "a")
    for now, progress in ((100.0, 20), (210.0, 30)):
        looked(planned, "a", now, progress=progress)
    assert planned.wake() - 210 <= 5


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["queued", "in_progress", "dreaming"]),
            st.none() | st.floats(allow_nan=True, allow_infinity=True),
            st.floats(0, 50),
            st.floats(0, 4000),
        ),
        max_size=40,
    ),
    st.sampled_from([(), EXPERIENCED]),
    st.floats(0.01, 3600),
)
@settings(deadline=None)
def test_whatever_is_told_the_next_look_is_neither_lost_nor_too_soon_nor_too_late(looks, took, deadline):
    planned = pace(took=took)
    join(planned, "a", not_after=deadline)
    now = 0.0
    for status, progress, late, hint in looks:
        now = max(now, planned.wake()) + late
        if now >= deadline:
            break
        assert planned.due(now) == [Single("a")]
        assert planned.wake() is None, "nothing is asked twice"
        not_before = min(now + hint, deadline)
        looked(planned, "a", now, status, progress, not_before=not_before, not_after=deadline)
        wake = planned.wake()
        assert not_before <= wake <= deadline
        assert wake <= max(now + FAR, not_before)
        assert wake > now


# What to ask.


def test_a_page_answers_for_all_who_are_due_about_now():
    planned = pace()
    join(planned, *"abcd", age=60)
    [page] = planned.due(0.1)
    assert page == Page(None, ("d", "c", "b", "a")), "newest first"
    assert planned.due(0.2) == []


def test_one_alone_is_asked_by_itself():
    planned = pace()
    join(planned, "a", age=60)
    assert planned.due(0.1) == [Single("a")]


def test_a_page_begins_where_the_due_jobs_are():
    planned = pace()
    names = [f"{number:03}" for number in range(250)]
    join(planned, *names, age=60)
    pages = planned.due(0.1)
    assert [page.after for page in pages] == [None, "150", "050"]
    assert [len(page.expected) for page in pages] == [100, 100, 50]
    for page in pages:
        planned.learn_page(page, [state(job_id) for job_id in page.expected], more=True, now=0.2)
        for job_id in page.expected:
            looked(planned, job_id, 0.2, progress=99 if job_id in ("040", "041") else 1)
    [page] = planned.due(planned.wake() + 1)
    assert page == Page("042", ("041", "040"))


def test_jobs_a_page_lacks_are_asked_for_one_by_one():
    planned = pace()
    join(planned, *"abc", age=60)
    [page] = planned.due(0.1)
    planned.learn_page(page, [state("c"), state("stranger"), state("b")], more=False, now=0.2)
    for job_id in "cb":
        looked(planned, job_id, 0.2, progress=1)
    assert planned.due(0.2) == [Single("a")]


def test_a_server_without_a_list_is_remembered():
    planned = pace()
    join(planned, *"abc", age=60)
    [page] = planned.due(0.1)
    planned.give_up_page(page, 0.2, never=True)
    assert sorted(ask.job_id for ask in planned.due(0.2)) == ["a", "b", "c"]
    assert not planned.can_list


def test_a_list_that_fails_is_tried_again_but_not_for_ever():
    planned = pace()
    join(planned, *"abc", age=60)
    now, pages = 0.1, 0
    for _ in range(20):
        for ask in planned.due(now):
            if isinstance(ask, Page):
                pages += 1
                planned.give_up_page(ask, now)
            else:
                looked(planned, ask.job_id, now, progress=50)
        now = planned.wake() + 1
    assert pages == 3


def test_a_job_before_the_page_that_was_deleted_is_no_reason_to_give_the_list_up():
    planned = pace()
    join(planned, *"abcd", age=60)
    [page] = planned.due(0.1)
    planned.learn_page(page, [state(job_id) for job_id in "dcba"], more=False, now=0.1)
    planned.leave("d")
    for job_id in "cba":
        looked(planned, job_id, 0.1, progress=99)
    [page] = planned.due(3.0)
    assert page == Page("d", ("c", "b", "a"))
    planned.give_up_page(page, 3.0, never=True)
    assert planned.can_list
    assert {ask.job_id for ask in planned.due(3.0)} == {"a", "b", "c"}
    for job_id in "cba":
        looked(planned, job_id, 3.1, progress=99)
    assert planned.due(9.0) == [Page(None, ("c", "b", "a"))]


def test_a_server_that_gives_less_than_a_hundred_at_a_time():
    planned = pace()
    names = [f"{number:03}" for number in range(60)]
    join(planned, *names, age=60)
    [page] = planned.due(0.1)
    planned.learn_page(page, [state(job_id) for job_id in page.expected[:20]], more=True, now=0.2)
    for job_id in page.expected[:20]:
        looked(planned, job_id, 0.2, progress=1)
    assert len(planned.due(0.2, room=100)) == 40, "those it lacked, one by one"
    for job_id in page.expected[20:]:
        looked(planned, job_id, 0.3, progress=99)
    assert [len(page.expected) for page in planned.due(9.0)] == [20, 20]


def test_no_more_at_once_than_there_is_room_for_and_the_most_urgent_first():
    planned = pace(can_list=False)
    for number in range(30):
        join(planned, f"{number}", now=float(number) / 100, age=60)
    assert planned.due(2.0, room=5) == [Single(f"{number}") for number in range(5)]
    assert planned.due(2.0, room=0) == []
    assert len(planned.due(2.0, room=100)) == 25


def test_a_pause_is_for_all_but_for_last_looks():
    planned = pace()
    join(planned, "a", "b", age=60)
    join(planned, "c", age=60, not_after=5.0)
    planned.pause(until=40.0)
    assert planned.wake() == 5.0
    assert planned.due(4.9) == []
    assert planned.due(5.0) == [Single("c")]
    assert planned.wake() == 40.0
    assert planned.due(40.0) == [Page(None, ("b", "a"))]


def test_the_servers_wish_is_not_overridden_by_a_siblings_page():
    planned = pace()
    join(planned, *"abc", age=60)
    [page] = planned.due(0.1)
    planned.learn_page(page, [state(job_id) for job_id in "cba"], more=False, now=0.2)
    looked(planned, "a", 0.2, progress=99, not_before=30.0)
    for job_id in "bc":
        looked(planned, job_id, 0.2, progress=99)
    assert planned.due(5.0) == [Page(None, ("c", "b"))]


def test_what_is_remembered_of_a_long_list_stays_small():
    planned = pace()
    for batch in range(40):
        names = [f"{batch}_{number}" for number in range(PAGE)]
        join(planned, *names, now=float(batch * 1000), age=60)
        for name in names:
            planned.leave(name)
    assert len(planned._ranks) <= 8 * PAGE
