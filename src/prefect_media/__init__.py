"""Generative images and video as durable Prefect tasks: never bought twice, always in your bucket.

Names load on first use, so that importing the package costs milliseconds in every worker and command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_media.blocks import AzureOpenAICredentials as AzureOpenAICredentials
    from prefect_media.blocks import MediaStore as MediaStore
    from prefect_media.blocks import OpenAICredentials as OpenAICredentials
    from prefect_media.blocks import VideoJobBlock as VideoJobBlock
    from prefect_media.tasks import Approval as Approval
    from prefect_media.tasks import Choice as Choice
    from prefect_media.tasks import Generation as Generation
    from prefect_media.tasks import JobOutcome as JobOutcome
    from prefect_media.tasks import MediaTaskRunner as MediaTaskRunner
    from prefect_media.tasks import aapprove as aapprove
    from prefect_media.tasks import achoose as achoose
    from prefect_media.tasks import aedit_images as aedit_images
    from prefect_media.tasks import aedit_video as aedit_video
    from prefect_media.tasks import aextend_video as aextend_video
    from prefect_media.tasks import afetch_image_batch as afetch_image_batch
    from prefect_media.tasks import afetch_video as afetch_video
    from prefect_media.tasks import agather as agather
    from prefect_media.tasks import agenerate_images as agenerate_images
    from prefect_media.tasks import agenerate_video as agenerate_video
    from prefect_media.tasks import aimage_batch_is_finished as aimage_batch_is_finished
    from prefect_media.tasks import approve as approve
    from prefect_media.tasks import apublish as apublish
    from prefect_media.tasks import aremix_video as aremix_video
    from prefect_media.tasks import ashow_gallery as ashow_gallery
    from prefect_media.tasks import ashow_table as ashow_table
    from prefect_media.tasks import asubmit_image_batch as asubmit_image_batch
    from prefect_media.tasks import asubmit_video as asubmit_video
    from prefect_media.tasks import auntil_finished as auntil_finished
    from prefect_media.tasks import await_for_video as await_for_video
    from prefect_media.tasks import choose as choose
    from prefect_media.tasks import edit_images as edit_images
    from prefect_media.tasks import edit_video as edit_video
    from prefect_media.tasks import extend_video as extend_video
    from prefect_media.tasks import fetch_image_batch as fetch_image_batch
    from prefect_media.tasks import fetch_video as fetch_video
    from prefect_media.tasks import gather as gather
    from prefect_media.tasks import generate_images as generate_images
    from prefect_media.tasks import generate_video as generate_video
    from prefect_media.tasks import image_batch_is_finished as image_batch_is_finished
    from prefect_media.tasks import publish as publish
    from prefect_media.tasks import remix_video as remix_video
    from prefect_media.tasks import show_gallery as show_gallery
    from prefect_media.tasks import show_table as show_table
    from prefect_media.tasks import submit_image_batch as submit_image_batch
    from prefect_media.tasks import submit_video as submit_video
    from prefect_media.tasks import until_finished as until_finished
    from prefect_media.tasks import wait_for_video as wait_for_video

    from . import errors as errors
    from .assets import Asset as Asset
    from .budget import Budget as Budget
    from .errors import AuthenticationFailed as AuthenticationFailed
    from .errors import BudgetExceeded as BudgetExceeded
    from .errors import ContentRejected as ContentRejected
    from .errors import DownloadCorrupt as DownloadCorrupt
    from .errors import InvalidRequest as InvalidRequest
    from .errors import JobExpired as JobExpired
    from .errors import JobFailed as JobFailed
    from .errors import JobTimedOut as JobTimedOut
    from .errors import MediaError as MediaError
    from .errors import ModelRetired as ModelRetired
    from .errors import NotFound as NotFound
    from .errors import ProviderUnavailable as ProviderUnavailable
    from .errors import QuotaExceeded as QuotaExceeded
    from .errors import RateLimited as RateLimited
    from .errors import ReviewTimedOut as ReviewTimedOut
    from .errors import StoreError as StoreError
    from .errors import SubmissionInDoubt as SubmissionInDoubt
    from .image_batch import ImageBatch as ImageBatch
    from .jobs import VideoJob as VideoJob
    from .manifest import Manifest as Manifest
    from .requests import ImageEditRequest as ImageEditRequest
    from .requests import ImageRequest as ImageRequest
    from .requests import RemixRequest as RemixRequest
    from .requests import VideoEditRequest as VideoEditRequest
    from .requests import VideoExtendRequest as VideoExtendRequest
    from .requests import VideoRequest as VideoRequest
    from .simulator import simulated as simulated

_HOME = {
    "Approval": "tasks",
    "Asset": "assets",
    "AuthenticationFailed": "errors",
    "AzureOpenAICredentials": "blocks",
    "Budget": "budget",
    "BudgetExceeded": "errors",
    "Choice": "tasks",
    "ContentRejected": "errors",
    "DownloadCorrupt": "errors",
    "Generation": "tasks",
    "ImageBatch": "image_batch",
    "ImageEditRequest": "requests",
    "ImageRequest": "requests",
    "InvalidRequest": "errors",
    "JobExpired": "errors",
    "JobFailed": "errors",
    "JobOutcome": "tasks",
    "JobTimedOut": "errors",
    "Manifest": "manifest",
    "MediaError": "errors",
    "MediaStore": "blocks",
    "MediaTaskRunner": "tasks",
    "ModelRetired": "errors",
    "NotFound": "errors",
    "OpenAICredentials": "blocks",
    "ProviderUnavailable": "errors",
    "QuotaExceeded": "errors",
    "RateLimited": "errors",
    "RemixRequest": "requests",
    "ReviewTimedOut": "errors",
    "StoreError": "errors",
    "SubmissionInDoubt": "errors",
    "VideoEditRequest": "requests",
    "VideoExtendRequest": "requests",
    "VideoJob": "jobs",
    "VideoJobBlock": "blocks",
    "VideoRequest": "requests",
    "aapprove": "tasks",
    "achoose": "tasks",
    "aedit_images": "tasks",
    "aedit_video": "tasks",
    "aextend_video": "tasks",
    "afetch_image_batch": "tasks",
    "afetch_video": "tasks",
    "agather": "tasks",
    "agenerate_images": "tasks",
    "agenerate_video": "tasks",
    "aimage_batch_is_finished": "tasks",
    "approve": "tasks",
    "apublish": "tasks",
    "aremix_video": "tasks",
    "ashow_gallery": "tasks",
    "ashow_table": "tasks",
    "asubmit_image_batch": "tasks",
    "asubmit_video": "tasks",
    "auntil_finished": "tasks",
    "await_for_video": "tasks",
    "choose": "tasks",
    "edit_images": "tasks",
    "edit_video": "tasks",
    "extend_video": "tasks",
    "fetch_image_batch": "tasks",
    "fetch_video": "tasks",
    "gather": "tasks",
    "generate_images": "tasks",
    "generate_video": "tasks",
    "image_batch_is_finished": "tasks",
    "publish": "tasks",
    "remix_video": "tasks",
    "show_gallery": "tasks",
    "show_table": "tasks",
    "simulated": "simulator",
    "submit_image_batch": "tasks",
    "submit_video": "tasks",
    "until_finished": "tasks",
    "wait_for_video": "tasks",
}

__all__ = ["errors", *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module(".errors", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
