"""Four stills, of which a person chooses one; it becomes a video, which a person approves; then it is published.

While people take their time, the flow run holds no process and no worker slot: see docs/waiting.md.
"""

from datetime import timedelta

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed
from prefect_media.blocks.choices import AnyCredentials, AnyStore, OptionalCredentials
from prefect_media.tasks import aapprove, achoose
from pydantic.json_schema import SkipJsonSchema

from prefect_media import ImageRequest, Manifest, VideoRequest, agenerate_images, agenerate_video, apublish


@flow(name="approval", persist_result=False)
async def approval(
    credentials: AnyCredentials,
    still: ImageRequest,
    motion: VideoRequest,
    store: AnyStore = None,
    destination: SkipJsonSchema[AnyStore] = None,
    image_credentials: OptionalCredentials = None,
    days: float = 7,
) -> Manifest | State[None]:
    """Make pictures, let a person choose one, make a video of it, and publish it once a person approves.

    Args:
        credentials: Who makes the video.
        still: The pictures to choose from; its n says how many.
        motion: The video that starts from the chosen picture.
        store: Where the results and the record of purchases go; the store of the settings if left alone.
        destination: Another store to publish the results to. Not in the form: give it in code, YAML or JSON.
        image_credentials: Who makes the pictures, where that is somebody else.
        days: How long to wait for each answer.

    Returns:
        The manifest; a failed state with the reason if the video was rejected.
    """
    timeout = timedelta(days=days)
    stills = await agenerate_images(image_credentials or credentials, still, store=store)
    choice = await achoose(stills, question="Which picture becomes the video?", timeout=timeout, store=store)
    chosen = choice.assets[0]
    film = await agenerate_video(credentials, motion.model_copy(update={"image": chosen}), store=store)
    decision = await aapprove(film, "Can this video be published?", timeout=timeout, store=store)
    if not decision:
        return Failed(message=f"The video was rejected: {decision.reason or 'no reason was given'}")
    return await apublish([chosen, film], destination or store)
