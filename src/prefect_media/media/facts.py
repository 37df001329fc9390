"""What a media file really is: read from its bytes, not believed from the job that made it."""

from __future__ import annotations

import io
from collections import deque
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ..errors import DownloadCorrupt, MediaError
from .image_structure import MOST_PIXELS, structure_of
from .mp4_index import index_of

if TYPE_CHECKING:
    from PIL.Image import Image

POSTER_WIDTH = 320


@dataclass(frozen=True, slots=True)
class Facts:
    """Width and height in pixels, duration in seconds, FFmpeg's name of a codec; what is wrong with an image."""

    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    codec: str | None = None
    fault: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with an image, as a sentence."""
        return (f"The image is damaged or too large: {self.fault}.",) if self.fault else ()


def sniff(head: bytes) -> str | None:
    """The MIME type that the first bytes of a file give away; None when they are no media we know."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"<svg", b"<?xml")):
        return "image/svg+xml"
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "video/webm"
    return None


SUFFIXES = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/svg+xml": "svg",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
}


def expect(kind: str, head: bytes) -> str:
    """The MIME type of a file that has to be of a kind ("image" or "video").

    Raises:
        errors.DownloadCorrupt: It is something else, an HTML error page for example.
    """
    content_type = sniff(head)
    if content_type is None or not content_type.startswith(kind):
        start = head[:40].decode("ascii", "replace")
        raise DownloadCorrupt(f"the provider sent something that is not a valid {kind}: it begins with {start!r}")
    return content_type


MOST_JUNK = 1024 * 1024
"""Bytes after the last box of a film that are kept with a warning; with more of them it is not a film."""


class Whole:
    """Tells whether a film broke off: MP4 and MOV say of each box how long it is. Of other formats it says nothing."""

    def __init__(self) -> None:
        self._boxes = self._junk = 0
        self._head = bytearray()
        self._skip: int | None = 0  # bytes left of the current box; None when the rest can't be followed

    def feed(self, block: bytes | memoryview) -> None:
        """Take the next bytes; an empty block is the end.

        Raises:
            errors.DownloadCorrupt: It ends within a box, or goes on without one.
        """
        if self._junk:
            self._count_junk(len(block))
            return
        if not block:
            if self._skip:
                raise DownloadCorrupt("the video breaks off before its end, though it has the announced length")
            return
        at = 0
        while self._skip is not None and at < len(block):
            step = min(self._skip, len(block) - at)
            at, self._skip = at + step, self._skip - step
            if not self._skip and at < len(block):
                at = self._read_header(block, at)
                if self._junk:
                    self._count_junk(len(block) - at)
                    return

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about a film that is whole, one sentence each."""
        junk = self._junk + len(self._head)
        return (f"The file goes on for {junk:,} bytes after its last box.",) if self._boxes and junk else ()

    def _count_junk(self, nbytes: int) -> None:
        self._junk += nbytes
        if self._junk > MOST_JUNK:
            raise DownloadCorrupt(f"the video has more than {MOST_JUNK:,} bytes after its last box")

    def _read_header(self, block: bytes | memoryview, at: int) -> int:
        """Gather the header of the next box, which may lie across two blocks."""
        header_size = 16 if self._head.startswith(b"\0\0\0\1") else 8
        taken = block[at : at + header_size - len(self._head)]
        self._head += taken
        if header_size == 8 and self._head.startswith(b"\0\0\0\1"):
            return at + len(taken)  # the length follows, in 64 bits
        if len(self._head) == header_size:
            length = int.from_bytes(self._head[8:] if header_size == 16 else self._head[:4])
            is_named = self._head[4:8].isalnum()
            if is_named and length >= header_size:
                self._boxes, self._skip = self._boxes + 1, length - header_size
            elif self._boxes and not (is_named and length == 0):
                self._junk = header_size
            else:
                self._skip = None  # another format, or a box "up to the end of the file"
            self._head.clear()
        return at + len(taken)


def image_facts(data: bytes) -> Facts:
    """Width and height of an image and what is wrong with it, read without decoding it; never raises."""
    width, height, fault = structure_of(data, sniff(data[:64]))
    return Facts(width, height, fault=fault)


def indexed_facts(head: bytes) -> Facts | None:
    """What the index at the beginning of a video says; None where there is none, or none that is plain."""
    index = index_of(head)
    return Facts(*index) if index else None


def video_facts(file: IO[bytes]) -> Facts:
    """Width, height, duration and codec of a video; nothing is known of files that can't be read."""
    import av

    try:
        with av.open(file, "r") as container:
            stream: Any = container.streams.video[0]
            length = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
            codec = stream.codec_context
            return Facts(codec.width, codec.height, round(float(length), 3) or None, codec.codec.canonical_name)
    except MediaError:  # the store it is read from is away: that says nothing of the file
        raise
    except Exception:  # a broken file brings up more than FFmpeg's own errors, and it is paid for all the same
        return Facts()


