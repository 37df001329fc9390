"""The steps a flow is made of."""

if __name__ == "tasks":
    # Imported by its folder's name, the tasks would exist twice.
    raise ImportError("import prefect_media.tasks instead of tasks")

from .cancellation import cancel_remote_jobs as cancel_remote_jobs
from .images import agenerate_images as agenerate_images
from .images import generate_images as generate_images
from .publish import apublish as apublish
from .publish import publish as publish
from .reporting import show_gallery as show_gallery
from .videos import agenerate_video as agenerate_video
from .videos import aremix_video as aremix_video
from .videos import generate_video as generate_video
from .videos import remix_video as remix_video

__all__ = [
    "agenerate_images",
    "agenerate_video",
    "apublish",
    "aremix_video",
    "cancel_remote_jobs",
    "generate_images",
    "generate_video",
    "publish",
    "remix_video",
    "show_gallery",
]
