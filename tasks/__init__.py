"""The steps a flow is made of."""

if __name__ == "tasks":
    # Imported by its folder's name, the tasks would exist twice.
    raise ImportError("import prefect_media.tasks instead of tasks")

from .batch import afetch_image_batch as afetch_image_batch
from .batch import aimage_batch_is_finished as aimage_batch_is_finished
from .batch import asubmit_image_batch as asubmit_image_batch
from .batch import fetch_image_batch as fetch_image_batch
from .batch import image_batch_is_finished as image_batch_is_finished
from .batch import submit_image_batch as submit_image_batch
from .cancellation import cancel_remote_jobs as cancel_remote_jobs
from .gallery import ashow_gallery as ashow_gallery
from .gallery import show_gallery as show_gallery
from .generation import Generation as Generation
from .images import aedit_images as aedit_images
from .images import agenerate_images as agenerate_images
from .images import edit_images as edit_images
from .images import generate_images as generate_images
from .many import agather as agather
from .many import gather as gather
from .publish import apublish as apublish
from .publish import publish as publish
from .review import Approval as Approval
from .review import Choice as Choice
from .review import aapprove as aapprove
from .review import achoose as achoose
from .review import approve as approve
from .review import choose as choose
from .runner import MediaTaskRunner as MediaTaskRunner
from .table import ashow_table as ashow_table
from .table import show_table as show_table
from .video_steps import afetch_video as afetch_video
from .video_steps import asubmit_video as asubmit_video
from .video_steps import avideo_is_finished as avideo_is_finished
from .video_steps import await_for_video as await_for_video
from .video_steps import fetch_video as fetch_video
from .video_steps import submit_video as submit_video
from .video_steps import video_is_finished as video_is_finished
from .video_steps import wait_for_video as wait_for_video
from .videos import aedit_video as aedit_video
from .videos import aextend_video as aextend_video
from .videos import agenerate_video as agenerate_video
from .videos import aremix_video as aremix_video
from .videos import edit_video as edit_video
from .videos import extend_video as extend_video
from .videos import generate_video as generate_video
from .videos import remix_video as remix_video
from .waiting import JobOutcome as JobOutcome
from .waiting import auntil_finished as auntil_finished
from .waiting import until_finished as until_finished

__all__ = [
    "Approval",
    "Choice",
    "Generation",
    "JobOutcome",
    "MediaTaskRunner",
    "aapprove",
    "achoose",
    "aedit_images",
    "aedit_video",
    "aextend_video",
    "afetch_image_batch",
    "afetch_video",
    "agather",
    "agenerate_images",
    "agenerate_video",
    "aimage_batch_is_finished",
    "approve",
    "apublish",
    "aremix_video",
    "ashow_gallery",
    "ashow_table",
    "asubmit_image_batch",
    "asubmit_video",
    "auntil_finished",
    "avideo_is_finished",
    "await_for_video",
    "cancel_remote_jobs",
    "choose",
    "edit_images",
    "edit_video",
    "extend_video",
    "fetch_image_batch",
    "fetch_video",
    "gather",
    "generate_images",
    "generate_video",
    "image_batch_is_finished",
    "publish",
    "remix_video",
    "show_gallery",
    "show_table",
    "submit_image_batch",
    "submit_video",
    "until_finished",
    "video_is_finished",
    "wait_for_video",
]