def mismatches(facts: Facts, *, size: str | None, seconds: float | None) -> tuple[str, ...]:
    """Where a video is not what was asked for, one sentence each.

    Args:
        facts: What the file is.
        size: "WIDTHxHEIGHT" as it was asked for; None where nothing was.
        seconds: Duration as it was asked for; open models make a whole number of frames, so half a second or a
            twentieth is let pass.
    """
    if facts.codec is None:
        return ("The file can't be read as a video.",)
    sentences: list[str] = []
    if size and size != (actual := f"{facts.width}x{facts.height}"):
        sentences.append(f"The video is {actual}; {size} was asked for.")
    if seconds and facts.seconds and abs(facts.seconds - seconds) > max(0.5, seconds / 20):
        sentences.append(f"The video is {facts.seconds:g} s long; {seconds:g} s were asked for.")
    return tuple(sentences)


def last_frame(file: IO[bytes]) -> bytes:
    """The last frame of a video, as a PNG.

    Raises:
        errors.DownloadCorrupt: The file can't be read.
    """
    import av

    last: deque[Any] = deque(maxlen=1)
    try:
        with av.open(file, "r") as container:
            stream = container.streams.video[0]
            _refuse_large(stream.width, stream.height)
            for start in (container.duration or 0, 0):  # from the last key frame, else all of it
                container.seek(start)
                last.extend(container.decode(stream))
                if last:
                    break
        if not last:
            raise DownloadCorrupt("there is no frame in the video", transient=False)
        out = io.BytesIO()
        last[0].to_image().save(out, "PNG")
        return out.getvalue()
    except DownloadCorrupt:
        raise
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        why = str(error) or type(error).__name__
        raise DownloadCorrupt(f"no frame can be read from the video: {why}", transient=False) from None


def poster(kind: str, file: IO[bytes]) -> bytes:
    """A small JPEG of an image, or of a frame from the first half of a video.

    Raises:
        errors.DownloadCorrupt: The file can't be read.
    """
    try:
        picture = _still(file) if kind == "image" else _frame(file)
        picture = picture.convert("RGB")
        picture.thumbnail((POSTER_WIDTH, POSTER_WIDTH))
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=80)
        return out.getvalue()
    except Exception as error:  # decoders of broken files raise whatever they stumble over
        why = str(error) or type(error).__name__
        raise DownloadCorrupt(f"no picture can be read from the {kind}: {why}") from None


def _still(file: IO[bytes]) -> Image:
    from PIL import Image

    picture = Image.open(file)
    _refuse_large(picture.width, picture.height)
    return picture


def _frame(file: IO[bytes]) -> Any:
    import av

    with av.open(file, "r") as container:
        stream = container.streams.video[0]
        _refuse_large(stream.width, stream.height)
        if container.duration:
            container.seek(container.duration // 3)
        frame: Any = next(container.decode(stream))
        return frame.to_image()


def _refuse_large(width: int, height: int) -> None:
    """Refuse to decode what would fill the memory."""
    if width * height > MOST_PIXELS:
        raise DownloadCorrupt(f"it is {width}x{height}, too large to be decoded", transient=False)
