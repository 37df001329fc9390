"""Numbered requests for pictures and videos, and an async flow to make them in."""

import asyncio

from prefect import flow

from prefect_media import ImageRequest, VideoRequest

STILL = ImageRequest(prompt="a paper boat", model="gpt-image-2", size="1024x1024")
MOTION = VideoRequest(prompt="it sails", model="sora-2", seconds=4, size="1280x720")


def still(number, prompt="a paper boat"):
    return STILL.model_copy(update={"variant": number, "prompt": prompt})


def motion(number, prompt="it sails"):
    return MOTION.model_copy(update={"variant": number, "prompt": prompt})


def in_flow(body):
    """What an async flow returns; it has a loop of its own."""
    return asyncio.run(flow(body)())


async def until(condition):
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - what is waited for happens at the provider
            await asyncio.sleep(0.01)
