"""Paid images are checked to their end mark without decoding them; what is broken is kept, and said."""

import base64
import io
import logging
import os
import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from prefect_media import ImageRequest
from prefect_media.errors import DownloadCorrupt
from prefect_media.media.facts import POSTER_WIDTH, last_frame, poster, sniff, video_facts
from prefect_media.media.image_structure import MOST_PARTS, structure_of
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases.images import buy_images
from prefect_media.simulator import Fault
from prefect_media.storage.store import storage_at

NOISE = Image.frombytes("RGB", (24, 17), os.urandom(24 * 17 * 3))


def encoded(kind, image=NOISE, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


WHOLE = {
    "png": encoded("PNG"),
    "png with alpha": encoded("PNG", NOISE.convert("RGBA")),
    "jpeg": encoded("JPEG"),
    "progressive jpeg": encoded("JPEG", progressive=True, optimize=True),
    "jpeg with a thumbnail in it": encoded("JPEG", exif=b"Exif\0\0" + encoded("JPEG")),
    "lossy webp": encoded("WEBP"),
    "lossless webp": encoded("WEBP", lossless=True),
    "webp with alpha": encoded("WEBP", NOISE.convert("RGBA")),
    "animated webp": encoded("WEBP", save_all=True, append_images=[NOISE.rotate(90)]),
    "gif": encoded("GIF"),
    "animated gif": encoded("GIF", save_all=True, append_images=[NOISE.rotate(90)]),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="24" height="17"><rect/></svg>\n',
}


def checked(data):
    return structure_of(data, sniff(data[:64]))


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_image_has_its_size_and_no_fault(name):
    structure = checked(WHOLE[name])
    assert structure.fault is None
    assert (structure.width, structure.height) == ((None, None) if name == "svg" else (24, 17))
    assert checked(WHOLE[name] + b"what stands after the end").fault is None


@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_at_every_byte_is_noticed(name):
    data = WHOLE[name].rstrip()
    kind = sniff(data[:64])
    assert [cut for cut in range(len(data)) if structure_of(data[:cut], kind).fault is None] == []


def test_every_changed_byte_of_a_png_is_noticed():
    for at in range(8, len(WHOLE["png"])):
        data = bytearray(WHOLE["png"])
        data[at] ^= 0x10
        assert structure_of(bytes(data), "image/png").fault, at


@given(
    name=st.sampled_from(sorted(WHOLE)),
    edits=st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=12), st.integers(0, 12)), max_size=5),
)
@settings(max_examples=300, deadline=None)
def test_no_damage_raises(name, edits):
    data = WHOLE[name]
    for at, instead, gone in edits:
        data = data[:at] + instead + data[at + gone :]
    width, height, fault = structure_of(data, sniff(WHOLE[name][:64]))
    assert fault is None or (fault and "\n" not in fault)
    assert (width is None) == (height is None)


@given(st.sampled_from(["image/png", "image/jpeg", "image/webp", "image/gif"]), st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise(kind, data):
    structure_of(data, kind)


def chunk(name, content=b""):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_what_is_wrong_is_named():
    png, jpeg = WHOLE["png"], WHOLE["jpeg"]
    flipped = png[:60] + bytes([png[60] ^ 1]) + png[61:]
    assert checked(flipped).fault == "the checksum of its IDAT chunk at byte 33 is wrong"
    assert checked(jpeg[:-2]).fault == "it breaks off before its end"
    assert checked(png[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0)) + chunk(b"IEND")).fault == (
        "it has no pixels in it"
    )
    cut = WHOLE["lossy webp"][:-10]
    assert f"{len(cut)} of {len(cut) + 10} bytes" in checked(cut).fault


