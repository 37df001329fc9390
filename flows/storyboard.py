"""One still, a video that starts from it, a remix of that video, and all three in your bucket."""

from prefect import flow
from prefect_media.tasks import ashow_gallery

from prefect_media import (
    AzureOpenAICredentials,
    ImageRequest,
    Manifest,
    MediaStore,
    OpenAICredentials,
    RemixRequest,
    VideoRequest,
    agenerate_images,
    agenerate_video,
    apublish,
    aremix_video,
)


@flow(name="storyboard", log_prints=True)
async def storyboard(
    credentials: OpenAICredentials | AzureOpenAICredentials | str,
    still: ImageRequest,
    motion: VideoRequest,
    remix: str,
    store: MediaStore | str | None = None,
    destination: MediaStore | str | None = None,
    image_credentials: OpenAICredentials | AzureOpenAICredentials | str | None = None,
) -> Manifest:
    """Chain image -> image-to-video -> remix, and publish the results.

    Args:
        credentials: Credentials of the server that makes the videos, as a block or the name of a saved one.
        still: The picture it begins with.
        motion: The video that starts from the still; leave its image out.
        remix: What to change in the video, in words.
        store: Where work and ledger live: a block, the name of a saved one, a URL or a folder.
        destination: Where the results are published; the store if left out.
        image_credentials: Credentials for the still, where another provider makes it.
    """
    image, *_ = await agenerate_images(image_credentials or credentials, still, store=store)
    video = await agenerate_video(credentials, motion.model_copy(update={"image": image}), store=store)
    variation = await aremix_video(credentials, RemixRequest(video=video, prompt=remix), store=store)
    manifest = await apublish([image, video, variation], destination or store)
    await ashow_gallery(manifest.assets, title="Storyboard", key="storyboard")
    return manifest
