"""One still, a video that starts from it, a remix of that video, and all three in your bucket."""

from typing import Literal

from prefect import flow
from prefect_media.blocks.choices import AnyCredentials, AnyStore, OptionalCredentials
from prefect_media.tasks import agather, ashow_gallery
from pydantic.json_schema import SkipJsonSchema

from prefect_media import Asset, ImageRequest, Manifest, RemixRequest, VideoRequest, agenerate_images, apublish


@flow(name="storyboard", log_prints=True)
async def storyboard(
    credentials: AnyCredentials,
    still: ImageRequest,
    motion: VideoRequest,
    remix: str,
    store: AnyStore = None,
    destination: SkipJsonSchema[AnyStore] = None,
    image_credentials: OptionalCredentials = None,
    wait: SkipJsonSchema[Literal["worker", "suspend"]] = "worker",
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
        wait: Where to wait for the videos: "worker" keeps the process; "suspend" lets the flow run sleep, see
            docs/waiting.md. Not in the form: a deployment decides it.
    """

    async def film(request: VideoRequest | RemixRequest) -> Asset:
        [made] = [each async for each in agather(credentials, [request], store=store, wait=wait)]
        return made.asset

    image, *_ = await agenerate_images(image_credentials or credentials, still, store=store)
    video = await film(motion.model_copy(update={"image": image}))
    variation = await film(RemixRequest(video=video, prompt=remix))
    manifest = await apublish([image, video, variation], destination or store)
    await ashow_gallery(manifest.assets, title="Storyboard", key="storyboard")
    return manifest
