"""The flow whose runs sleep: it buys, waits without a process, fetches, and perhaps asks a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect_media.tasks.review import aapprove
from prefect_media.tasks.waiting import auntil_finished

from prefect_media.assets import Asset
from prefect_media.errors import MediaError
from prefect_media.jobs import VideoJob
from prefect_media.purchases import video_steps as steps
from prefect_media.purchases.batch_fetch import fetch
from prefect_media.purchases.batch_submit import submit

from ..history import IMAGES
from ..names import REQUESTS
from ..world import Run
from .surroundings import CREDENTIALS, STORE

if TYPE_CHECKING:
    from .world import SleepingWorld

SUSPEND_AFTER = 20.0

SHOWN = Asset(uri="s3://sim/shown.png", kind="image", content_type="image/png", size_bytes=1, sha256="0" * 64)
"""What a person is asked about."""


async def film(world: SleepingWorld, run: Run) -> None:
    """One attempt of a flow run, from its top."""
    action, at, place = run.action, world.connection, run.process.storage
    terms = world._terms(action)
    videos = [name for name in action.what if name not in IMAGES]
    images = [name for name in action.what if name in IMAGES]
    jobs = [await steps.submit(at, REQUESTS[name], place, terms) for name in videos]
    if images:
        jobs.append(await submit(at, [REQUESTS[name] for name in images], place, terms))
    outcomes = await auntil_finished(
        jobs,
        credentials=CREDENTIALS,
        until="any" if "any" in action.how else "all",
        suspend_after=SUSPEND_AFTER,
        timeout=action.timeout,
        store=STORE,
    )
    for number, outcome in enumerate(outcomes):
        world.watcher.answered(run, outcome)
        if outcome.finished and outcome.error is None:
            names = [videos[number]] if isinstance(outcome.job, VideoJob) else images
            run.assets += await _fetch(world, run, names, outcome.job, terms)
    if "approve" in action.how:
        await aapprove([SHOWN], "Is it good?", timeout=action.timeout, store=STORE)


async def _fetch(world: SleepingWorld, run: Run, names: list[str], job: Any, terms: Any) -> list[tuple[str, Asset]]:
    """What a job came to; one that failed for good does not end the flow."""
    at, place = world.connection, run.process.storage
    purchases = [f"{name}@{run.action.scope}" for name in names]
    try:
        if isinstance(job, VideoJob):
            return [(purchases[0], await steps.fetch(at, job, place, terms))]
        made = await fetch(at, job, place, terms)
    except MediaError as error:
        if error.transient:
            raise
        world.note(run.process, f"{job.id} can't be fetched: {type(error).__name__}")
        return []
    return [(name, asset) for name, each in zip(purchases, made, strict=True) for asset in each.assets]
