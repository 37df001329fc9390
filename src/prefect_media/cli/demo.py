"""`prefect-media demo`: the storyboard flow, run for real against servers that live only as long as the demo.

Nothing of Prefect is imported before its settings point to the demo's own server: the user's profile, server and
database are neither read nor written.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from rich.console import Console

import prefect_media.simulator  # its names load on first use: they need an extra

from ..errors import MediaError
from ..manifest import Manifest
from ..requests import ImageRequest, VideoRequest
from ..runtime import clock
from ..storage.store import storage_of
from .demo_screen import Rows, Steps, last_words, results
from .demo_servers import BucketServer, PrefectServer
from .lazy import load
from .simulate import need_extra

NEEDED = ("starlette", "uvicorn", "python_multipart", "moto", "flask", "flask_cors")

STILL = "A paper boat on a quiet sea at sunrise"
MOTION = "The paper boat drifts past the sun, the camera follows slowly"
REMIX = "The same paper boat at night, under stars"

STORYBOARD = "prefect_media.flows.storyboard:storyboard"
BUCKET = "demo"
NAMES = ("1-still.png", "2-motion.mp4", "3-remix.mp4")


def run(
    output: Annotated[Path, typer.Option(help="Folder for what is made.")] = Path("demo-output"),
    latency: Annotated[float, typer.Option(min=0, help="Seconds a video takes.")] = 3.0,
    serve: Annotated[bool, typer.Option("--serve", help="Keep everything up for a look at the Prefect UI.")] = False,
) -> None:
    """Start the servers, run the flow, show the results, and stop everything again."""
    need_extra("demo", NEEDED)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(
            f"the folder {output} can't be made ({error.strerror}); choose another with --output"
        ) from None
    console = Console(highlight=False)
    began = clock.monotonic()
    with _interruptible(console) as stack:
        prefect = PrefectServer()
        stack.callback(prefect.stop)
        stack.enter_context(_environment(prefect.env | {"PREFECT_LOGGING_COLORS": "false"}))
        # What Prefect logs goes to a file. It stays open: Prefect's threads write to it until the process ends.
        log = prefect.home / "demo.log"
        stack.enter_context(redirect_stderr(log.open("w", buffering=1)))

        console.print("\n[bold]A picture, a video that begins with it, and a remix: made, stored, published.[/]")
        console.print("[dim]The models are the simulator's: nothing leaves this machine or is paid for.[/]\n")
        simulator, bucket = _servers(console, stack, prefect, latency)
        console.print()
        from prefect.exceptions import TerminationSignal

        try:
            manifest = asyncio.run(_story(console, simulator))
            asyncio.run(_save(manifest, output))
        except TerminationSignal:  # while a flow runs, Prefect takes SIGTERM for itself
            raise SystemExit(128 + signal.SIGTERM) from None
        except Exception as error:  # whatever it was, Prefect's last words help to understand it
            raise MediaError(f"{last_words(log)}\n\nThe demo failed: {error}") from error
        _check(simulator)
        console.print()
        console.print(results(console, manifest, NAMES))
        _tell(console, manifest, output, clock.monotonic() - began)
        if serve:
            run_id = asyncio.run(_flow_run_id())
            _keep_up(
                console,
                {
                    "Flow run": f"{prefect.url}/runs/flow-run/{run_id}",
                    "Gallery": f"{prefect.url}/artifacts/key/storyboard",
                    "Provider": simulator.url,
                    "Bucket": f"{bucket.url}/{BUCKET}",
                    "Log": str(log),
                },
            )
        else:
            _say_what_next(console)


@contextmanager
def _interruptible(console: Console) -> Generator[ExitStack]:
    """Ctrl-C and SIGTERM take the same way out, and nothing breaks off the clearing up."""
    ended_by = signal.SIGINT

    def terminate(*_: object) -> None:
        nonlocal ended_by
        ended_by = signal.SIGTERM
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    signal.signal(signal.SIGTERM, terminate)
    stack = ExitStack()
    try:
        yield stack
    except KeyboardInterrupt:
        raise SystemExit(128 + ended_by) from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        stack.close()
        console.show_cursor()


@contextmanager
def _environment(env: dict[str, str]) -> Generator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _servers(
    console: Console, stack: ExitStack, prefect: PrefectServer, latency: float
) -> tuple[prefect_media.simulator.Simulator, BucketServer]:
    """Bring up the three servers side by side, and save the blocks that lead to them."""
    bucket = BucketServer()

    def simulate() -> prefect_media.simulator.Simulator:
        simulator = prefect_media.simulator.Simulator(latency=latency, image_latency=min(latency, 1.0))
        simulator.start()
        stack.callback(simulator.stop)
        return simulator

    def keep() -> str:
        bucket.start()
        stack.callback(bucket.stop)
        bucket.create(BUCKET)
        return f"s3://{BUCKET} at {bucket.url}"

    def serve() -> PrefectServer:
        load(STORYBOARD)  # imports Prefect, while its server starts
        prefect.wait()
        return prefect

    prefect.start()
    stack.callback(_let_prefect_finish)
    with Rows(console, "simulator", "bucket", "Prefect", "blocks") as rows, ThreadPoolExecutor() as pool:
        work = [
            pool.submit(rows.run_timed, name, start)
            for name, start in (("Prefect", serve), ("simulator", simulate), ("bucket", keep))
        ]
        try:
            _, simulator, _ = [each.result() for each in work]
        except BaseException:
            prefect.stop()  # or leaving the pool would wait until it is up
            raise
        rows.run_timed("blocks", lambda: asyncio.run(_save_blocks(simulator, bucket)))
    return simulator, bucket


def _let_prefect_finish() -> None:
    """Have Prefect's threads send what they still hold, while there is a server to take it."""
    if "prefect.events.worker" in sys.modules and "prefect.logging.handlers" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (APILogWorker, EventsWorker):
            worker.drain_all(timeout=5)


