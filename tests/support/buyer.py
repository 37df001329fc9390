"""Processes that buy, and that die where a test says.

`Nursery` starts this file once; that process imports everything and forks a buyer for each plan it is sent, so
that a hundred of them cost no more than a few. A buyer is a process of its own all the same: it is killed by
SIGKILL, at the very line that its plan names or whenever the test likes.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect_media.assets import Asset
from prefect_media.budget import Budget
from prefect_media.errors import MediaError
from prefect_media.ledger.ledger import Ledger
from prefect_media.providers import batches as wire
from prefect_media.providers import images, videos
from prefect_media.providers.connection import Connection
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases import batch_fetch as batch_results
from prefect_media.purchases import batch_submit as batches
from prefect_media.purchases import images as image_purchases
from prefect_media.purchases import store_images
from prefect_media.purchases import videos as video_purchases
from prefect_media.purchases.sidecar import write_sidecars
from prefect_media.purchases.store_images import store_image
from prefect_media.purchases.store_video import store_video
from prefect_media.requests import ImageRequest, RemixRequest, VideoRequest
from prefect_media.runtime import clock
from prefect_media.storage import folder
from prefect_media.storage.base import StorageOptions
from prefect_media.storage.body import Body
from prefect_media.storage.store import Storage, storage_at

reconciliation: Any = import_module("prefect_media.purchases.lost_jobs")
KINDS = {"video": VideoRequest, "remix": RemixRequest, "image": ImageRequest}
MODEL = "boats-1"  # a model no catalog knows: any size, any length
CLIP = {"model": MODEL, "seconds": 1, "size": "64x64"}


# ---------------------------------------------------------------- what tests say


def clip(prompt: str = "a paper boat", **fields: Any) -> VideoRequest:
    """A video that costs next to nothing to make."""
    return VideoRequest(prompt=prompt, **{**CLIP, **fields})


def connection(simulator: Any, **fields: Any) -> Connection:
    return Connection(**{"provider": "openai", "base_url": simulator.url, "api_key": "sk-simulated", **fields})


def terms(scope: str = "test", **fields: Any) -> PurchaseOptions:
    return PurchaseOptions(**{"scope": scope, "timeout": 60.0, **fields})


def plan(
    simulator: Any, storage: Storage, *requests: VideoRequest | RemixRequest | ImageRequest, **more: Any
) -> dict[str, Any]:
    """What a buyer is to do.

    Args:
        simulator: Where to buy.
        storage: Where to keep it.
        requests: What to buy, one after the other.
        more: `scope`, `on_doubt`, `resubmit_images`, `die` (the name of a point), `lease_seconds`, `clock_ahead`
            (seconds by which the wall clock of the process is wrong), `budget` (the
            fields of one), `prices` (a file); with `batch` the images are ordered and fetched in one batch, those of
            `warm` in one before it.
    """
    names = {kind: name for name, kind in KINDS.items()}
    return {
        "base_url": simulator.url,
        "store": storage.url,
        "options": asdict(storage.options),
        "requests": [[names[type(request)], request.model_dump(mode="json")] for request in requests],
        **more,
    }


class Buyer:
    """One process, as its parent sees it."""

    def __init__(self, nursery: Nursery, pid: int, out: Path) -> None:
        self._nursery, self.pid, self._out = nursery, pid, out
        self.ended, self.stopped = threading.Event(), threading.Event()
        self.status: int | None = None

    def wait(self, timeout: float = 60.0) -> int:
        """The exit code; minus the signal that killed it."""
        assert self.ended.wait(timeout), f"the buyer still runs after {timeout} s"
        assert self.status is not None
        return os.waitstatus_to_exitcode(self.status)

    def signal(self, number: int = signal.SIGKILL) -> None:
        # by its parent, who alone knows for sure that the id is still its own
        self._nursery.send({"signal": number, "pid": self.pid})

    def report(self) -> dict[str, Any]:
        """What it left: {"assets": [...]} or {"error": ..., "message": ...}."""
        return json.loads(self._out.read_text())

    @property
    def assets(self) -> list[Asset]:
        """What it bought. Fails when it came to no good end."""
        assert self.wait() == 0, self._out.read_text() if self._out.exists() else "killed"
        return [Asset.model_validate(asset) for asset in self.report()["assets"]]


class Nursery:
    """Starts buyers; as a context manager, ends those that are left.

    Args:
        script: The file that is started, which calls `main`.
        env: More environment for it.
    """

    def __init__(self, script: str = __file__, env: dict[str, str] | None = None) -> None:
        self._script, self._env = script, env or {}

    def __enter__(self) -> Nursery:
        self._folder = tempfile.TemporaryDirectory()
        environment = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_MEDIA_")}
        environment |= self._env
        self._process = subprocess.Popen(
            [sys.executable, self._script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._buyers: dict[int, Buyer] = {}
        self._born = threading.Event()
        self._newest: Buyer
        self._count = 0
        self._lock, self._line = threading.Lock(), threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        for buyer in list(self._buyers.values()):
            buyer.signal()
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        self._folder.cleanup()

    def send(self, order: dict[str, Any]) -> None:
        assert self._process.stdin
        with self._line:
            self._process.stdin.write(f"{json.dumps(order)}\n")
            self._process.stdin.flush()

    def start(self, plan: dict[str, Any]) -> Buyer:
        with self._lock:
            self._count += 1
            self._born.clear()
            self._out = Path(self._folder.name) / f"{self._count}.json"
            self.send({**plan, "out": str(self._out)})
            assert self._born.wait(60)
            return self._newest

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            word, pid, status = line.split()
            if word == "born":
                self._newest = self._buyers[int(pid)] = Buyer(self, int(pid), self._out)
                self._born.set()
            elif word == "stopped":
                self._buyers[int(pid)].stopped.set()
            else:
                buyer = self._buyers.pop(int(pid))
                buyer.status = int(status)
                buyer.ended.set()


# ---------------------------------------------------------------- what the processes do


class WrongClock(clock.System):
    """The clocks of a machine whose wall clock is wrong."""

    def __init__(self, ahead: float) -> None:
        super().__init__()
        self.ahead = timedelta(seconds=ahead)

    def now(self) -> datetime:
        return super().now() + self.ahead


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


writing = threading.Lock()
"""Held by who has the lock of a folder in a process that is to fall asleep."""


def sleep_on(*_: Any, **__: Any) -> None:
    with writing:  # a thread may be renewing a lease, and everybody would wait for the folder that it has locked
        os.kill(os.getpid(), signal.SIGSTOP)


def fall_asleep(place: Any, name: str, turn: int = 1) -> None:
    """Have the process stand still when a function has ended for the nth time, but with no folder locked."""
    lock = folder._lock

    @contextmanager
    def noted(path: Path) -> Iterator[None]:
        with writing, lock(path):
            yield

    folder._lock = noted
    at(place, name, after=at_last(turn, once(sleep_on)))


def at(
    place: Any, name: str, *, before: Callable[..., None] | None = None, after: Callable[..., None] | None = None
) -> None:
    """Have something happen whenever a function begins or has ended."""
    original = getattr(place, name)

    async def surrounded(*args: Any, **kwargs: Any) -> Any:
        if before:
            before(*args, **kwargs)
        result = await original(*args, **kwargs)
        if after:
            after(result)
        return result

    setattr(place, name, surrounded)


def around(
    place: Any, name: str, *, before: Callable[..., None] | None = None, after: Callable[..., None] | None = None
) -> None:
    """The same for a function whose result is a context: when it is entered, or has been."""
    original = getattr(place, name)

    @asynccontextmanager
    async def surrounded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        if before:
            before(*args, **kwargs)
        async with original(*args, **kwargs) as entered:
            if after:
                after(entered)
            yield entered

    setattr(place, name, surrounded)


def die_within_the_download() -> None:
    original = Body.__iter__

    def broken_off(self: Body) -> Iterator[bytes]:
        for block in original(self):
            die()  # the first block is read, and none is written
            yield block

    Body.__iter__ = broken_off  # type: ignore[method-assign]


def die_when_running(state: Any) -> None:
    if state.phase == "running":
        die()


def once(action: Callable[..., None]) -> Callable[..., None]:
    done: list[bool] = []

    def act(*args: Any, **kwargs: Any) -> None:
        if not done:
            done.append(True)
            action(*args, **kwargs)

    return act


def at_last(count: int, action: Callable[..., None]) -> Callable[..., None]:
    """Not before it is the turn of so many."""
    turns = iter(range(1, count))

    def act(*args: Any, **kwargs: Any) -> None:
        if next(turns, None) is None:
            action(*args, **kwargs)

    return act


def after_the_sidecars() -> None:
    for place in (image_purchases, video_purchases):
        at(place, write_sidecars.__name__, after=die)


POINTS: dict[str, Callable[[], None]] = {
    "before the request": lambda: at(videos, "submit", before=die),
    "after the reply": lambda: at(videos, "submit", after=die),
    "while polling": lambda: at(videos, "look", after=die_when_running),
    "within the download": die_within_the_download,
    "after the store": lambda: at(video_purchases, store_video.__name__, after=die),
    "before the images": lambda: around(images, "post", before=die),
    "after the images": lambda: around(images, "post", after=die),
    "after storing the images": lambda: at(store_images, store_image.__name__, after=die),
    "after storing the third image": lambda: at(store_images, store_image.__name__, after=at_last(3, die)),
    "after the sidecars": after_the_sidecars,
    "before the batch": lambda: at(wire, "create", before=die),
    "after the batch": lambda: at(wire, "create", after=die),
    "while it is made": lambda: at(wire, "look", after=die),
    "before its first is on record": lambda: at(batch_results, "write_sidecars", after=die),
    "with some on record": lambda: at(batch_results, "write_sidecars", before=at_last(3, die)),
    "before it is closed": lambda: at(Ledger, "swap", before=die),
    "asleep with the batch": lambda: fall_asleep(batches, "_enlist"),
    "asleep with the lease": lambda: fall_asleep(Ledger, "claim"),
    "asleep with a line of the batch": lambda: fall_asleep(Ledger, "claim", turn=2),
}


async def buy(plan: dict[str, Any]) -> list[Asset]:
    storage = storage_at(plan["store"], StorageOptions(**plan["options"]))
    line = Connection(
        provider="openai",
        base_url=plan["base_url"],
        api_key="sk-simulated",
    )
    budget = Budget(**plan["budget"]) if "budget" in plan else None
    agreed = terms(plan.get("scope", "test"), on_doubt=plan.get("on_doubt", "raise"), budget=budget)
    again = replace(agreed, on_doubt="resubmit" if plan.get("resubmit_images") else agreed.on_doubt)
    assets: list[Asset] = []
    if plan.get("batch"):
        batch = await batches.submit(line, [ImageRequest(**fields) for _, fields in plan["requests"]], storage, agreed)
        made = await batch_results.fetch(line, batch, storage, agreed)
        return [asset for each in made for asset in each.assets]
    for kind, fields in plan["requests"]:
        if kind == "image":
            assets += await image_purchases.buy_images(line, ImageRequest(**fields), storage, again)
            continue
        before = assets[-1] if assets else None
        if kind == "remix" and fields.get("video") == "before":
            fields = {**fields, "video": before}
        if kind == "video" and fields.get("image") == "before":
            fields = {**fields, "image": before}
        assets.append(await video_purchases.buy_video(line, KINDS[kind](**fields), storage, agreed))
    return assets


def live(plan: dict[str, Any]) -> int:
    os.environ["PREFECT_MEDIA_LEASE_SECONDS"] = str(plan.get("lease_seconds", 0.5))
    os.environ["PREFECT_MEDIA_POLL_SECONDS"] = "0.05"
    clock.source = WrongClock(plan.get("clock_ahead", 0.0))
    if prices := plan.get("prices"):
        os.environ["PREFECT_MEDIA_PRICES"] = prices
    reconciliation.LOOKS = batches.LOOKS = (0.0, 0.2, 0.4)  # the simulator lists a job at once
    if point := plan.get("die"):
        POINTS[point]()
    try:
        if warm := plan.get("warm"):
            asyncio.run(buy({**plan, "requests": warm}))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report: dict[str, Any] = {"assets": [asset.model_dump(mode="json") for asset in asyncio.run(buy(plan))]}
        report["grown_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    except MediaError as error:
        report = {"error": type(error).__name__, "message": error.message}
    out = Path(plan["out"])
    part = out.with_suffix(".part")
    part.write_text(json.dumps(report))
    part.replace(out)
    return 0 if "assets" in report else 3


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def main(live: Callable[[dict[str, Any]], int] = live) -> None:
    """Fork a process for each line of the input, which does what the line says and exits with what `live` returns."""
    import av  # noqa: F401
    import obstore.store  # noqa: F401  # pyright: ignore
    import openai.resources.videos  # noqa: F401
    import PIL.PngImagePlugin  # noqa: F401

    wake, bell = os.pipe()
    os.set_blocking(bell, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(bell)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    waiting = b""
    while True:
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 4096)
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if not pid:
                break
            if os.WIFSTOPPED(status):
                tell("stopped", pid, 0)
                continue
            children.discard(pid)
            tell("ended", pid, status)
        if 0 not in ready:
            continue
        data = os.read(0, 1 << 16)
        if not data:
            return
        *lines, waiting = (waiting + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if "signal" in order:
                if order["pid"] in children:
                    os.kill(order["pid"], order["signal"])
                continue
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os.dup2(os.open(os.devnull, os.O_RDWR), 0)
                os.dup2(2, 1)  # the nursery's own words are not ours to mix with
                try:
                    os._exit(live(order))
                except BaseException:
                    import traceback

                    traceback.print_exc()
                    os._exit(1)
            children.add(pid)
            tell("born", pid, 0)


if __name__ == "__main__":
    main()
