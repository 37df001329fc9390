"""Resumes sleeping flow runs whose jobs are finished; deploy it with a schedule of a minute.

A round takes seconds and buys nothing. Several wakers at once do no harm. It takes a worker slot while it runs, so give
it a work pool or queue whose slots the flows that it wakes can't fill, or run `prefect-media wake --every 60` instead.
"""

from prefect import flow
from prefect_media.blocks.choices import AnyStore
from prefect_media.tasks.context import storage_for
from prefect_media.tasks.current_run import run_logger
from prefect_media.tasks.wake import make_round


@flow(name="wake")
async def wake(store: AnyStore = None, every: float = 60.0) -> dict[str, int]:
    """Look once at what flow runs of a store wait for, and resume those that need not wait any longer.

    Args:
        store: Where the waiting records lie: a block, the name of a saved one, a URL or a folder.
        every: Seconds between the runs of this deployment, as its schedule has it.

    Returns:
        How many flow runs were resumed, how many go on sleeping, and how many records were removed.
    """
    done = await make_round(await storage_for(store), every=every)
    counts = {"woken": len(done.woken), "waiting": done.waiting, "removed": done.removed}
    run_logger().info("%(woken)d resumed, %(waiting)d still waiting, %(removed)d records removed", counts)
    return counts
