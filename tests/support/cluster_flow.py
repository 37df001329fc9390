"""The flow that the workers of `cluster.py` run."""

from prefect import flow

from prefect_media import Budget, VideoRequest, agenerate_video, apublish

NAME = "cluster"
"""Saved blocks: the provider's credentials, and the store."""

BUDGET = Budget(usd=1_000_000, period="forever", unpriced_usd=1)
"""Everything costs a dollar, so what is booked is a number of purchases."""


@flow(persist_result=False)
async def clip(number: int, prompt: str, scope: str):
    """One video, bought in a scope that others may share, and published for this run."""
    request = VideoRequest(prompt=prompt, model="boats-1", seconds=1, size="64x64")
    video = await agenerate_video(NAME, request, store=NAME, scope=scope, budget=BUDGET)
    await apublish([video], NAME, prefix=f"published/{number}")
