"""What a pipeline is configured with, saved in Prefect."""

if __name__ == "blocks":
    # Imported by its folder's name, every block would be registered a second time and replace the packaged one.
    raise ImportError("import prefect_media.blocks instead of blocks")

from .credentials import AzureOpenAICredentials as AzureOpenAICredentials
from .credentials import OpenAICredentials as OpenAICredentials
from .store import MediaStore as MediaStore
from .video_job import VideoJobBlock as VideoJobBlock

__all__ = ["AzureOpenAICredentials", "MediaStore", "OpenAICredentials", "VideoJobBlock"]
