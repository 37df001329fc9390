"""One engine, run once in a process of its own and measured there; `transfers.py` starts it and reads what it prints.

python benchmarks/client.py PLAN-AS-JSON
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

MB = 1_000_000


@dataclass(frozen=True)
class Plan:
    """What an engine has to do.

    Attributes:
        engine: A name of `ENGINES`.
        kind: "video" or "image".
        jobs: How many, all at once.
        provider: Address of the load server.
        sink: Address of the S3 sink.
        folder: Store in this folder and not in the sink; only this package's engines can.
        hashing: Whether the floor computes SHA-256 on the way, as all others do.
    """

    engine: str
    kind: str
    jobs: int
    provider: str
    sink: str
    folder: str = ""
    hashing: bool = True

    @property
    def suffix(self) -> str:
        return "mp4" if self.kind == "video" else "png"

    @property
    def at_once(self) -> int:
        """Paid requests in the air: the package's default, or for images as many as the other engines have."""
        return 64 if self.kind == "image" else 16

    def prompt(self, number: int) -> str:
        return f"Shot {number:03}, a paper boat on a river"


@dataclass(frozen=True)
class Done:
    """What an engine has done: the hash of everything it stored, and what else is worth telling."""

    hashes: list[str]
    more: dict[str, Any] = field(default_factory=dict)


Run = Callable[[], Awaitable[Done]]

ENGINES = {
    "floor": "engine_floor",
    "floor-flow": "engine_floor_flow",
    "sdk": "engine_sdk",
    "sdk-buffered": "engine_sdk_buffered",
    "bare": "engine_bare",
    "flow": "engine_flow",
    "submit": "engine_submit",
    "submit-threads": "engine_submit",
    "agather": "engine_agather",
    "agather-50": "engine_agather",
    "litellm": "engine_litellm",
}
"""The module of each engine; its `prepared(plan)` imports all it needs and returns what is then measured."""


def available(engine: str) -> bool:
    """Whether an engine can be run: our own task runner may not be part of the package that is installed."""
    from prefect_media import tasks

    return engine != "submit" or hasattr(tasks, "MediaTaskRunner")


def measured(plan: Plan) -> dict[str, Any]:
    """Run an engine; seconds and MB."""
    run: Run = import_module(ENGINES[plan.engine]).prepared(plan)
    idle = _memory("VmRSS")
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    done = asyncio.run(run())
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall": wall,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "all_cpu": after.ru_utime + after.ru_stime,
        "idle": idle,
        "peak": _memory("VmHWM"),
        **vars(done),
    }


def _memory(name: str) -> float:
    """A figure of the kernel's on this process in MB, such as the peak of its resident memory."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024 / MB


if __name__ == "__main__":
    print(json.dumps(measured(Plan(**json.loads(sys.argv[1])))))  # noqa: T201