async def _save_blocks(simulator: prefect_media.simulator.Simulator, bucket: BucketServer) -> str:
    def store(prefix: str) -> prefect_media.MediaStore:
        return prefect_media.MediaStore(
            url=f"s3://{BUCKET}/{prefix}",
            endpoint_url=bucket.url,
            region="us-east-1",
            aws_access_key_id=SecretStr(bucket.KEY),
            aws_secret_access_key=SecretStr(bucket.SECRET),
        )

    await simulator.credentials.asave("demo", overwrite=True)
    await store("work").asave("demo", overwrite=True)
    await store("published").asave("demo-bucket", overwrite=True)
    return "demo (credentials), demo and demo-bucket (stores)"


async def _story(console: Console, simulator: prefect_media.simulator.Simulator) -> Manifest:
    """Run the flow as anybody would, with blocks by name, and draw how far the provider has come."""
    storyboard: Callable[..., Coroutine[Any, Any, Manifest]] = load(STORYBOARD)
    flow = asyncio.ensure_future(
        storyboard(
            "demo",
            still=ImageRequest(prompt=STILL, model="gpt-image-2", aspect_ratio="16:9"),
            motion=VideoRequest(prompt=MOTION, model="sora-2", seconds=4, size="1280x720"),
            remix=REMIX,
            store="demo",
            destination="demo-bucket",
        )
    )
    with Steps(console, simulator) as steps:
        while not flow.done():
            steps.draw()
            await asyncio.wait({flow}, timeout=0.1)
        manifest = flow.result()
        steps.finish()
    return manifest


async def _save(manifest: Manifest, output: Path) -> None:
    for asset, name in zip(manifest.assets, NAMES, strict=True):
        await asset.asave_to(output / name)
    storage, key = storage_of(manifest.uri)
    (output / "manifest.json").write_bytes(await storage.read(key))


def _check(simulator: prefect_media.simulator.Simulator) -> None:
    operations = [image.operation for image in simulator.images], [job.operation for job in simulator.jobs]
    if operations != (["generate"], ["generate", "remix"]):
        raise MediaError(f"the demo bought something other than one image, one video and one remix: {operations}")


async def _flow_run_id() -> str:
    """The flow run that left the gallery."""
    from prefect.artifacts import Artifact

    gallery = await Artifact.aget("storyboard")
    assert gallery is not None
    return str(gallery.flow_run_id)


def _tell(console: Console, manifest: Manifest, output: Path, seconds: float) -> None:
    for line in (
        f"\nPublished in [bold]{manifest.uri.rpartition('/')[0]}[/], copied to [bold]{output.resolve()}[/]",
        f"Done in {seconds:.0f} s. It cost [bold]nothing[/]: the simulator sold 1 image and 2 videos, "
        "exactly one of each.",
    ):
        console.print(line, soft_wrap=True)


def _say_what_next(console: Console) -> None:
    for line in (
        "\nNext",
        "  [bold]prefect-media demo --serve[/]                the same, with the Prefect UI to look around in",
        "  [bold]prefect-media simulate[/]                    a provider to develop against without a key",
        "  [bold]prefect block register -m prefect_media[/]   the blocks, in your own Prefect\n",
    ):
        console.print(line, soft_wrap=True)


def _keep_up(console: Console, places: dict[str, str]) -> None:
    console.print()
    for what, address in places.items():
        console.print(f"{what:<10} {address}", soft_wrap=True)
    console.print("\nEverything stays up until Ctrl-C.")
    while True:  # a signal that comes right before an endless wait would not end it
        clock.block(0.5)
