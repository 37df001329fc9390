"""The one background loop: shared by all threads, never waiting for itself, alive whatever a coroutine does."""

import asyncio
import multiprocessing
import subprocess
import sys
import threading

import pytest

from prefect_media.runtime.sync import background_loop, on_background_loop, run_sync


async def where():
    return asyncio.get_running_loop(), on_background_loop()


def test_all_threads_share_one_loop():
    loops = []
    threads = [threading.Thread(target=lambda: loops.append(run_sync(where()))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loops == [(background_loop(), True)] * 20
    assert not on_background_loop()


async def test_from_inside_another_loop():
    loop, there = run_sync(where())
    assert loop is not asyncio.get_running_loop()
    assert there


def test_the_loop_does_not_wait_for_itself():
    async def outer():
        return run_sync(where())

    with pytest.raises(RuntimeError, match="there, await where instead"):
        run_sync(outer())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), ValueError("no")], ids=repr)
def test_what_a_coroutine_raises_reaches_its_caller_and_nobody_else(error):
    async def leave():
        raise error

    loop = background_loop()
    with pytest.raises(type(error)) as caught:
        run_sync(leave())
    assert caught.value is error
    assert run_sync(where())[0] is loop


class Interrupted(BaseException):
    pass


@pytest.fixture
def interrupt(monkeypatch):
    """Whoever waits for a future in this thread is interrupted, once `event` is set."""

    def interrupt(event):
        def interrupted(*_):
            assert event.wait(20)
            raise Interrupted

        monkeypatch.setattr("concurrent.futures.Future.result", interrupted)

    return interrupt


def test_a_waiting_thread_that_is_interrupted_lets_the_coroutine_clean_up(interrupt):
    began, cleaned = threading.Event(), threading.Event()

    async def wait():
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    interrupt(began)
    with pytest.raises(Interrupted):
        run_sync(wait())
    assert cleaned.is_set()


def test_interrupted_before_it_began_nothing_begins(interrupt):
    """The loop is busy, so that the coroutine can't begin before it is cancelled."""
    began, busy, go_on = threading.Event(), threading.Event(), threading.Event()

    async def late():
        began.set()

    background_loop().call_soon_threadsafe(lambda: (busy.set(), go_on.wait(20)))
    interrupt(busy)
    with pytest.raises(Interrupted):
        run_sync(late())
    go_on.set()
    assert asyncio.run_coroutine_threadsafe(where(), background_loop()).exception(20) is None
    assert not began.is_set()


FORK = """
import multiprocessing, os
from prefect_media.runtime.sync import run_sync

async def process():
    return os.getpid()

here = run_sync(process())
processes = multiprocessing.get_context("fork")
answers = processes.Queue()
child = processes.Process(target=lambda: answers.put(run_sync(process())))
child.start()
assert answers.get(timeout=60) == child.pid != here
child.join()
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_forked_process_has_a_loop_of_its_own():
    """In a process with no threads but ours: what others' threads hold when a process is forked stays held in it."""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK], check=True, timeout=120)