def huge(width, height):
    """A PNG that says it is so large, and has next to nothing in it."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND")


@pytest.mark.parametrize(
    "many",
    [
        b"\x89PNG\r\n\x1a\n" + chunk(b"abcd") * (MOST_PARTS + 1),
        b"\xff\xd8" + b"\xff\xd0" * (MOST_PARTS + 1),
        b"\xff\xd8\xff" + b"\xff" * 20_000_000,
        b"\xff\xd8\xff\xda\0\2" + b"\xff" * 20_000_000,
        b"GIF89a\1\0\1\0\0\0\0" + b"\x21\xf9\0" * (MOST_PARTS + 1),
        b"RIFF" + (4 + 8 * (MOST_PARTS + 1)).to_bytes(4, "little") + b"WEBP" + b"ABCD\0\0\0\0" * (MOST_PARTS + 1),
    ],
    ids=["png", "jpeg", "jpeg filling", "jpeg pixels", "gif", "webp"],
)
def test_a_file_of_nothing_but_headers_takes_no_minutes(many):
    began = time.process_time()
    assert checked(many).fault
    assert time.process_time() - began < 10


TERMS = PurchaseOptions(scope="test", timeout=60)


async def bought(simulator, place, data):
    body = {"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}]}
    simulator.faults.append(Fault("POST", "/images/generations$", "answer", times=None, status=200, body=body))
    request = ImageRequest(prompt="a fox", model="gpt-image-2")
    return await buy_images(simulator.credentials.connection(), request, storage_at(str(place)), TERMS)


@pytest.mark.parametrize(
    ("data", "size", "said"),
    [
        (WHOLE["png"][:200], (24, 17), "it breaks off before its end"),
        (WHOLE["jpeg"][:-30], (24, 17), "it breaks off before its end"),
        (WHOLE["lossless webp"][:-30], (24, 17), "it breaks off before its end"),
        (huge(30_000, 30_000), (30_000, 30_000), "it is 30000x30000, more than 100 megapixels"),
        (huge(10_000, 9_900), (10_000, 9_900), None),
        (WHOLE["png"][:20], (None, None), "it breaks off before its end"),
    ],
    ids=["png", "jpeg", "webp", "oversized", "large", "stump"],
)
@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
async def test_a_damaged_image_is_paid_for_and_so_it_is_kept(media_simulator, tmp_path, caplog, data, size, said):
    with caplog.at_level(logging.WARNING):
        [asset] = await bought(media_simulator, tmp_path, data)
    assert asset.read_bytes() == data
    assert (asset.width, asset.height) == size
    logged = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    if said is None:
        assert (asset.warnings, logged) == ((), [])
        return
    [warning] = asset.warnings
    assert warning.startswith(f"The image is damaged or too large: {said}")
    assert logged == [f"{asset.uri}: {warning}"]
    assert await bought(media_simulator, tmp_path, data) == [asset], "once, and remembered with its warning"
    assert len(media_simulator.requests) == 1


@pytest.mark.parametrize(
    "data",
    [WHOLE["png"][:200], huge(30_000, 30_000), huge(12_000, 12_000), b"", b"\0" * 99],
    ids=["cut", "oversized", "large", "empty", "zeros"],
)
@pytest.mark.filterwarnings("error")
def test_no_poster_of_a_damaged_image_is_our_own_error(data):
    with pytest.raises(DownloadCorrupt, match="no picture can be read"):
        poster("image", io.BytesIO(data))


def test_a_poster_is_small():
    picture = Image.open(io.BytesIO(poster("image", io.BytesIO(encoded("PNG", NOISE.resize((2000, 1000)))))))
    assert picture.size == (POSTER_WIDTH, POSTER_WIDTH // 2)


def box(name, *content):
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name) + body


FILMS = [
    b"",
    b"\0" * 99,
    box(b"ftyp", b"isom\0\0\2\0isom"),
    box(b"ftyp", b"isom\0\0\2\0isom") + box(b"moov", box(b"udta", box(b"\xa9nam", b"\0\4\0\0\xff\xfe\xff\xfe"))),
    b"RIFF\xff\xff\xff\xffAVI LIST\x04\0\0\0hdrl",
]


@pytest.mark.parametrize("film", FILMS, ids=["empty", "zeros", "no index", "strange name", "avi"])
def test_a_damaged_film_is_no_error_of_a_library(film):
    assert video_facts(io.BytesIO(film)).codec is None
    with pytest.raises(DownloadCorrupt):
        last_frame(io.BytesIO(film))
    with pytest.raises(DownloadCorrupt):
        poster("video", io.BytesIO(film))


@pytest.mark.parametrize("error", [UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), MemoryError(), AttributeError("x")])
def test_whatever_a_library_raises_over_a_film(monkeypatch, error):
    import av

    def broken(*_args, **_options):
        raise error

    monkeypatch.setattr(av, "open", broken)
    assert video_facts(io.BytesIO(b"film")).codec is None
    for read in (last_frame, lambda file: poster("video", file)):
        with pytest.raises(DownloadCorrupt):
            read(io.BytesIO(b"film"))
