"""Clips: playable H.264 in MP4, filmed from a scene, a reference picture or an earlier clip."""

# pyright: reportUnknownMemberType=false
# Pillow's own types name NumPy, which is not installed.

import io
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import cast

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image

from .lettering import caption, label, put_caption, put_label
from .pictures import encode, grade, open_picture
from .scenery import Scene

FPS = 12
_FADE = 8  # frames in which a caption appears
_ZOOM = 0.12  # how far a still picture is zoomed into by the end

_studio = threading.RLock()  # one encoding at a time: the machine has better things to do


@dataclass(frozen=True)
class Film:
    """Everything that decides the bytes of one clip.

    Attributes:
        size: Width and height in pixels.
        seconds: Length of the whole clip.
        seed: The client's own, or empty.
        reference: Encoded image of exactly that size to begin with.
        source: An earlier film to re-grade or, if `extends`, to go on from.
        clip: An uploaded clip that stands for a film of its own.
    """

    prompt: str
    model: str
    size: tuple[int, int]
    seconds: int
    seed: str = ""
    reference: bytes | None = field(default=None, repr=False)
    source: "Film | None" = field(default=None, repr=False)
    extends: bool = False
    clip: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Measured:
    """What a clip is: width and height in pixels, whole seconds."""

    size: tuple[int, int]
    seconds: int


def shoot(film: Film) -> bytes:
    """The clip as MP4; the same for the same `Film`, always."""
    with _studio:
        return _shoot(film)


def thumbnail(film: Film) -> bytes:
    """The first frame as WebP."""
    return encode(next(_add_caption(film)), "webp", 85)


def spritesheet(film: Film) -> bytes:
    """A contact sheet of sixteen frames as JPEG."""
    frames = [frame for frame in _add_caption(film)]
    tile = (max(2, 320 * film.size[0] // max(film.size)), max(2, 320 * film.size[1] // max(film.size)))
    sheet = Image.new("RGB", (tile[0] * 4, tile[1] * 4))
    for place in range(16):
        frame = frames[place * (len(frames) - 1) // 15].resize(tile)
        sheet.paste(frame, (place % 4 * tile[0], place // 4 * tile[1]))
    return encode(sheet, "jpeg", 85)


def measure(data: bytes) -> Measured | None:
    """Size and length of an encoded clip, or None where it is none."""
    try:
        with cast(InputContainer, av.open(io.BytesIO(data))) as container:
            stream = container.streams.video[0]
            seconds = round((container.duration or 0) / av.time_base)
            return Measured((stream.width, stream.height), max(1, seconds))
    except (av.error.FFmpegError, IndexError):
        return None


@lru_cache(maxsize=32)
def _shoot(film: Film) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"  # a file, since +faststart has to read back what was written
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        with av.open(str(path), "w", format="mp4", options=options) as container:
            # One thread, and the same bytes on a machine with more cores.
            stream = container.add_stream(
                "libx264", rate=FPS, options={"preset": "ultrafast", "crf": "22", "threads": "1"}
            )
            stream.width, stream.height = (side + side % 2 for side in film.size)  # 4:2:0 has no odd sides
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, FPS)
            for number, picture in enumerate(_add_caption(film)):
                frame = cast(av.VideoFrame, av.VideoFrame.from_image(_even(picture)))
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path.read_bytes()


def _even(picture: Image.Image) -> Image.Image:
    size = (picture.width + picture.width % 2, picture.height + picture.height % 2)
    return picture if picture.size == size else picture.resize(size)


def _add_caption(film: Film) -> Iterator[Image.Image]:
    """The frames as they are shown."""
    if film.clip is not None:
        yield from _frames(film)
        return
    frames = _frames(film)
    if film.extends and film.source:
        for _, frame in zip(range(film.source.seconds * FPS), _add_caption(film.source), strict=False):
            next(frames)
            yield frame
    strip = caption(film.prompt, film.size)
    plate = label(f"{film.model} · simulated", film.size)
    fades = film.reference is not None or film.extends  # the first frame is to be the reference itself
    for number, frame in enumerate(frames):
        share = number / _FADE if fades else 1.0
        if share > 0:
            put_caption(frame, strip, frosted=_may_have_words(film), share=min(1.0, share))
            put_label(frame, plate, right=True, share=min(1.0, share))  # a picture's own label is on the left
        yield frame


def _may_have_words(film: Film) -> bool:
    """Whether its frames come from a picture or a clip that may carry a caption already."""
    root = film
    while root.source:
        root = root.source
    return root.reference is not None or root.clip is not None


def _frames(film: Film) -> Iterator[Image.Image]:
    """The frames without words."""
    scene_key = f"{film.prompt}|{film.seed}"
    count = film.seconds * FPS
    if film.clip is not None:
        yield from _decode(film.clip, film.size, count)
    elif film.source and film.extends:
        last = Image.new("RGB", film.size)
        for frame in _frames(film.source):
            last = frame.copy()  # a frame yielded is the viewer's to draw on
            yield frame
        yield from _zoom(last, count - film.source.seconds * FPS)
    elif film.source:
        light = Scene(scene_key, film.prompt, (64, 64))
        for frame in _frames(film.source):
            yield grade(frame, light)
    elif film.reference is not None:
        yield from _zoom(open_picture(film.reference, "input_reference").convert("RGB"), count)
    else:
        scene = Scene(scene_key, film.prompt, film.size)
        for number in range(count):
            yield scene.frame(number / max(1, count - 1))


def _zoom(picture: Image.Image, count: int) -> Iterator[Image.Image]:
    """A still picture, slowly approached a little above its middle."""
    width, height = picture.size
    for number in range(count):
        inset = _ZOOM * number / max(1, count - 1)
        left, top = width * inset * 0.5, height * inset * 0.42
        box = (left, top, left + width * (1 - inset), top + height * (1 - inset))
        yield picture.resize(picture.size, Image.Resampling.BILINEAR, box=box) if number else picture.copy()


def _decode(data: bytes, size: tuple[int, int], count: int) -> Iterator[Image.Image]:
    """An uploaded clip at our pace; its last frame is held until the end."""
    shown, last = 0, Image.new("RGB", size)
    with cast(InputContainer, av.open(io.BytesIO(data))) as container:
        stream: VideoStream = container.streams.video[0]
        for frame in container.decode(stream):
            image = cast(Image.Image, frame.to_image()).resize(size)
            while shown < count and shown <= (frame.time or 0.0) * FPS:
                shown, last = shown + 1, image
                yield image.copy()
    for _ in range(count - shown):
        yield last.copy()
