"""What the log of a run tells of a job, and how often."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from prefect_media.tasks import run_log

from prefect_media.steps import Step

BEGAN = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@pytest.fixture
def lines(monkeypatch, caplog):
    """The lines that the steps of one job leave, each given as its kind, its second and its per cent."""
    monkeypatch.setattr(run_log, "run_logger", lambda: logging.getLogger("test"))
    caplog.set_level(logging.INFO, "test")

    def lines_of(*steps):
        caplog.clear()
        log = run_log.log_steps()
        for kind, second, progress in steps:
            log(
                Step(
                    kind=kind,
                    at=BEGAN + timedelta(seconds=second),
                    purchase="k1",
                    operation="generate",
                    media="video",
                    model="boats-1",
                    host="localhost:1",
                    prompt="a paper boat",
                    job_id="video_1",
                    submitted_at=BEGAN,
                    status="in_progress",
                    progress=progress,
                )
            )
        return [record.getMessage().partition(" after ")[0] for record in caplog.records]

    return lines_of


def test_a_job_of_minutes_has_a_line_at_each_milestone(lines):
    messages = lines(
        ("submitted", 0, None),
        ("started", 5, 2),
        *(("progress", second, second / 2) for second in range(10, 200, 5)),
        ("stored", 205, None),
    )
    assert messages[1:-1] == [
        "video_1: started (in_progress)",
        "video_1: 25 %",
        "video_1: 50 %",
        "video_1: 75 %",
    ]
    assert messages[0].startswith("Ordered video") and messages[-1].startswith("Made video")


def test_a_job_of_seconds_has_no_line_between_order_and_end(lines):
    messages = lines(
        ("submitted", 0, None),
        ("started", 1, 10),
        *(("progress", second, 12 * second) for second in range(2, 9)),
        ("stored", 9, None),
    )
    assert len(messages) == 2


def test_lines_about_progress_are_ten_seconds_apart(lines):
    messages = lines(("submitted", 0, None), *(("progress", second, 5 * second) for second in range(1, 20)))
    assert messages[1:] == ["video_1: 50 %"]
    messages = lines(("progress", 11, 30), ("progress", 15, 55), ("progress", 21, 60), ("progress", 32, 80))
    assert messages == ["video_1: 30 %", "video_1: 60 %", "video_1: 80 %"]
