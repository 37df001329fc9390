"""One still, a video that starts from it, a remix of that video, and all three in your bucket."""

from prefect import flow
from prefect_media.blocks.choices import AnyCredentials, AnyStore, OptionalCredentials
from prefect_media.tasks import ashow_gallery
from pydantic.json_schema import SkipJsonSchema

from prefect_media import (
    ImageRequest,
    Manifest,
    RemixRequest,
    VideoRequest,
    agenerate_images,
    agenerate_video,
    apublish,
    aremix_video,
)


@flow(name="storyboard", log_prints=True)
async def storyboard(
    credentials: AnyCredentials,
    still: ImageRequest,
    motion: VideoRequest,
    remix: str,
    store: AnyStore = None,
    destination: SkipJsonSchema[AnyStore] = None,
    image_credentials: OptionalCredentials = None,
) -> Manifest:
    """Chain image -> image-to-video -> remix, and publish the results.

    Args:
        credentials: Who makes the videos.
        still: The picture it begins with.
        motion: The video that starts from the picture.
        remix: What to change in the video, in words.
        store: Where the results and the record of purchases go; the store of the settings if left alone.
        destination: Another store to publish the results to. Not in the form: give it in code, YAML or JSON.
        image_credentials: Who makes the picture, where that is somebody else.
    """
    image, *_ = await agenerate_images(image_credentials or credentials, still, store=store)
    video = await agenerate_video(credentials, motion.model_copy(update={"image": image}), store=store)
    variation = await aremix_video(credentials, RemixRequest(video=video, prompt=remix), store=store)
    manifest = await apublish([image, video, variation], destination or store)
    await ashow_gallery(manifest.assets, title="Storyboard", key="storyboard")
    return manifest
