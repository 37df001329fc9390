"""Records of sleeping flow runs in a folder and in a bucket: written once, read by all, removed one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from prefect_media.errors import StoreError
from prefect_media.jobs import VideoJob
from prefect_media.runtime import clock
from prefect_media.waiting import records
from prefect_media.waiting.records import AwaitedJob, Heartbeat, WaitingRecord

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
RUN = "0196d1f2-0000-7000-8000-000000000001"


def record(suspension: str = "prefect-media-jobs-1", **fields) -> WaitingRecord:
    job = VideoJob(
        provider="openai",
        base_url="https://videos.example/v1",
        model="sora-2",
        id="video_1",
        fingerprint="f" * 64,
        submitted_at=NOON,
    )
    given = {
        "flow_run_id": RUN,
        "suspension": suspension,
        "jobs": (AwaitedJob(credentials="my-server", job=job),),
        "deadline": NOON + timedelta(hours=1),
        "written_at": NOON,
    }
    return WaitingRecord(**(given | fields))


async def test_a_record_is_read_as_it_was_written_and_removed_alone(store):
    storage = store.storage()
    first, second = record("one"), record("two")
    await records.write(storage, first)
    await records.write(storage, first)  # the reply to the first was lost, for example
    await records.write(storage, second)
    assert {each.suspension for each in await records.read_all(storage)} == {"one", "two"}
    await records.remove(storage, first)
    assert await records.read_all(storage) == [second]


async def test_another_record_is_never_overwritten(store):
    storage = store.storage()
    await records.write(storage, record("one"))
    with pytest.raises(StoreError):
        await records.write(storage, record("one", until="any"))
    assert (await records.read_all(storage))[0].until == "all"


async def test_of_a_flow_run_only_used_suspensions_are_removed(store):
    storage = store.storage()
    other = record("one", flow_run_id=RUN.replace("1", "2"))
    for each in (record("one"), record("two"), other):
        await records.write(storage, each)
    await records.remove_used(storage, RUN, {"one", "never-written"})
    assert {each.path for each in await records.read_all(storage)} == {record("two").path, other.path}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"flow_run_id": "../../etc"}', record("another").model_dump_json().encode()],
    ids=["empty", "cut", "a list", "a path", "under another name"],
)
async def test_a_damaged_record_keeps_no_other_from_being_read(store, data, caplog):
    storage = store.storage()
    await records.write(storage, record("one"))
    await storage.put(record("two").path, data, content_type="application/json")
    assert [each.suspension for each in await records.read_all(storage)] == ["one"]
    assert "is not the record of a sleeping flow run" in caplog.text
    assert await storage.size(record("two").path) is not None  # nobody knows whose it is


async def test_no_key_is_on_a_record(store):
    storage = store.storage()
    await records.write(storage, record())
    assert b"sk-" not in await storage.read(record().path)


@pytest.mark.parametrize(
    ("age", "every", "alive"),
    [(0, 60, True), (500, 60, True), (700, 60, False), (700, 300, True), (-700, 60, False), (10**6, 10**9, False)],
)
async def test_a_waker_is_there_while_its_last_round_is_recent(store, age, every, alive):
    storage = store.storage()
    assert not await records.waker_is_alive(storage)
    heartbeat = Heartbeat(at=clock.now() - timedelta(seconds=age), every=every)
    await storage.put(records.HEARTBEAT, heartbeat.model_dump_json().encode(), content_type="application/json")
    assert await records.waker_is_alive(storage) is alive
    await records.beat(storage, 60)
    assert await records.waker_is_alive(storage)
