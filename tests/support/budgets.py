"""Requests whose prices are known, and the account of a budget."""

from prefect_media import ImageRequest, VideoRequest
from prefect_media.ledger.accounts import Account, read

EACH = 0.4
"""USD for a video of 4 s, and for an image that no formula is known of."""


def clip(prompt="a paper boat", **fields):
    return VideoRequest(**{"prompt": prompt, "model": "boats-1", "seconds": 4, "size": "64x64", **fields})


def still(prompt="a paper boat", **fields):
    return ImageRequest(**{"prompt": prompt, "model": "gpt-image-2", "size": "1024x1024", "quality": "low", **fields})


async def account(storage, budget, run=None):
    stored = await storage.fetch(budget.path(run))
    return read(stored.data) if stored else Account()
