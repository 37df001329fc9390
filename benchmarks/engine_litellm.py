"""LiteLLM's SDK and boto3 as their pages show them: each job looked at once a second, all of it in memory."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from typing import Any

from client import Done, Plan, Run


def prepared(plan: Plan) -> Run:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its prices from the package, not from GitHub
    import boto3
    import litellm  # pyright: ignore[reportMissingImports]

    litellm.suppress_debug_info = True
    server = {"api_base": f"{plan.provider}/v1", "api_key": "key"}

    def put(s3: Any, key: str, data: bytes) -> str:
        s3.put_object(Bucket="bench", Key=key, Body=data)
        return hashlib.sha256(data).hexdigest()

    async def run() -> Done:
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        s3: Any = boto3.client("s3", endpoint_url=plan.sink, region_name="us-east-1", **keys)

        async def video(number: int) -> str:
            job: Any = await litellm.avideo_generation(
                model="openai/sora-2", prompt=plan.prompt(number), seconds="4", size="1280x720", **server
            )
            while job.status != "completed":
                await asyncio.sleep(1)
                job = await litellm.avideo_status(video_id=job.id, **server)
            data = await litellm.avideo_content(video_id=job.id, **server)
            return await asyncio.to_thread(put, s3, f"media/{number}.mp4", data)

        async def image(number: int) -> str:
            answer: Any = await litellm.aimage_generation(
                model="openai/gpt-image-2", prompt=plan.prompt(number), size="1024x1024", n=1, **server
            )
            return await asyncio.to_thread(put, s3, f"media/{number}.png", base64.b64decode(answer.data[0].b64_json))

        work = video if plan.kind == "video" else image
        return Done(await asyncio.gather(*(work(number) for number in range(plan.jobs))))

    return run
