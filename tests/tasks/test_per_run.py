"""What Prefect's API is asked: per flow run, not per task, whatever loops and threads the tasks are on."""

import asyncio
import re
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from prefect import flow, task
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_media.tasks.context import connection_to, root_flow_run_id, storage_for
from prefect_media.tasks.per_run import KEPT, once_per_run

from prefect_media import (
    ImageRequest,
    MediaStore,
    MediaTaskRunner,
    OpenAICredentials,
    agather,
    agenerate_images,
    gather,
    generate_images,
)
from prefect_media.errors import InvalidRequest
from prefect_media.runtime.sync import run_sync

pytestmark = pytest.mark.usefixtures("prefect")

MOST_PER_RUN = 20
"""Twelve when nothing goes wrong; Prefect's clients repeat what a busy server answers with 503, and greet it anew."""

MORE_WITH_FORTY_JOBS = 8
"""Less than one request for five jobs more: so many may be repeated, and none belongs to a job."""


class Listening:
    """A line to Prefect's server that notes each HTTP request on it. Events go by websocket and are not requests."""

    REQUEST = re.compile(rb"((?:GET|POST|PUT|PATCH|DELETE) /\S*) HTTP/1\.1\r\n")

    def __init__(self, url):
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}{parts.path}"
        self._seen = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def requests(self):
        return [request for request in self._seen if "/events/in" not in request]

    def asked_for(self, part):
        return sum(part in request for request in self.requests)

    def _accept(self):
        while True:
            caller, _ = self._socket.accept()
            server = socket.create_connection(self._server)
            threading.Thread(target=self._carry, args=(caller, server, True), daemon=True).start()
            threading.Thread(target=self._carry, args=(server, caller, False), daemon=True).start()

    def _carry(self, source, target, listening):
        rest = b""
        with suppress(OSError):
            while data := source.recv(65536):
                if listening:
                    *found, rest = self.REQUEST.split(rest[-8192:] + data)
                    self._seen += [request.decode() for request in found[1::2]]
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def line(prefect):
    """Open to the end of the process: the last events are sent when Prefect's engine is stopped."""
    return Listening(PREFECT_API_URL.value())


@pytest.fixture
def api(line):
    """All that this process asks of Prefect's server."""
    with temporary_settings({PREFECT_API_URL: line.url}):
        yield line


@pytest.fixture
def saved(media_simulator, tmp_path):
    """The name of saved credentials and of a saved store."""
    media_simulator.credentials.save("per-run", overwrite=True)
    MediaStore(url=str(tmp_path / "store")).save("per-run", overwrite=True)
    return "per-run"


def pictures(count):
    return [ImageRequest(prompt=f"boat {number}", model="gpt-image-2", size="1024x1024") for number in range(count)]


@flow
async def awaited(name, count):
    return await asyncio.gather(*(agenerate_images(name, request, store=name) for request in pictures(count)))


@flow
async def agathered(name, count):
    return [made.asset async for made in agather(name, pictures(count), store=name)]


@flow
def gathered(name, count):
    return [made.asset for made in gather(name, pictures(count), store=name)]


@flow(task_runner=MediaTaskRunner())
def submitted(name, count):
    return [future.result() for future in [generate_images.submit(name, one, store=name) for one in pictures(count)]]


@flow
def mapped(name, count):
    return generate_images.map(name, pictures(count), store=name).result()


@pytest.mark.parametrize("run", [awaited, agathered, gathered, submitted], ids=lambda run: run.name)
def test_requests_do_not_grow_with_the_jobs(run, saved, api, media_simulator):
    counted, blocks = [], api.asked_for("/block_documents/name/per-run")
    for count in (1, 20, 60):  # the first run of a process asks a little more, such as the server's version
        before, began = len(api.requests), time.monotonic()
        made = asyncio.run(run(saved, count)) if run.isasync else run(saved, count)
        assert len(made) == count
        EventsWorker.instance().wait_until_empty()  # its thread asks when it gets to it, perhaps in the next run
        requests, seconds = api.requests[before:], time.monotonic() - began
        of_the_page = [request for request in requests if "/artifacts/" in request]
        assert len(of_the_page) <= 4 + seconds / 2, requests  # two artifacts, made and ended; one update in 2 s
        counted.append([request for request in requests if request not in of_the_page])
    small, large = counted[1:]
    assert len(large) <= len(small) + MORE_WITH_FORTY_JOBS, Counter(large) - Counter(small)
    assert max(len(small), len(large)) <= MOST_PER_RUN
    assert len(media_simulator.images) == 81
    assert api.asked_for("/block_documents/name/per-run") - blocks == 3 * 2, (
        "the credentials and the store, once per run"
    )


