"""Flows that are cancelled on a worker while their videos are made."""

from prefect import flow
from prefect_media.tasks import cancel_remote_jobs

from prefect_media import VideoRequest, agenerate_video, generate_video, submit_video

NAME = "cancelled-flows"
"""Saved blocks: the provider's credentials, and the store."""

FIRST, SECOND, THIRD = (
    VideoRequest(prompt=f"waves {number}", model="boats-1", seconds=1, size="64x64") for number in (1, 2, 3)
)


@flow(on_cancellation=[cancel_remote_jobs(NAME, NAME)])
def film():
    """Two videos in threads of Prefect's own task runner, and one that nobody waits for: that is left to the hook."""
    submit_video(NAME, THIRD, store=NAME)
    made = [
        generate_video.submit(NAME, FIRST, store=NAME, cancel_remote=True),
        agenerate_video.submit(NAME, SECOND, store=NAME, cancel_remote=True),
    ]
    return [future.result() for future in made]
