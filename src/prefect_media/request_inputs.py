"""Pictures, videos and sizes as a request takes them: one JSON-friendly form for paths, bytes, URLs and job ids."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BeforeValidator

from .assets import Asset
from .jobs import VideoJob
from .promise import Promise, PromiseInput, refuse_promise
from .user_input import brief_repr

LONGEST_ID = 2_000
"""Most characters of a job id; gateways pack several ids into one."""


def _as_text(value: Any) -> Any:
    """Bytes and paths as strings, so that a request is the same in Python, in JSON and in the Prefect UI."""
    if isinstance(value, list | tuple):
        raise ValueError(f"expected one picture, got {len(cast(list[Any], value))}; choose one")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return "data:application/octet-stream;base64," + base64.b64encode(value).decode()
    return value


def _check_size(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch("auto|[0-9]{1,5}x[0-9]{1,5}", value):
        raise ValueError(
            f'{brief_repr(value)} is not a size; write WIDTHxHEIGHT with the digits 0 to 9, such as "1280x720"'
        )
    return value


Size = Annotated[str, BeforeValidator(_check_size)]

MediaInput = Annotated[
    Asset | str | Path | bytes | PromiseInput, BeforeValidator(_as_text, json_schema_input_type=str | Asset)
]
"""A picture: a path, an http(s) or `s3://` URL, a data URL, bytes, an Asset, or the future of a task that makes it."""


def _footage_as_text(value: Any) -> Any:
    """A video file as a string that can't be mistaken for a job id."""
    text = _as_text(value)
    if isinstance(value, Path) and not is_file(text):
        return f"./{text}"
    return text


def is_file(text: str) -> bool:
    """Whether a text names a file rather than a job: a data URL, a URL, a path, or a file name of a video."""
    if text.startswith(("data:", "/", "~", "./", "../", ".\\", "..\\")) or "://" in text:
        return True
    return text.lower().endswith((".mp4", ".mov", ".webm", ".m4v", ".mkv", ".avi")) or text[1:3] == ":\\"


FootageInput = Annotated[
    Asset | VideoJob | str | Path | bytes | PromiseInput,
    BeforeValidator(_footage_as_text, json_schema_input_type=str | Asset | VideoJob),
]
"""A finished video by its Asset, VideoJob, job id or future; or a file: path, http(s) or `s3://` URL, data or bytes."""


def job_id_of(video: Asset | VideoJob | str | Path | bytes | Promise) -> str | None:
    """The provider's id of the job that made a video; None for a file, and for an Asset without a job."""
    if isinstance(video, Promise):
        refuse_promise(video)
    if isinstance(video, Asset):
        return video.source.job_id if video.source else None
    if isinstance(video, VideoJob):
        return video.id
    return None if is_file(str(video)) else str(video)
