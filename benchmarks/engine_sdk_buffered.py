"""The openai SDK and boto3 as users mostly write it: each video read into memory, and put from there in a thread."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import warnings
from typing import Any

from client import Done, Plan, Run


def prepared(plan: Plan) -> Run:
    import boto3
    import openai.resources.images
    import openai.resources.videos  # noqa: F401
    from openai import AsyncOpenAI

    warnings.simplefilter("ignore", DeprecationWarning)

    def put(s3: Any, key: str, data: bytes) -> str:
        s3.put_object(Bucket="bench", Key=key, Body=data)
        return hashlib.sha256(data).hexdigest()

    async def run() -> Done:
        client = AsyncOpenAI(api_key="key", base_url=f"{plan.provider}/v1")
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        s3: Any = boto3.client("s3", endpoint_url=plan.sink, region_name="us-east-1", **keys)

        async def video(number: int) -> str:
            job: Any = await client.videos.create(
                model="sora-2", prompt=plan.prompt(number), seconds="4", size="1280x720"
            )
            while job.status != "completed":
                await asyncio.sleep(1)
                job = await client.videos.retrieve(job.id)
            data = (await client.videos.download_content(job.id)).content
            return await asyncio.to_thread(put, s3, f"media/{job.id}.mp4", data)

        async def image(number: int) -> str:
            answer: Any = await client.images.generate(
                model="gpt-image-2", prompt=plan.prompt(number), size="1024x1024", n=1
            )
            return await asyncio.to_thread(put, s3, f"media/{number}.png", base64.b64decode(answer.data[0].b64_json))

        work = video if plan.kind == "video" else image
        return Done(await asyncio.gather(*(work(number) for number in range(plan.jobs))))

    return run
