"""Tasks that buy in the background, on task workers that are killed; see `tests/tasks/test_background.py`."""

from prefect import task
from prefect.task_worker import serve

from prefect_media import VideoRequest, generate_video

NAME = "background-tasks"
"""Saved blocks: the provider's credentials, and the store."""

REQUEST = VideoRequest(prompt="waves", model="boats-1", seconds=1, size="64x64")


@task
def twice():
    """The same video twice, each in a task run within this one."""
    return [generate_video(NAME, REQUEST, store=NAME) for _ in range(2)]


def work():
    serve(generate_video, twice)
