"""What jobs took is learned and kept in the store, for the next process to know when to look, at next to no cost."""

import asyncio
import json
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_media import VideoRequest, agenerate_video, asubmit_video, await_for_video
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at
from prefect_media.waiting import durations as experience
from prefect_media.waiting.durations import (
    EVERY,
    KINDS,
    PLENTY,
    STORED,
    Experience,
    decode,
    encode,
    path_of,
    recall,
    remember,
)

REQUEST = VideoRequest(prompt="a paper boat", model="sora-2", seconds=4, size="1280x720")
KIND = ("sora-2", "1280x720", "4")
SERVER = "http://films.example:8000/v1"


@pytest.fixture(autouse=True)
def new_process(monkeypatch):
    """Forgets what other tests learned."""
    monkeypatch.setattr(experience, "_of", {})
    monkeypatch.setattr(experience, "_recalled", set())


@contextmanager
def another_process(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(experience, "_of", {})
        patch.setattr(experience, "_recalled", set())
        yield


@pytest.fixture
def storage(store):
    return store.storage()


async def learned(storage, took, *, idle=True):
    for seconds in took:
        experience.experience_of(SERVER).add(KIND, seconds)
    await remember(storage, SERVER, idle=idle)


async def stored(storage):
    found = await storage.fetch(path_of(SERVER))
    return decode(found.data) if found else {}


async def test_a_purchase_leaves_what_its_job_took_to_the_next_process(store, monkeypatch):
    with Simulator(latency=0.5) as simulator:
        for number in range(3):
            request = REQUEST.model_copy(update={"variant": number})
            await agenerate_video.fn(simulator.credentials, request, store=store, scope="a test")
        url, storage = simulator.credentials.connection().base_url, store.storage()
        kept = decode((await storage.fetch(path_of(url))).data)
        assert list(kept) == [KIND]
        assert len(kept[KIND]) == 3
        assert kept[KIND] == pytest.approx([0.5] * 3, abs=0.45)

        async def elsewhere():
            """On an event loop of its own, so with a poller that knows nothing."""
            job = await asubmit_video.fn(simulator.credentials, REQUEST, store=store, scope="another")
            assert job.kind == KIND
            await await_for_video.fn(simulator.credentials, job, store=store)

        with another_process(monkeypatch):
            assert not experience.experience_of(url).of(KIND)
            await asyncio.to_thread(asyncio.run, elsewhere())
            assert len(experience.experience_of(url).of(KIND)) == 4, "three that were read, and its own"
        assert len(decode((await storage.fetch(path_of(url))).data)[KIND]) == 4


async def test_read_once_per_process_and_store(storage, monkeypatch):
    await learned(storage, [100, 120, 140])
    with another_process(monkeypatch):
        reads = counted(monkeypatch, storage, "fetch")
        for _ in range(5):
            await recall(storage, SERVER)
        assert reads == [path_of(SERVER)]
        assert list(experience.experience_of(SERVER).of(KIND)) == [100, 120, 140]
        assert not experience.experience_of(SERVER).fresh, "nothing to write that was only read"


async def test_written_rarely_where_much_is_going_on(storage, monkeypatch):
    writes = counted(monkeypatch, storage, "create", counted(monkeypatch, storage, "replace"))
    await learned(storage, range(100, 100 + EVERY - 1), idle=False)
    assert not await stored(storage)
    await learned(storage, [99], idle=False)
    assert len((await stored(storage))[KIND]) == EVERY
    assert len(writes) == 1
    await learned(storage, [98] * (EVERY - 1), idle=False)
    assert len((await stored(storage))[KIND]) == EVERY


async def test_one_job_at_a_time_is_written_while_little_is_known_and_then_sometimes(storage, monkeypatch):
    writes = counted(monkeypatch, storage, "replace")
    for number in range(200):
        await learned(storage, [100 + number])
    assert PLENTY - 2 <= len(writes) < 80
    assert len((await stored(storage))[KIND]) == STORED
    assert max((await stored(storage))[KIND]) > 250, "the newest are kept"


async def test_two_processes_that_write_add_up(storage, monkeypatch):
    await learned(storage, [100])
    with another_process(monkeypatch):
        await learned(storage, [200])
    assert (await stored(storage))[KIND] == [100, 200]


async def test_a_store_that_fails_or_hangs_fails_and_holds_up_nothing(tmp_path, monkeypatch):
    storage = storage_at(str(tmp_path))

    async def broken(*args, **kwargs):
        raise OSError("gone")

    async def hangs(*args, **kwargs):
        await asyncio.sleep(60)

    monkeypatch.setattr(experience, "READING", 0.05)
    monkeypatch.setattr(experience, "WRITING", 0.05)
    for fault in (broken, hangs):
        with another_process(monkeypatch):
            monkeypatch.setattr(storage, "fetch", fault)
            async with asyncio.timeout(20):
                await recall(storage, SERVER)
                await learned(storage, [1, 2, 3])
            assert list(experience.experience_of(SERVER).of(KIND)) == [1, 2, 3]


def counted(monkeypatch, storage, name, calls=None):
    """The keys that a method of a store is called with."""
    calls, original = [] if calls is None else calls, getattr(storage, name)

    async def spied(key, *args):
        calls.append(key)
        return await original(key, *args)

    monkeypatch.setattr(storage, name, spied)
    return calls


@given(
    st.binary() | st.recursive(st.none() | st.text() | st.integers() | st.floats(), st.lists).map(str).map(str.encode)
)
def test_whatever_lies_there_is_read_or_left(data):
    assert all(isinstance(took, list) for took in decode(data).values())


@pytest.mark.parametrize(
    "rows",
    [
        [{"model": "m", "took": "soon"}],
        [{"model": "m", "took": [float("nan"), -1, 10**400]}],
        [{"model": "m", "size": 5, "took": [1]}],
        [{"took": [1]}],
        {"model": "m"},
        None,
    ],
)
def test_what_makes_no_sense_is_left_out(rows):
    assert not any(decode(json.dumps({"jobs": rows}).encode()).values())


@given(
    st.lists(
        st.tuples(
            st.tuples(st.text(), st.none() | st.text(), st.none() | st.text()),
            st.floats(0, 1e5),
        ),
        max_size=120,
    )
)
def test_what_is_written_is_read_and_stays_small(fresh):
    known = decode(encode({}, fresh))
    assert len(known) <= KINDS
    assert all(len(took) <= STORED for took in known.values())
    if fresh:
        (kind, seconds) = fresh[-1]
        assert known[kind][-1] == round(seconds, 1)
    assert decode(encode(known, [])) == known


def test_the_path_is_a_key_whatever_the_host():
    assert path_of("https://user:secret@api.example.com:8443/v1") == "experience/api.example.com-8443.json"
    assert path_of("http://[::1]:80/v1") == "experience/1-80.json"
    assert path_of("nonsense") == "experience/server.json"


def test_a_process_keeps_a_bounded_number():
    known = Experience()
    for seconds in range(1000):
        known.add(KIND, seconds)
    assert len(known.of(KIND)) == 200
    assert len(known.fresh) == 200
    assert known.fresh[-1] == (KIND, 999)
