"""Flows that sleep, for processes that are started, killed and woken again."""

from prefect import flow

from prefect_media import (
    Asset,
    ImageRequest,
    VideoRequest,
    achoose,
    afetch_video,
    agenerate_images,
    apublish,
    asubmit_video,
    auntil_finished,
)

NAME = "sleeping-flows"
"""Saved blocks: the provider's credentials, and the store."""


@flow(persist_result=False)
async def film(prompt: str, clips: int = 1):
    """Videos, one after the other, each of which is waited for asleep, and published."""
    made: list[Asset] = []
    for number in range(1, clips + 1):
        request = VideoRequest(prompt=f"{prompt}, clip {number}", model="boats-1", seconds=1, size="64x64")
        job = await asubmit_video(NAME, request, store=NAME)
        [outcome] = await auntil_finished([job], suspend_after=0, store=NAME)
        assert outcome.error is None, outcome.error
        made.append(await afetch_video(NAME, job, store=NAME))
    await apublish(made, NAME, prefix=f"published/{prompt}")


@flow(persist_result=False)
async def pick(prompt: str):
    """Two pictures, of which a person chooses the one that is published."""
    request = ImageRequest(prompt=prompt, model="gpt-image-2", size="1024x1024", quality="low", n=2)
    stills = await agenerate_images(NAME, request, store=NAME)
    choice = await achoose(stills, question=f"Which {prompt}?", store=NAME)
    await apublish(list(choice.assets), NAME, prefix=f"published/{prompt}")
