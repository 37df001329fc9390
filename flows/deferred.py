"""A video that holds no worker while it is made: ordered by the first run, fetched by the first that finds it done.

Deploy it with a schedule of a few minutes. Every run takes seconds: it orders the video (once, whatever happens),
looks at the job once, and ends, with the manifest when there is one.
"""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect_media.blocks.choices import AnyCredentials, AnyStore
from prefect_media.tasks import avideo_is_finished

from prefect_media import (
    Manifest,
    VideoRequest,
    afetch_video,
    apublish,
    asubmit_video,
)


@flow(name="deferred", log_prints=True)
async def deferred(
    credentials: AnyCredentials,
    request: VideoRequest,
    scope: str,
    store: AnyStore = None,
    destination: AnyStore = None,
) -> Manifest | State[None]:
    """Order a video, or collect the one that an earlier run ordered.

    Args:
        credentials: Who makes the video.
        request: The video to make.
        scope: A name for this purchase, the same in every run: what is ordered under it is ordered once.
        store: Where work and ledger live: a block, the name of a saved one, a URL or a folder.
        destination: Where the result is published; the store if left out.

    Returns:
        The manifest; while the video is still being made, a completed state that says so.
    """
    job = await asubmit_video(credentials, request, store=store, scope=scope)
    if not await avideo_is_finished(credentials, job, store=store):
        return Completed(name="Rendering", message=f"Job {job.id} is still being made; a later run fetches it.")
    asset = await afetch_video(credentials, job, store=store)
    return await apublish(asset, destination or store, prefix=scope)
