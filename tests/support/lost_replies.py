"""Requests whose replies are lost, and jobs that no ledger knows of."""

from __future__ import annotations

from buyer import MODEL, clip, connection

from prefect_media.ledger.ledger import Ledger
from prefect_media.providers import videos
from prefect_media.requests import ImageRequest

SUBMIT, LIST = ("POST", "/videos$"), ("GET", r"/videos(\?|$)")


async def the_record(storage):
    [record] = [record async for record in Ledger(storage).purchases()]
    return record


async def other_job(simulator, prompt="a paper boat", **fields):
    """A job at the provider that no ledger knows of."""
    return await videos.submit(connection(simulator), clip(prompt, **fields), image=None, fingerprint="")


STILL = ImageRequest(prompt="a paper boat", model=MODEL, size="64x64")
IMAGES = ("POST", "/images/generations$")
