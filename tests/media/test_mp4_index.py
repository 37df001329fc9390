"""The index of a film, read without FFmpeg: what it says is what PyAV says, and what it can't say is left to PyAV."""

import io
import tempfile
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from prefect_media.media.facts import indexed_facts, video_facts
from prefect_media.media.mp4_index import index_of

FRONT = {"movflags": "faststart"}
FOLDER = tempfile.TemporaryDirectory()


def film(codec="libx264", container="mp4", *, size=(64, 48), frames=24, rate=24, options=FRONT, **stream_options):
    file = Path(tempfile.mkdtemp(dir=FOLDER.name), "film")  # FFmpeg reads it again to bring the index to the front
    with av.open(str(file), "w", format=container, options=options) as made:
        stream = made.add_stream(codec, rate=rate, options=stream_options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = Image.new("RGB", size, (number * 9 % 256, 80, 120))
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                made.mux(packet)
        for packet in stream.encode():
            made.mux(packet)
    return file.read_bytes()


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libaom-av1", "libsvtav1", "libvpx-vp9"])
@pytest.mark.parametrize("container", ["mp4", "mov"])
def test_the_same_as_ffmpeg(codec, container):
    if codec not in av.codecs_available:
        codec = "libx264"
    if codec in ("libvpx-vp9", "libaom-av1", "libsvtav1") and container == "mov":
        container = "mp4"
    content = film(codec, container, frames=12)
    assert indexed_facts(content) == video_facts(io.BytesIO(content))
    assert index_of(content) is not None


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(8, 160),
    height=st.integers(8, 120),
    frames=st.integers(1, 60),
    rate=st.sampled_from([1, 12, 16, 24, 25, 30, 60]),
    b_frames=st.integers(0, 3),
)
def test_the_same_as_ffmpeg_whatever_the_film(width, height, frames, rate, b_frames):
    content = film(size=(width * 2, height * 2), frames=frames, rate=rate, bf=str(b_frames), preset="ultrafast")
    found, ffmpeg = indexed_facts(content), video_facts(io.BytesIO(content))
    assert found is not None
    assert (found.width, found.height, found.codec) == (ffmpeg.width, ffmpeg.height, ffmpeg.codec)
    assert found.seconds == pytest.approx(ffmpeg.seconds, abs=0.002)


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("index at the end", lambda: film(options={})),
        ("fragments", lambda: film(options={"movflags": "frag_keyframe+empty_moov"})),
        ("another codec", lambda: film("mpeg4")),
        ("another container", lambda: film("libvpx-vp9", "webm", options={})),
        ("no film", lambda: b"<!doctype html>" * 50),
        ("nothing", lambda: b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_left_to_ffmpeg(what, content):
    content = content()
    head = content[: len(content) // 2] if what == "index at the end" else content
    assert indexed_facts(head) is None


@given(st.binary(max_size=400), st.integers(0, 2000))
def test_no_bytes_break_it(junk, place):
    """Cut off or overwritten anywhere, it says nothing or something, and never fails."""
    content = bytearray(FILM[:2000])
    content[place : place + len(junk)] = junk
    indexed_facts(bytes(content))
    indexed_facts(bytes(content[:place]))


FILM = film()
