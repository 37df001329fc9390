"""What to make: one small, frozen, JSON-friendly model per paid operation.

Only the shape is checked here; what a given model can do is the catalog's business.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from .assets import Asset
from .jobs import VideoJob
from .user_input import fault_of, quoted, shortened

Operation = Literal["generate", "edit", "remix", "extend"]
AspectRatio = Literal["16:9", "9:16", "1:1", "16:10", "10:16"]


def _plain(value: Any) -> Any:
    """Bytes and paths as strings, so that a request is the same in Python, in JSON and in the Prefect UI."""
    if isinstance(value, list | tuple):
        raise ValueError(f"exactly one picture is possible here, {len(value)} were given; choose one")  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return "data:application/octet-stream;base64," + base64.b64encode(value).decode()
    return value


LONGEST_ID = 2_000
"""Characters of a job id at most; gateways pack several ids into one."""


def _size(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch("auto|[0-9]{1,5}x[0-9]{1,5}", value):
        raise ValueError(f'{quoted(value)} is no size; write WIDTHxHEIGHT with the digits 0 to 9, such as "1280x720"')
    return value


Size = Annotated[str, BeforeValidator(_size)]

MediaInput = Annotated[Asset | str | Path | bytes, BeforeValidator(_plain, json_schema_input_type=str | Asset)]
"""A picture: a path, an http(s) or `s3://` URL, a data URL, bytes, or an Asset."""


def _rare_ones_last(schema: dict[str, Any]) -> None:
    """In the form of the Prefect UI, what few need comes after what all need."""
    fields = schema["properties"]
    for name in ("model_family", "variant", "extra"):
        if name in fields:
            fields[name] = fields.pop(name)


class MediaRequest(BaseModel):
    """What all requests share."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_rare_ones_last)
    operation: ClassVar[Operation] = "generate"

    prompt: str = Field(min_length=1, max_length=32_000, description="What to make, in words.")
    variant: int = Field(
        default=0,
        ge=0,
        description="The same request with another variant is another purchase; with the same one it is not.",
    )
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description='Sent to the server as it is, for example {"seed": 7, "num_inference_steps": 30}.',
    )

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_what_is_no_text(cls, value: Any) -> Any:
        if fault := fault_of(str(value) if isinstance(value, Path) else value):
            raise ValueError(fault)
        return value

    @field_validator("prompt")
    @classmethod
    def _refuse_blanks(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("it has nothing but blanks in it; say what to make")
        return prompt

    @field_validator("model", check_fields=False)
    @classmethod
    def _refuse_names_that_no_model_has(cls, model: str) -> str:
        if odd := next((each for each in model if not each.isprintable()), None):
            raise ValueError(
                f"it contains {odd!r}, which no name of a model does; pass the name as the server lists it"
            )
        return model

    @field_validator("extra")
    @classmethod
    def _refuse_what_can_not_be_sent(cls, extra: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(extra, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"it has something that can't be sent as JSON: {error}") from None
        return extra

    @model_validator(mode="before")
    @classmethod
    def _explain_unknown_fields(cls, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = [name for name in cast(dict[str, Any], data) if name not in cls.model_fields]
            if unknown:
                raise ValueError(
                    f"{cls.__name__} has no field {shortened(', '.join(map(str, unknown)))}; its fields are "
                    f"{', '.join(cls.model_fields)}. What only your server knows goes into extra={{...}}"
                )
        return data  # pyright: ignore[reportUnknownVariableType]


def problems_of(error: ValidationError) -> str:
    """What is wrong with a request, or whatever else was validated: fields and reasons, in one line."""
    problems = (
        (shortened(".".join(map(str, problem["loc"]))), problem["msg"].removeprefix("Value error, "))
        for problem in error.errors()
    )
    return "; ".join(": ".join(filter(None, problem)) for problem in problems)


class ImageOptions(MediaRequest):
    """What can be said of images, whether they are made or edited. What a model takes of it, the catalog knows."""

    model: str = Field(min_length=1, description='Model or Azure deployment, for example "gpt-image-2".')
    model_family: str | None = Field(
        default=None,
        description='Whose rules and prices hold for a name of your own, for example "gpt-image-2"; never sent.',
    )
    size: Size | None = Field(
        default=None, pattern="^(auto|[0-9]+x[0-9]+)$", description='"WIDTHxHEIGHT" in pixels, or "auto".'
    )
    aspect_ratio: AspectRatio | None = Field(
        default=None, description="Turned into the best size the model has; give this or size."
    )
    quality: str | None = Field(
        default=None, description='"auto", "low", "medium", "high"; some models have "xhigh" and "max".'
    )
    n: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="How many images; more than the model makes at once are several purchases.",
    )
    background: str | None = Field(default=None, description='"transparent", "opaque" or "auto".')
    output_format: str | None = Field(
        default=None, description='"png", "jpeg" or "webp"; some models have "gif" and "svg".'
    )
    output_compression: int | None = Field(
        default=None, ge=0, le=100, description="Compression level in per cent, for jpeg and webp."
    )
    frame_count: int | None = Field(default=None, ge=2, le=16, description="Frames of a GIF.")
    frame_duration_ms: int | None = Field(
        default=None, ge=10, le=655_350, description="How long a GIF shows each frame, in milliseconds."
    )
    complexity: str | None = Field(
        default=None, description='How much is planned before it is drawn: "low", "medium" or "high".'
    )
    safety_identifier: str | None = Field(
        default=None, max_length=512, description="A hash that stands for your end user, against abuse."
    )


class ImageRequest(ImageOptions):
    """One or several images from a prompt.

    Example:
        ```python
        ImageRequest(prompt="a neon fox", model="gpt-image-2", aspect_ratio="16:9")
        ```
    """

    style: str | None = Field(default=None, description='"vivid" or "natural"; DALL-E 3 only.')
    moderation: str | None = Field(default=None, description='"auto" or "low".')


class ImageEditRequest(ImageOptions):
    """One or several images made from others, as the prompt says.

    Example:
        ```python
        ImageEditRequest(prompt="put a hat on the fox", model="gpt-image-2", images=["fox.png", "hat.png"])
        ```
    """

    operation: ClassVar[Operation] = "edit"

    images: tuple[MediaInput, ...] = Field(
        min_length=1, max_length=16, description="What to start from: 1 to 16 pictures; a mask is for the first."
    )
    mask: MediaInput | None = Field(
        default=None, description="PNG of the first picture's size; what is transparent in it is made anew."
    )
    markup: MediaInput | None = Field(
        default=None, description="Transparent PNG of the first picture's size with marks that guide the edit."
    )
    input_fidelity: str | None = Field(
        default=None, description='How closely to keep to the pictures, "high" or "low"; some models only.'
    )

    @field_validator("images", mode="before")
    @classmethod
    def _one_is_several(cls, images: Any) -> Any:
        return (images,) if isinstance(images, str | bytes | Path | Asset) else images


class VideoRequest(MediaRequest):
    """One video from a prompt, or from a prompt and one reference image.

    Example:
        ```python
        VideoRequest(prompt="the fox runs", model="sora-2", seconds=8, size="1280x720", image="fox.png")
        ```
    """

    model: str = Field(min_length=1, description='Model or Azure deployment, for example "sora-2".')
    model_family: str | None = Field(
        default=None,
        description='Whose rules and prices hold for a name of your own, for example "sora-2"; never sent.',
    )
    seconds: int | None = Field(default=None, ge=1, description="Duration in seconds.")
    size: Size | None = Field(default=None, pattern="^[0-9]+x[0-9]+$", description='"WIDTHxHEIGHT" in pixels.')
    aspect_ratio: AspectRatio | None = Field(
        default=None, description="Turned into the best size the model has; give this or size."
    )
    image: MediaInput | None = Field(default=None, description="The one reference image that the video starts from.")
    fit: Literal["crop", "pad", "error"] = Field(
        default="crop", description="What to do with a reference image of another size than the video."
    )


def _footage(value: Any) -> Any:
    """A video file as a string that can't be taken for a job id."""
    plain = _plain(value)
    if isinstance(value, Path) and not is_file(plain):
        return f"./{plain}"
    return plain


def is_file(text: str) -> bool:
    """Whether a text names a file rather than a job: a data URL, a URL, a path, or a name with a video's suffix."""
    if text.startswith(("data:", "/", "~", "./", "../", ".\\", "..\\")) or "://" in text:
        return True
    return text.lower().endswith((".mp4", ".mov", ".webm", ".m4v", ".mkv", ".avi")) or text[1:3] == ":\\"


FootageInput = Annotated[
    Asset | VideoJob | str | Path | bytes, BeforeValidator(_footage, json_schema_input_type=str | Asset | VideoJob)
]
"""A finished video by its Asset, VideoJob or job id; or a file: path, http(s) or `s3://` URL, data URL, bytes."""


def job_id_of(video: Asset | VideoJob | str | Path | bytes) -> str | None:
    """The provider's id of the job that made a video; None for a file, and an Asset that no job made."""
    if isinstance(video, Asset):
        return video.source.job_id if video.source else None
    if isinstance(video, VideoJob):
        return video.id
    return None if is_file(str(video)) else str(video)


class VideoVariation(MediaRequest):
    """What remixes, edits and extensions of a finished video share."""

    video: FootageInput = Field(
        description="The finished video: an Asset, a VideoJob or a job id; to be edited or extended also a file."
    )

    @field_validator("video")
    @classmethod
    def _refuse_what_is_no_job_id(cls, video: Asset | VideoJob | str | Path | bytes) -> Any:
        job_id = job_id_of(video)
        if job_id and (not job_id.isprintable() or " " in job_id or len(job_id) > LONGEST_ID):
            raise ValueError(
                f"{quoted(job_id)} is no job id: those have no blanks and no control characters, and at most "
                f"{LONGEST_ID:,} characters; the path of a file begins with / or ./, or ends in .mp4"
            )
        return video

    @property
    def source_job_id(self) -> str | None:
        """The provider's id of the video to start from; None for a file, and an Asset that no job made."""
        return job_id_of(self.video)

    def footage_for(self, host: str) -> Asset | str | None:
        """What has to be sent along to a server; None where the video is known by the id of a job there.

        Args:
            host: Host name of the server, with its port if unusual.
        """
        if isinstance(self.video, VideoJob):
            return None
        if isinstance(self.video, Asset):
            return None if self.source_job_id and self.source_host == host else self.video
        return None if self.source_job_id else str(self.video)

    @property
    def source_host(self) -> str | None:
        """Host name of the server that made the video; None where only an id is known."""
        if isinstance(self.video, Asset):
            return self.video.source.host if self.video.source else None
        return urlsplit(self.video.base_url).netloc if isinstance(self.video, VideoJob) else None


class RemixRequest(VideoVariation):
    """A finished video made again with a change, described by the prompt.

    Example:
        ```python
        RemixRequest(video=asset, prompt="the same, at night in the rain")
        ```
    """

    operation: ClassVar[Operation] = "remix"


class VideoEditRequest(VideoVariation):
    """A finished video with one thing in it changed, described by the prompt, and the rest kept.

    Example:
        ```python
        VideoEditRequest(video=asset, prompt="give the fox a red scarf")
        VideoEditRequest(video="holiday.mp4", prompt="let it snow")  # where the server takes uploads
        ```
    """

    operation: ClassVar[Operation] = "edit"


class VideoExtendRequest(VideoVariation):
    """A finished video that goes on, as the prompt says; the result is the whole of it.

    Example:
        ```python
        VideoExtendRequest(video=asset, prompt="the fox looks back", seconds=4)
        ```
    """

    operation: ClassVar[Operation] = "extend"

    seconds: int = Field(ge=1, description="How many seconds to add.")
