"""The openai SDK as a careful user writes it: each job looked at once a second, streamed into the bucket, 8 at once."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import warnings
from collections.abc import AsyncIterator
from typing import Any

from client import Done, Plan, Run

TRANSFERS = 8
IMAGES_AT_ONCE = 64
CHUNK_BYTES = 256 * 1024


def prepared(plan: Plan) -> Run:
    import openai.resources.images
    import openai.resources.videos  # noqa: F401
    from obstore import put_async
    from obstore.store import S3Store
    from openai import AsyncOpenAI

    warnings.simplefilter("ignore", DeprecationWarning)

    async def run() -> Done:
        client = AsyncOpenAI(api_key="key", base_url=f"{plan.provider}/v1")
        store = S3Store(
            "bench",
            config={
                "endpoint": plan.sink,
                "region": "us-east-1",
                "access_key_id": "key",
                "secret_access_key": "secret",
                "unsigned_payload": True,
            },
            client_options={"allow_http": True},
        )
        room = asyncio.Semaphore(TRANSFERS if plan.kind == "video" else IMAGES_AT_ONCE)

        async def video(number: int) -> str:
            job: Any = await client.videos.create(
                model="sora-2", prompt=plan.prompt(number), seconds="4", size="1280x720"
            )
            while job.status != "completed":
                await asyncio.sleep(1)
                job = await client.videos.retrieve(job.id)
            digest = hashlib.sha256()
            async with room, client.videos.with_streaming_response.download_content(job.id) as response:

                async def body() -> AsyncIterator[bytes]:
                    async for chunk in response.iter_bytes(CHUNK_BYTES):
                        digest.update(chunk)
                        yield chunk

                await put_async(store, f"media/{job.id}.mp4", body())
            return digest.hexdigest()

        async def image(number: int) -> str:
            async with room:
                answer: Any = await client.images.generate(
                    model="gpt-image-2", prompt=plan.prompt(number), size="1024x1024", n=1
                )
                data = base64.b64decode(answer.data[0].b64_json)
                await put_async(store, f"media/{number}.png", data)
                return hashlib.sha256(data).hexdigest()

        work = video if plan.kind == "video" else image
        return Done(await asyncio.gather(*(work(number) for number in range(plan.jobs))))

    return run
