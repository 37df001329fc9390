"""What a reference may be: a regular file of at most 100 megapixels; and the size of a video that names none."""

import asyncio
import io
import os
import socket
import struct
import zlib
from contextlib import suppress

import pytest
from PIL import Image

from prefect_media import ImageEditRequest, VideoRequest
from prefect_media.errors import InvalidRequest
from prefect_media.media import load as reference
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.purchases.videos import buy_video
from prefect_media.simulator import Simulator
from prefect_media.storage.store import storage_at

TERMS = PurchaseOptions(scope="test", timeout=60)


def encoded(size, kind="PNG", **options):
    out = io.BytesIO()
    Image.new("RGB", size, "teal").save(out, kind, **options)
    return out.getvalue()


def huge(width, height):
    """A PNG that says it is so large, and has next to nothing in it."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.fixture
def special(tmp_path, monkeypatch):
    """Paths that can be opened and are no files; each would keep a reader waiting, or give it rubbish."""
    os.mkfifo(tmp_path / "fifo.png")
    line = socket.socket(socket.AF_UNIX)
    with monkeypatch.context() as there:
        there.chdir(tmp_path)  # the path of a socket has to be short
        line.bind("socket.png")
    (tmp_path / "folder.png").mkdir()
    yield {
        "fifo": (tmp_path / "fifo.png", "a named pipe"),
        "socket": (tmp_path / "socket.png", "a socket"),
        "folder": (tmp_path / "folder.png", "a folder"),
        "device": ("/dev/zero", "a device"),
        "fifo url": ((tmp_path / "fifo.png").as_uri(), "a named pipe"),
        "device url": ("file:///dev/zero", "a device"),
    }
    line.close()


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "device", "fifo url", "device url"])
@pytest.mark.parametrize("load", [reference.load, reference.load_video])
async def test_a_path_that_is_no_file_is_refused_at_once(tmp_path, special, kind, load):
    path, said = special[kind]
    reading = asyncio.ensure_future(load(path))
    done, _ = await asyncio.wait([reading], timeout=5)
    if not done:  # lets the thread go that waits for a writer
        with suppress(OSError):
            os.close(os.open(tmp_path / "fifo.png", os.O_WRONLY | os.O_NONBLOCK))
        await asyncio.wait([reading])
        pytest.fail("it waits")
    with pytest.raises(InvalidRequest, match=f"is {said}; give a regular file; nothing was sent"):
        reading.result()


async def test_a_file_url_is_read(tmp_path):
    (tmp_path / "a fox.png").write_bytes(encoded((8, 8)))
    assert await reference.load((tmp_path / "a fox.png").as_uri()) == encoded((8, 8))
    with pytest.raises(InvalidRequest, match="No such file") as caught:
        await reference.load((tmp_path / "no fox.png").as_uri())
    assert caught.value.details["missing"]


@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 10_000), (10_001, 10_000)])
async def test_a_reference_is_not_decoded_above_100_megapixels(media_simulator, tmp_path, size):
    path = tmp_path / "huge.png"
    path.write_bytes(huge(*size))
    connection, place = media_simulator.credentials.connection(), storage_at(str(tmp_path / "store"))
    said = rf"{size[0]}x{size[1]}, more than 100 megapixels; make it smaller; nothing was sent"
    with pytest.raises(InvalidRequest, match=said):
        await buy_video(connection, VideoRequest(prompt="a", model="sora-2", image=path), place, TERMS)
    with pytest.raises(InvalidRequest, match=said):
        await buy_images(connection, ImageEditRequest(prompt="a", model="gpt-image-2", images=[path]), place, TERMS)
    mask = ImageEditRequest(prompt="a", model="gpt-image-2", images=[encoded((8, 8))], mask=path)
    with pytest.raises(InvalidRequest, match=said):
        await buy_images(connection, mask, place, TERMS)
    assert not media_simulator.requests


async def test_a_reference_is_not_blown_up_above_100_megapixels(media_simulator, tmp_path):
    request = VideoRequest(prompt="a", model="my-wan", size="90000x90000", image=encoded((8, 8)))
    with pytest.raises(InvalidRequest, match=r"size='90000x90000'.*100 megapixels"):
        await buy_video(media_simulator.credentials.connection(), request, storage_at(str(tmp_path)), TERMS)
    assert not media_simulator.requests


@pytest.mark.parametrize("error", [ValueError("x"), struct.error("y"), EOFError(), IndexError("z"), MemoryError()])
async def test_whatever_a_library_raises_over_a_picture(monkeypatch, error):
    def broken(*_args, **_options):
        raise error

    monkeypatch.setattr(Image, "open", broken)
    with pytest.raises(InvalidRequest, match=r"is not an image that can be read: \w+; give a PNG"):
        await reference.load(b"picture")


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ((640, 360), "1280x720"),
        ((360, 640), "720x1280"),
        ((1600, 1000), "1792x1024"),
        ((1000, 1600), "1024x1792"),
        ((500, 500), "1024x1024"),
        ((1792, 1024), "1792x1024"),
        ((3000, 400), "1280x720"),
    ],
)
async def test_without_a_size_a_video_takes_the_shape_of_its_reference(media_simulator, store, given, size):
    place = store.storage()
    connection = media_simulator.credentials.connection()
    request = VideoRequest(prompt="a", model="sora-2", seconds=4, image=encoded(given))
    asset = await buy_video(connection, request, place, TERMS)
    assert f"{asset.width}x{asset.height}" == size
    assert media_simulator.jobs[0].film.reference
    [path] = [key async for key, _ in place.list("ledger/purchases/")]
    assert (
        b'"size":null' in (await place.read(path)).replace(b" ", b"")
        or b'"size"' not in ((await place.read(path)).partition(b'"request"')[2].partition(b"}")[0])
    ), "the purchase is what was asked for, as it was before"
    assert await buy_video(connection, request, place, TERMS) == asset
    assert len(media_simulator.jobs) == 1


async def test_a_photo_lies_on_its_side(media_simulator, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    request = VideoRequest(prompt="a", model="sora-2", seconds=4, image=encoded((640, 360), "JPEG", exif=exif))
    asset = await buy_video(media_simulator.credentials.connection(), request, storage_at(str(tmp_path)), TERMS)
    assert (asset.width, asset.height) == (720, 1280)


async def test_what_was_kept_of_a_reference_says_the_size_when_it_is_gone(media_simulator, tmp_path):
    from prefect_media.simulator import Fault

    path, place = tmp_path / "fox.png", storage_at(str(tmp_path / "store"))
    path.write_bytes(encoded((640, 360)))
    connection = media_simulator.credentials.connection()
    request = VideoRequest(prompt="a", model="sora-2", seconds=4, image=path)
    media_simulator.faults.append(
        Fault("POST", "/videos$", "answer", times=1, status=400, body={"error": {"message": "not now"}})
    )
    with pytest.raises(InvalidRequest, match="not now"):
        await buy_video(connection, request, place, TERMS)
    path.unlink()
    asset = await buy_video(connection, request, place, TERMS)
    assert (asset.width, asset.height) == (1280, 720)


async def test_a_reference_that_must_fit_says_what_to_do(media_simulator, tmp_path):
    request = VideoRequest(prompt="a", model="sora-2", image=encoded((640, 360)), fit="error")
    with pytest.raises(InvalidRequest, match=r"640x360.*1280x720.*fit=") as caught:
        await buy_video(media_simulator.credentials.connection(), request, storage_at(str(tmp_path)), TERMS)
    assert "pass size=" in str(caught.value)
    assert not media_simulator.requests


async def test_a_server_of_others_that_wants_a_size_is_explained(tmp_path):
    request = VideoRequest(prompt="a", model="my-wan", image=encoded((640, 360)))
    with Simulator() as server, pytest.raises(InvalidRequest, match="pass size=WIDTHxHEIGHT"):
        await buy_video(server.credentials.connection(), request, storage_at(str(tmp_path)), TERMS)
