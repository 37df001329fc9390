"""Clocks that are hours off, of whoever buys, of whoever comes after, and of the server: bought once all the same.

Every buyer is a process of its own with a clock of its own. Folder and bucket alike.
"""

from __future__ import annotations

import re
import signal
import time
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from types import SimpleNamespace

import pytest
from buyer import clip, plan
from faulty_server import Raw, forward, reply

from prefect_media.simulator import Simulator

OFF = {"3 h behind": -10_800, "5 min behind": -300, "5 min ahead": 300, "3 h ahead": 10_800}


class ServerWithClock(Raw):
    """A provider whose clock is so many seconds ahead: in the dates of its answers and of its jobs."""

    def __init__(self, simulator, ahead):
        self.root, self.ahead = simulator.url.removesuffix("/v1"), ahead
        super().__init__()
        self.provider = SimpleNamespace(url=f"{self.url}/v1")

    def serve(self, line, asked):
        answer, data = forward(asked, self.root, asked.file.read(asked.length))
        if "json" in (answer.getheader("content-type") or ""):
            data = re.sub(
                rb'("created_at": ?)(\d+)', lambda found: found[1] + b"%d" % (int(found[2]) + self.ahead), data
            )
        reply(
            line, asked, answer.status, data, [(name, self._shifted(name, text)) for name, text in answer.getheaders()]
        )
        return True

    def _shifted(self, name, text):
        if name.lower() != "date":
            return text
        return format_datetime(parsedate_to_datetime(text) + timedelta(seconds=self.ahead), usegmt=True)


@pytest.fixture
def simulator():
    with Simulator(latency=0.05) as simulator:
        yield simulator


@pytest.fixture
def servers(simulator):
    """A server for each clock; all of them have the same jobs."""
    servers = {name: ServerWithClock(simulator, ahead) for name, ahead in OFF.items()}
    yield {name: server.provider for name, server in servers.items()}
    for server in servers.values():
        server.close()


def jobs_by_prompt(simulator):
    found = {}
    for job in simulator.jobs:
        found.setdefault(job.prompt, []).append(job.id)
    return found


def test_a_crash_right_after_the_server_took_the_job_is_bought_once(simulator, servers, store, nursery):
    """Four clocks of the server, of the one who died and of the one who finds the record: each pair of them once."""
    storage = store.storage()
    names = list(OFF)
    combinations = [(names[i], names[j], names[(i + j) % 4]) for i in range(4) for j in range(4)]
    dying = [
        nursery.start(
            plan(servers[each[0]], storage, clip("; ".join(each)), die="after the reply", clock_ahead=OFF[each[1]])
        )
        for each in combinations
    ]
    assert {buyer.wait() for buyer in dying} == {-signal.SIGKILL}
    assert len(simulator.jobs) == len(combinations)

    heirs = [
        nursery.start(plan(servers[server], storage, clip("; ".join((server, first, second))), clock_ahead=OFF[second]))
        for server, first, second in combinations
    ]
    bought = [asset.source.job_id for buyer in heirs for asset in buyer.assets]

    twice = {prompt: ids for prompt, ids in jobs_by_prompt(simulator).items() if len(ids) > 1}
    assert not twice, f"{len(twice)} of {len(combinations)} were bought twice: {sorted(twice)}"
    assert sorted(bought) == sorted(job.id for job in simulator.jobs)


def test_a_living_lease_is_never_over_by_the_clock(simulator, servers, store, nursery):
    """Who holds it sleeps between the claim and the request; the second comes with any other clock, and waits."""
    storage = store.storage()
    pairs = list(zip(OFF, reversed(OFF), strict=True))
    orders = {names: (servers[names[0]], storage, clip("; ".join(names))) for names in pairs}
    first = {
        names: nursery.start(plan(*order, die="asleep with the lease", clock_ahead=OFF[names[0]], lease_seconds=20))
        for names, order in orders.items()
    }
    for buyer in first.values():
        assert buyer.stopped.wait(60)
    second = {
        names: nursery.start(plan(*order, clock_ahead=OFF[names[1]], lease_seconds=20))
        for names, order in orders.items()
    }
    time.sleep(3)
    assert len(simulator.jobs) == 0, "a lease that is alive was taken over"
    for buyer in first.values():
        buyer.signal(signal.SIGCONT)
    for names in pairs:
        assert first[names].assets == second[names].assets
    assert {prompt: len(ids) for prompt, ids in jobs_by_prompt(simulator).items()} == {
        "; ".join(names): 1 for names in pairs
    }


@pytest.mark.parametrize("ahead", OFF.values(), ids=OFF)
def test_who_slept_past_his_lease_asks_the_store_before_he_pays(ahead, simulator, store, nursery):
    """His own clock says that the lease has hours left, or that it is long over: only the store knows."""
    order = (simulator, store.storage(), clip())
    sleeper = nursery.start(plan(*order, die="asleep with the lease", clock_ahead=ahead, lease_seconds=1))
    assert sleeper.stopped.wait(60)
    heir = nursery.start(plan(*order, lease_seconds=1))
    assert len(heir.assets) == 1
    sleeper.signal(signal.SIGCONT)
    assert sleeper.assets == heir.assets
    assert len(simulator.jobs) == 1
