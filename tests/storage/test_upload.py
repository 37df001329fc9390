"""A body that is not whole, not what was asked for, or called off: nothing of it is kept, in bounded memory."""

import asyncio

import anyio
import pytest
from stores import MB, Stalled, address, body, child, keys, upload, whole

from prefect_media.errors import DownloadCorrupt


@pytest.mark.parametrize("size", [200_000, 20 * MB])
@pytest.mark.parametrize("off", [-1, 1])
async def test_wrong_length(store, nothing_left, size, off):
    """One byte too few or too many, and nothing is there."""
    with pytest.raises(DownloadCorrupt, match="longer than" if off < 0 else "broke off"):
        await upload(store, "v.mp4", body(size), size=size + off)
    assert await keys(store) == {}


async def test_empty_body(store, nothing_left):
    with pytest.raises(DownloadCorrupt, match="empty"):
        await upload(store, "v.mp4", body(0))
    assert await keys(store) == {}


@pytest.mark.parametrize("size", [200_000, 20 * MB])
async def test_cut_stream(store, nothing_left, size):
    """The error of a broken download comes out as it is, and the key keeps what it had."""
    await store.put("v.mp4", b"before", content_type="video/mp4")

    def cut():
        yield from body(size)
        raise ConnectionResetError("the peer went away")

    with pytest.raises(ConnectionResetError, match="the peer went away"):
        await upload(store, "v.mp4", cut())
    assert await store.read("v.mp4") == b"before"


@pytest.mark.parametrize("size", [300, 20 * MB])
async def test_html_instead_of_a_film(store, nothing_left, size):
    """`verify` sees the first bytes before anything is stored, and only once."""
    seen = []

    def is_film(head):
        seen.append(head)
        if b"ftyp" not in head[:12]:
            raise DownloadCorrupt("not a film")

    with pytest.raises(DownloadCorrupt, match="not a film"):
        await upload(store, "v.mp4", body(size, chunk=10, seed=b"<html>"), verify=is_film)
    assert await keys(store) == {}
    assert len(seen) == 1 and 64 <= len(seen[0]) < 80
    await upload(store, "v.mp4", body(30), verify=is_film)
    assert len(seen) == 2 and len(seen[1]) == 30


@pytest.mark.parametrize("size", [200_000, 30 * MB])
async def test_cancelled_upload(store, nothing_left, size):
    """A cancelled download leaves nothing behind, parts of uploads included."""
    stalled = Stalled(size)
    uploading = asyncio.create_task(upload(store, "v.mp4", stalled))
    await asyncio.to_thread(stalled.flowed.wait, 30)
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    assert await keys(store) == {}


async def test_upload_cancelled_by_a_scope(in_bucket, bucket, s3, caplog):
    """Prefect cancels with anyio, which cancels every further wait too; the parts are taken back nonetheless."""

    stalled = Stalled(30 * MB)
    with anyio.CancelScope() as scope:
        loop = asyncio.get_running_loop()
        stalled.flowed.set = lambda: loop.call_soon_threadsafe(scope.cancel)
        await upload(in_bucket, "v.mp4", stalled)
    for _ in range(100):
        if not (await asyncio.to_thread(s3.list_multipart_uploads, Bucket=bucket)).get("Uploads"):
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("parts of the upload are still there")
    assert await keys(in_bucket) == {}
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("size", [200_000, 20 * MB])
async def test_two_uploads_to_one_key(store, nothing_left, size):
    """Whoever is last wins, and what is there is one of the two, whole."""
    both = [whole(size, seed=seed) for seed in (b"one", b"another")]
    await asyncio.gather(
        upload(store, "v.mp4", body(size, seed=b"one")),
        upload(store, "v.mp4", body(size, seed=b"another")),
    )
    assert await store.read("v.mp4") in both


def test_memory_is_bounded(store):
    """A long film takes no more memory than a short one."""
    script = """
def body(size):
    while size > 0:
        yield bytes(65536)
        size -= 65536
def peak(reset=False):
    if sys.platform != "linux":
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    if reset:
        open("/proc/self/clear_refs", "w").write("5")
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
async def main():
    await upload("warm", body(1024 * 1024))
    before = peak(reset=True)
    await upload("v.mp4", body(int(sys.argv[2]) * 1024 * 1024))
    async for block in store.stream("v.mp4"):
        pass
    print(peak() - before)
asyncio.run(main())
"""
    growth = {size: float(child(script, address(store), size).communicate()[0]) for size in (40, 160)}
    assert growth[160] < (16 if store.scheme == "file" else 80), growth
    assert growth[160] < growth[40] + 30, growth
