"""A provider that does nothing but keep time: videos that take about five seconds each, images that take one.

    python benchmarks/load_server.py --size 20 [--tls FOLDER]

Speaks as much of the Images and Videos APIs as the benchmark's clients ask for. `GET /_stats` tells how many
requests of which kind there were, and how soon after its end each video was asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import math
import random
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from http_server import Answer, Content, Request, cpu_seconds, json_answer, range_of, run

SECONDS, SPREAD = 5.0, 0.15
"""Median and sigma of the lognormal time that a video takes."""

IMAGE_SECONDS = 1.0
IMAGE_BYTES = 1_500_000

MB = 1_000_000


@dataclass
class Job:
    """A video from its order to its end; times of the monotonic clock."""

    id: str
    prompt: str
    began: float
    ends: float
    asked: float | None = None
    """When its content was first asked for."""

    def shown(self, now: float) -> dict[str, object]:
        done = now >= self.ends
        created = int(time.time() - (now - self.began))
        return {
            "id": self.id,
            "object": "video",
            "status": "completed" if done else "in_progress",
            "progress": 100 if done else int(100 * (now - self.began) / (self.ends - self.began)),
            "created_at": created,
            "completed_at": created if done else None,
            "expires_at": created + 3600,
            "model": "sora-2",
            "prompt": self.prompt,
            "seconds": "4",
            "size": "1280x720",
            "error": None,
            "remixed_from_video_id": None,
        }


class Provider:
    def __init__(self, size: int, seed: int, seconds: float) -> None:
        self.jobs: list[Job] = []
        self.by_id: dict[str, Job] = {}
        self.requests = Counter[str]()
        self.dice = random.Random(seed)
        self.seconds = seconds
        self.film = Content(film(size))
        image = picture()
        self.answer = json.dumps({"created": 0, "data": [{"b64_json": base64.b64encode(image).decode()}]}).encode()
        self.sizes = {"video": self.film.size, "image": len(image)}
        self.hashes = {"video": hashlib.sha256(self.film.view).hexdigest(), "image": hashlib.sha256(image).hexdigest()}

    async def serve(self, request: Request) -> Answer:
        now, path = time.monotonic(), request.path.removeprefix("/v1")
        match request.method, path.strip("/").split("/"):
            case "GET", ["_stats"]:
                return json_answer(self.stats())
            case "GET", ["healthz"]:
                return json_answer({})
            case "GET", ["models"]:
                self.requests["models"] += 1
                row = {"id": "sora-2", "object": "model", "created": 0, "owned_by": "benchmark"}
                return json_answer({"object": "list", "data": [row]})
            case "POST", ["videos"]:
                self.requests["create"] += 1
                return json_answer(self._order(request, now).shown(now))
            case "GET", ["videos"]:
                self.requests["list"] += 1
                return self._list(request, now)
            case "GET", ["videos", job_id] if job_id in self.by_id:
                self.requests["look"] += 1
                return json_answer(self.by_id[job_id].shown(now))
            case "GET", ["videos", job_id, "content"] if job_id in self.by_id:
                self.requests["content"] += 1
                return self._content(request, self.by_id[job_id], now)
            case "POST", ["images", "generations"]:
                self.requests["image"] += 1
                await asyncio.sleep(IMAGE_SECONDS)
                return Answer(200, self.answer, {"Content-Type": "application/json"})
            case _:
                self.requests["unknown"] += 1
                return json_answer({"error": {"message": f"There is nothing at {request.path}."}}, 404)

    def stats(self) -> dict[str, object]:
        lags = sorted(job.asked - job.ends for job in self.jobs if job.asked is not None)
        return {
            "cpu": cpu_seconds(),
            "requests": dict(self.requests),
            "sizes": self.sizes,
            "sha256": self.hashes,
            "jobs": len(self.jobs),
            "longest": max((job.ends - job.began for job in self.jobs), default=0.0),
            "lag": {
                "count": len(lags),
                "mean": sum(lags) / len(lags) if lags else 0.0,
                "p95": lags[math.ceil(0.95 * len(lags)) - 1] if lags else 0.0,
                "max": lags[-1] if lags else 0.0,
            },
        }

    def _order(self, request: Request, now: float) -> Job:
        takes = self.dice.lognormvariate(math.log(self.seconds), SPREAD) if self.seconds else 0.0
        job = Job(f"video_{len(self.jobs):06}", prompt_of(request), now, now + takes)
        self.jobs.append(job)
        self.by_id[job.id] = job
        return job

    def _list(self, request: Request, now: float) -> Answer:
        limit, after = int(request.query.get("limit", 20)), request.query.get("after")
        jobs = self.jobs if request.query.get("order") == "asc" else self.jobs[::-1]
        if after:
            places = [place for place, job in enumerate(jobs) if job.id == after]
            if not places:
                return json_answer({"error": {"message": f"There is no video {after}."}}, 404)
            jobs = jobs[places[0] + 1 :]
        rows = [job.shown(now) for job in jobs[:limit]]
        return json_answer({"object": "list", "data": rows, "has_more": len(jobs) > limit})

    def _content(self, request: Request, job: Job, now: float) -> Answer:
        if now < job.ends:
            return json_answer({"error": {"message": f"{job.id} is not done yet."}}, 404)
        job.asked = job.asked or now
        headers = {"Content-Type": "video/mp4", "ETag": f'"{job.id}"', "Accept-Ranges": "bytes"}
        if (span := range_of(request, self.film.size)) is None:
            return Answer(200, headers=headers, content=self.film, start=0, length=self.film.size)
        start, length = span
        if not length:
            return Answer(416, headers={"Content-Range": f"bytes */{self.film.size}"})
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{self.film.size}"
        return Answer(206, headers=headers, content=self.film, start=start, length=length)


def prompt_of(request: Request) -> str:
    """The prompt of an order, from JSON or from a form."""
    body = bytes(request.body.kept)
    if request.headers.get("content-type", "").startswith("application/json"):
        return str(json.loads(body).get("prompt", ""))
    _, _, rest = body.partition(b'name="prompt"')
    return rest.partition(b"\r\n\r\n")[2].partition(b"\r\n--")[0].decode("utf-8", "replace")


def film(size: int) -> Iterator[bytes]:
    """A playable video of exactly `size` bytes: four seconds of film, the index in front, a `free` box to fill up."""
    import av
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"  # a file, since +faststart has to read back what was written
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=12, options={"preset": "ultrafast", "threads": "1"})
            stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
            for number in range(48):
                frame = av.VideoFrame.from_image(Image.new("RGB", (1280, 720), (5 * number, 80, 160)))
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        clip = path.read_bytes()
    fill = size - len(clip) - 8
    if fill < 0:
        raise SystemExit(f"A film of {size} bytes is not possible; the least is {len(clip) + 8}.")
    yield clip
    yield (fill + 8).to_bytes(4, "big") + b"free"
    noise = random.Random(0).randbytes(min(fill, MB))
    for place in range(0, fill, MB):
        yield noise[: fill - place]


def picture() -> bytes:
    """A PNG of 1024x1024 that takes about 1.5 MB: noise above, black below."""
    width = height = 1024
    noisy = IMAGE_BYTES // (3 * width)
    noise = random.Random(0).randbytes(3 * width * noisy)
    rows = [b"\0" + noise[3 * width * row : 3 * width * (row + 1)] for row in range(noisy)]
    rows += [bytes(1 + 3 * width)] * (height - noisy)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    data = zlib.compress(b"".join(rows), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=20, help="of each video, in MB")
    parser.add_argument("--seed", type=int, default=1, help="of the times that videos take")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="median time that a video takes")
    parser.add_argument("--tls", type=Path, help="folder with server.pem and server.key")
    wanted = parser.parse_args()
    provider = Provider(int(wanted.size * MB), wanted.seed, wanted.seconds)
    asyncio.run(run(provider.serve, wanted.tls))


if __name__ == "__main__":
    main()
