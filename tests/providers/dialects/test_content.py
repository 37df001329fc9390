"""The content of a video at each kind of server: there, late, elsewhere or missing."""

import asyncio

import pytest
from dialect_servers import TERMS, connection, video

from prefect_media.errors import (
    ContentRejected,
    DownloadCorrupt,
    JobExpired,
    JobFailed,
    ProviderUnavailable,
)
from prefect_media.providers import videos
from prefect_media.providers.download import content_of
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Fault, Simulator
from prefect_media.simulator.profiles import PROFILES

pytestmark = pytest.mark.usefixtures("short_pauses")


async def begin_download(at, job_id):
    """Read the first bytes of a job's content."""
    body = await content_of(at, job_id)
    await asyncio.to_thread(next, iter(body))


async def test_content_that_is_not_there(server, monkeypatch):
    monkeypatch.setattr(server, "latency", 60)
    at = connection(server)
    job = await videos.submit(at, video(), image=None, fingerprint="f")
    early = ProviderUnavailable if PROFILES[server.name].not_ready == 400 else JobExpired
    with pytest.raises(early):
        await begin_download(at, job.id)
    server.jobs[0].latency = server.jobs[0].expires_in = 0
    with pytest.raises(JobExpired, match=f"the content of job {job.id[:9]}.* is gone"):
        await begin_download(at, job.id)
    server.faults.append(Fault("GET", "/content", "answer", times=None, status=200, body=b""))
    with pytest.raises(DownloadCorrupt, match="0 bytes"):
        await begin_download(at, job.id)
    server.faults[:] = [
        Fault("GET", "/content", "answer", times=None, status=422, body={"detail": "Generation failed"})
    ]
    with pytest.raises(JobFailed, match="Generation failed"):
        await begin_download(at, job.id)


async def test_content_from_another_host_is_fetched_without_the_key(place):
    """Servers that keep films elsewhere send a link; whoever is there learns nothing of the key."""
    with Simulator(latency=0) as server, Simulator() as elsewhere:
        job = await videos.submit(connection(server), video(), image=None, fingerprint="f")
        location = {"location": f"{elsewhere.url}/somewhere"}
        server.faults.append(Fault("GET", "/content", "answer", status=307, body="", headers=location))
        elsewhere.faults.append(Fault("GET", "/somewhere", "answer", status=200, body=b"\0\0\0\x0cftypisom" * 20))
        body = await content_of(connection(server), job.id)
        assert b"".join(await asyncio.to_thread(list, body)).startswith(b"\0\0\0\x0cftyp")
        [request] = [request for request in elsewhere.requests if "/somewhere" in request.path]
        assert "authorization" in server.requests[-1].headers
        assert connection(server).api_key not in str(request.headers)


async def test_content_that_comes_a_moment_late_is_waited_for(server, place):
    late = Fault("GET", "/content", "answer", times=2, status=404, body={"detail": "Generation is still in-progress"})
    server.faults.append(late)
    assert (await buy_video(connection(server), video(), place, TERMS)).seconds == 2
    assert late.hits == 2


async def test_done_without_a_video_is_a_rejection(servers, place):
    server = servers["openrouter"]
    with pytest.raises(ContentRejected, match="finished without a video"):
        await buy_video(connection(server), video(prompt="filtered"), place, TERMS)
