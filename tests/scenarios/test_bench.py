"""The benchmark itself: every engine does all of the work, and a run that did less is not counted."""

from __future__ import annotations

import asyncio
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_media.storage.base import StorageOptions
from prefect_media.storage.store import storage_at

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def transfers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("transfers")


@pytest.mark.parametrize(("engine", "tls"), [("floor", False), ("floor", True), ("sdk", False), ("bare", True)])
def test_videos_are_bought_and_stored_once_each(transfers, engine, tls):
    with transfers.Bench(seconds=0.3) as bench:
        row = bench.run(transfers.Case(engine, jobs=5, size=1, tls=tls))
    assert row.requests["create"] == row.requests["content"] == row.lag["count"] == 5


def test_a_flow_asks_prefect_for_nothing_more_when_it_has_more_jobs(transfers, prefect_server):
    with transfers.Bench(seconds=0.3, prefect=prefect_server) as bench:
        one, five = (bench.run(transfers.Case("flow", jobs, size=1)) for jobs in (1, 5))
    assert five.requests["create"] == five.requests["content"] == five.lag["count"] == 5
    for row in (one, five):
        row.prefect_requests.pop("POST logs", None)  # as many as there are lines and seconds
    # A server that is busy is asked again now and then; one more per job would be four more.
    more = {kind: count - one.prefect_requests.get(kind, 0) for kind, count in five.prefect_requests.items()}
    assert {kind: count for kind, count in more.items() if count > 2} == {}


def test_the_floor_does_its_work_in_a_flow_too(transfers, prefect_server):
    with transfers.Bench(seconds=0.3, prefect=prefect_server) as bench:
        row = bench.run(transfers.Case("floor-flow", jobs=5, size=1))
    assert row.requests["create"] == row.requests["content"] == row.lag["count"] == 5
    assert row.prefect_requests["POST flow_runs"]


@pytest.mark.parametrize("engine", ["floor", "bare"])
def test_images_are_bought_and_stored_once_each(transfers, engine):
    with transfers.Bench() as bench:
        row = bench.run(transfers.Case(engine, jobs=2, images=True))
    assert row.requests["image"] == 2


def test_a_folder_holds_what_was_bought(transfers):
    with transfers.Bench(seconds=0.3) as bench:
        row = bench.run(transfers.Case("bare", jobs=2, size=1, local=True))
    assert row.requests["content"] == 2
    assert row.stored == {}


@pytest.mark.parametrize(
    ("part", "change", "complaint"),
    [
        ("made", {"requests": {"create": 3, "content": 2}}, "3 bought"),
        ("made", {"requests": {"create": 2, "unknown": 1}}, "unknown requests"),
        ("kept", {"objects": {"bench/a.mp4": 10}}, "1 stored"),
        ("kept", {"objects": {"bench/a.mp4": 10, "bench/b.mp4": 9}}, "not 10 bytes: {'bench/b.mp4': 9}"),
        ("kept", {"objects": {"bench/a.mp4": 10, "bench/b.mp4": 10, "bench/.tmp": 1}}, r"left behind: \['bench/.tmp'"),
        ("kept", {"open_uploads": 1}, "1 open uploads"),
        ("told", {"hashes": ["good"]}, "1 told of"),
        ("told", {"hashes": ["good", "bad"]}, "hashes"),
    ],
)
def test_a_run_that_did_not_do_the_work_is_not_counted(transfers, part, change, complaint):
    plan = transfers.Plan("floor", "video", 2, "http://provider", "http://sink")
    right = {
        "told": {"hashes": ["good", "good"]},
        "made": {"sizes": {"video": 10}, "sha256": {"video": "good"}, "requests": {"create": 2, "content": 2}},
        "kept": {"objects": {"bench/a.mp4": 10, "bench/b.mp4": 10}, "open_uploads": 0, "requests": {}},
    }
    transfers.check(plan, **right)
    with pytest.raises(transfers.WrongResult, match=complaint):
        transfers.check(plan, **{**right, part: right[part] | change})


def test_the_sink_is_a_bucket_that_a_ledger_can_trust(transfers):
    with transfers.Server("s3_sink.py") as server:
        login = {"access_key_id": "key", "secret_access_key": "secret"}
        storage = storage_at("s3://bench", StorageOptions(endpoint_url=server.url, region="us-east-1", **login))

        async def use() -> None:
            await storage.check()
            await storage.put("folder/small.txt", b"hello", content_type="text/plain")
            assert await storage.read("folder/small.txt") == b"hello"
            assert await storage.size("folder/none.txt") is None
            for name in ("z/last.txt", "folder/b.txt", "folder/a.txt", "aa.txt"):
                await storage.put(name, b"hi", content_type="text/plain")
            await storage.delete("folder/b.txt")
            listed = [found async for found in storage.list("folder/")]
            assert listed == [("folder/a.txt", 2), ("folder/small.txt", 5)]

        asyncio.run(use())
        assert server.stats(None)["objects"]["bench/folder/small.txt"] == 5


def test_many_in_one_task_run_are_made_once_each(transfers, prefect_server):
    with transfers.Bench(seconds=0.3, prefect=prefect_server) as bench:
        row = bench.run(transfers.Case("agather-50", jobs=5, size=1))
    assert row.requests["create"] == row.requests["content"] == 5
    assert row.stall > 0


def test_what_grows_is_measured():
    """In a process of its own: it sets variables of AWS for the commands that it starts."""
    command = [sys.executable, str(BENCHMARKS / "growth.py"), "--records", "40", "--latency", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^\| (.*?) \| (.*) \|$", done.stdout, re.MULTILINE))
    asked = {name: int(found[1]) for name, row in rows.items() if (found := re.search(r"(\d+) requests", row))}
    assert asked["a purchase whose reply was lost"] < asked["`jobs list --json`"]
    assert asked["`jobs list --json`"] > 40 > asked["`jobs show KEY`"] == 1
    assert rows["spent, of a limit of"] == "300 of 300 USD"
    assert re.search(r"2,0\d\d requests, 2\.0\d for each", done.stdout)


def test_pages_are_counted_and_their_cost_is_a_ratio():
    """A flow with pages asks Prefect for them, at most once in 2 s; one without never does."""
    command = [sys.executable, str(BENCHMARKS / "reporting.py"), "--jobs", "3", "--repeat", "1", "--latency", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    off, on, wall, cpu = done.stdout.splitlines()
    assert off.endswith("'pages': 0}") and not on.endswith("'pages': 0}")
    assert re.fullmatch(r"3 jobs, least of 1: wall \d+\.\d{3} x", wall)
    assert re.match(r"client CPU \d+\.\d{3} x, \d", cpu)