def test_in_threads_too(saved, api):
    mapped(saved, 1)
    before = api.asked_for("/block_documents/")
    mapped(saved, 30)
    assert api.asked_for("/block_documents/") - before == 2


async def test_the_next_run_sees_a_changed_key(saved, media_simulator):
    @flow
    async def key():
        return [(await connection_to(saved)).api_key for _ in range(2)]

    assert await key() == ["sk-simulated"] * 2
    await OpenAICredentials(api_key="sk-rotated", base_url=media_simulator.url).asave(saved, overwrite=True)
    assert await key() == ["sk-rotated"] * 2


async def test_so_does_the_next_attempt_of_a_run(saved, media_simulator):
    keys = []

    @flow(retries=1)
    async def key():
        keys.append((await connection_to(saved)).api_key)
        if len(keys) == 1:
            await OpenAICredentials(api_key="sk-rotated", base_url=media_simulator.url).asave(saved, overwrite=True)
            raise RuntimeError("again")

    await key()
    assert keys == ["sk-simulated", "sk-rotated"]


async def test_outside_of_runs_nothing_is_kept(saved, tmp_path):
    await storage_for(saved)
    await MediaStore(url=str(tmp_path / "moved")).asave(saved, overwrite=True)
    assert (await storage_for(saved)).uri("x") == (tmp_path / "moved" / "x").as_uri()


async def test_a_block_that_is_saved_later_is_found_later(media_credentials):
    @flow
    async def late():
        with pytest.raises(InvalidRequest, match="there is no saved block 'saved-later'"):
            await connection_to("saved-later")
        await media_credentials.asave("saved-later")
        return (await connection_to("saved-later")).api_key

    assert await late() == "sk-simulated"


async def test_a_block_of_the_other_type_is_not_taken(media_simulator):
    await media_simulator.credentials.asave("both", overwrite=True)
    await media_simulator.azure_credentials.asave("both", overwrite=True)
    assert (await connection_to("azure-openai-media-credentials/both")).provider == "azure"
    assert (await connection_to("openai-media-credentials/both")).provider == "openai"
    with pytest.raises(InvalidRequest, match="no saved block 's3-bucket/both'"):
        await connection_to("s3-bucket/both")


def test_the_outermost_run_is_asked_for_once(api):
    """A task in a subflow has to ask who its parents are."""

    @task
    async def root():
        return await root_flow_run_id()

    @flow
    async def inner(count):
        return set(await asyncio.gather(*(root() for _ in range(count))))

    @flow
    async def outer(count):
        from prefect.runtime import flow_run

        return flow_run.id, await inner(count)

    counted = []
    for count in (1, 30):
        before = api.asked_for("GET /api/task_runs/")
        run_id, roots = asyncio.run(outer(count))
        assert roots == {run_id}
        counted.append(api.asked_for("GET /api/task_runs/") - before)
    assert counted[0] == counted[1] > 0


# How an answer is shared.


async def test_those_who_wait_share_one_answer_across_loops_and_threads():
    asked, go_on = [], threading.Event()

    async def ask():
        asked.append(threading.get_ident())
        await asyncio.to_thread(go_on.wait, 20)
        return object()

    @flow
    async def run():
        from_threads = [asyncio.to_thread(lambda: asyncio.run(once_per_run("x", ask))) for _ in range(3)]
        from_background = [asyncio.to_thread(lambda: run_sync(once_per_run("x", ask))) for _ in range(2)]
        waiting = [asyncio.ensure_future(one) for one in (*from_threads, *from_background)]
        waiting += [asyncio.ensure_future(once_per_run("x", ask)) for _ in range(5)]
        await asyncio.sleep(0.05)
        go_on.set()
        return await asyncio.gather(*waiting)

    answers = await run()
    assert len(answers) == 10
    assert len(set(map(id, answers))) == len(asked) == 1


async def test_whoever_gives_up_leaves_the_asking_to_another():
    asked = []

    async def ask():
        asked.append(asyncio.current_task())
        if len(asked) == 1:
            await asyncio.sleep(60)
        return "answer"

    @flow
    async def run():
        first, second, third = (asyncio.create_task(once_per_run("x", ask)) for _ in range(3))
        await asyncio.sleep(0)
        third.cancel()
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second, asked == [first, second]

    assert await run() == ("answer", True)


async def test_what_is_kept_has_an_end():
    asked = []

    async def ask():
        asked.append(1)

    @flow
    async def run():
        for _ in range(2):
            for number in range(KEPT + 1):
                await once_per_run(str(number), ask)

    await run()
    assert len(asked) == 2 * (KEPT + 1), "the longest unused had to go each time"
