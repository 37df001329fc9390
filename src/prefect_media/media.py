"""What a media file really is: read from its bytes, not believed from the job that made it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any

from .errors import DownloadCorrupt

POSTER_WIDTH = 320


@dataclass(frozen=True, slots=True)
class Facts:
    """Width and height in pixels, duration in seconds."""

    width: int | None = None
    height: int | None = None
    seconds: float | None = None


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
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
}


def expect(kind: str, head: bytes) -> str:
    """The MIME type of a file that has to be of a kind ("image" or "video").

    Raises:
        errors.DownloadCorrupt: It is something else, an HTML error page for example.
    """
    found = sniff(head)
    if found is None or not found.startswith(kind):
        start = head[:40].decode("ascii", "replace")
        raise DownloadCorrupt(f"the provider sent something that is no {kind}: it begins with {start!r}")
    return found


def image_facts(data: bytes) -> Facts:
    """Width and height of an image; nothing is known of formats that can't be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as picture:
            return Facts(picture.width, picture.height)
    except (UnidentifiedImageError, OSError):
        return Facts()


def video_facts(file: IO[bytes]) -> Facts:
    """Width, height and duration of a video; nothing is known of files that can't be read."""
    import av
    from av.error import FFmpegError

    try:
        with av.open(file, "r") as container:
            stream: Any = container.streams.video[0]
            length = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
            return Facts(stream.codec_context.width, stream.codec_context.height, round(float(length), 3) or None)
    except (FFmpegError, IndexError):
        return Facts()


def poster(kind: str, file: IO[bytes]) -> bytes:
    """A small JPEG of an image, or of a frame from the first half of a video.

    Raises:
        errors.DownloadCorrupt: The file can't be read.
    """
    from PIL import Image

    try:
        picture = Image.open(file) if kind == "image" else _frame(file)
    except (OSError, IndexError, StopIteration, ValueError) as error:
        raise DownloadCorrupt(f"no picture can be read from the {kind}: {error}") from None
    picture = picture.convert("RGB")
    picture.thumbnail((POSTER_WIDTH, POSTER_WIDTH))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return out.getvalue()


def _frame(file: IO[bytes]) -> Any:
    import av

    with av.open(file, "r") as container:
        stream = container.streams.video[0]
        if container.duration:
            container.seek(container.duration // 3)
        frame: Any = next(container.decode(stream))
        return frame.to_image()
