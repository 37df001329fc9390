"""What docs/videos.md says is what the code does."""

import re
from pathlib import Path

import pytest
from buyer import terms
from prefect_media.tasks import events
from pydantic import SecretStr

from prefect_media import OpenAICredentials, agenerate_video, await_for_video
from prefect_media.jobs import VideoJob
from prefect_media.providers.dialects import dialects
from prefect_media.settings import Settings
from prefect_media.simulator.profiles import PROFILES
from prefect_media.waiting.wait import reporter_of_job

PAGE = (Path(__file__).parents[2] / "docs" / "videos.md").read_text()


def rows(title):
    """The cells of the first table after a heading."""
    table = re.search(r"\| --- .*\n((\|.*\n)+)", PAGE.partition(f"## {title}")[2])
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def test_the_table_of_servers_is_the_table_of_dialects():
    told = {}
    for dialect in dialects().values():
        ends = "cancel" if dialect.can("cancel") else "delete" if dialect.can("delete") else "-"
        varies = "-"
        if dialect.can("edit") and dialect.can("extend"):
            varies = "yes, files too" if dialect.footage else "yes"
        told[f"`{dialect.name}`"] = [
            dialect.title,
            "yes" if dialect.can("list") else "-",
            ends,
            "yes" if dialect.can("remix") else "-",
            varies,
            "file" if dialect.reference_value is None else "data URL",
        ]
    assert {name: cells for name, *cells in rows("Servers")} == told


def test_every_dialect_is_a_profile_and_a_value_of_the_block():
    for name in dialects():
        assert name in PROFILES
        at = OpenAICredentials(base_url="http://x/v1", api_key=SecretStr("sk"), dialect=name).connection()
        assert at.dialect == name
    assert "simulate --profile vllm-omni" in PAGE


def test_the_limits_and_their_defaults():
    first = [cells[0] for cells in rows("Waiting")]
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    for name in ("stall_seconds", "poll_seconds"):
        assert f"`PREFECT_MEDIA_{name.upper()}` ({defaults[name]:g})" in first
    for task in (agenerate_video, await_for_video):
        told = task.fn.__kwdefaults__
        assert told["timeout"].total_seconds() == 30 * 60
        assert told["queue_timeout"] is None
    assert "`timeout=timedelta(minutes=30)`" in first


def test_the_event(monkeypatch):
    sent = []
    monkeypatch.setattr(events, "send_event", lambda *event: sent.append(event))
    told = {"provider": "openai", "base_url": "http://key:secret@x/v1", "model": "m", "id": "video_1"}
    job = VideoJob(**told, fingerprint="f", submitted_at="2026-01-01T00:00:00Z")
    steps = reporter_of_job(job, terms("x", on_step=events.purchase_events("file:///store")))
    steps.report("stalled", status="in_progress", progress=42.0, waited_seconds=600.0)
    [(name, resource, payload)] = sent
    assert f"`prefect-media.{name}`" in PAGE
    assert resource["id"] == "video.video_1" and payload.job_id == "video_1"
    assert "secret" not in str(sent)


@pytest.mark.parametrize("word", re.findall(r"`((?:flows|providers)/[a-z_.]+)`", PAGE))
def test_files_it_names_exist(word):
    root = Path(__file__).parents[2]
    assert (root / word).exists() or (root / "src/prefect_media" / word).exists()
