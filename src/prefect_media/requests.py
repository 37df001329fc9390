"""What to buy: one small, frozen, JSON-friendly model per paid operation.

Only the shape is checked here; the catalog checks what a given model can do.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema

from .assets import Asset
from .form_schema import fold, unfold
from .jobs import VideoJob
from .promise import Promise, refuse_promise
from .request_inputs import LONGEST_ID, FootageInput, MediaInput, Size, job_id_of
from .user_input import brief_repr, brief_text, fault_of

Operation = Literal["generate", "edit", "remix", "extend"]
AspectRatio = Literal["16:9", "9:16", "1:1", "16:10", "10:16"]


INPUTS = ("image", "images", "mask", "markup", "video")
"""Fields for pictures and videos, where requests have them."""


class MediaRequest(BaseModel):
    """The fields that all requests share.

    A form groups the fields that few users need under `options`; here as there they may also stand by themselves.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    operation: ClassVar[Operation] = "generate"
    makes: ClassVar[str | None] = None
    """What its models make, where it names one."""
    first_in_form: ClassVar[tuple[str, ...]] = ("prompt",)
    """The fields that a form shows at once."""

    prompt: str = Field(min_length=1, max_length=32_000, description="What to make, in words.", examples=["A boat"])
    variant: int = Field(default=0, ge=0, description="Another number makes the same request another purchase.")
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description='Sent to the server as it is, for example {"seed": 7, "num_inference_steps": 30}.',
    )

    def with_results(self) -> Self:
        """This request, valid again once Prefect has put results where futures were; a task calls it first.

        A result of several pictures stands for all of them in `images`, and for the first one elsewhere.

        Raises:
            errors.InvalidRequest: A future is still in it.
            ValidationError: A result is no picture or video.
        """
        given = {name: getattr(self, name) for name in INPUTS if name in self.model_fields_set}
        single = {name: value if name == "images" else (value,) for name, value in given.items()}
        if all(isinstance(each, str | Asset | VideoJob) for values in single.values() for each in values):
            return self
        for each in (each for values in single.values() for each in values if isinstance(each, Promise)):
            refuse_promise(each)
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        for name, values in single.items():
            results = [result for each in values for result in _several(each)]
            fields[name] = results if name == "images" or not results else results[0]
        return type(self).model_validate(fields)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_unsendable_text(cls, value: Any) -> Any:
        if fault := fault_of(str(value) if isinstance(value, Path) else value):
            raise ValueError(fault)
        return value

    @field_validator("prompt")
    @classmethod
    def _refuse_blanks(cls, prompt: str) -> str:
        if not prompt.strip():
            raise ValueError("it contains only blanks; describe what to make")
        return prompt

    @field_validator("model", check_fields=False)
    @classmethod
    def _refuse_unprintable_model_names(cls, model: str) -> str:
        if odd := next((each for each in model if not each.isprintable()), None):
            raise ValueError(
                f"it contains {odd!r}, which is not allowed in a model's name; pass the name as the server lists it"
            )
        return model

    @field_validator("extra")
    @classmethod
    def _refuse_unsendable_extra(cls, extra: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(extra, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"it can't be sent as JSON: {error}; pass numbers, texts, lists and dicts") from None
        return extra

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        json_schema = handler(schema)
        if handler.mode == "validation":
            fold(handler.resolve_ref_schema(json_schema), cls.first_in_form, cls.makes)
        return json_schema

    @model_validator(mode="before")
    @classmethod
    def _explain_unknown_fields(cls, data: Any) -> Any:
        if isinstance(data, dict):
            fields = unfold(cast(dict[str, Any], data))
            if unknown := [name for name in fields if name not in cls.model_fields]:
                raise ValueError(
                    f"{cls.__name__} has no field {brief_text(', '.join(map(str, unknown)))}; its fields are "
                    f"{', '.join(cls.model_fields)}; put fields that only your server has into extra={{...}}"
                )
            return fields
        return data


def _several(result: Any) -> list[Any]:
    return list(cast(list[Any], result)) if isinstance(result, list | tuple) else [result]


def problems_of(error: ValidationError) -> str:
    """The problems of a validation error, in one line: each field with the reason."""
    problems = (
        (brief_text(".".join(map(str, problem["loc"]))), problem["msg"].removeprefix("Value error, "))
        for problem in error.errors()
    )
    return "; ".join(": ".join(filter(None, problem)) for problem in problems)


class ImageOptions(MediaRequest):
    """The options of images, whether generated or edited; the catalog knows which a model accepts."""

    makes: ClassVar[str | None] = "image"
    first_in_form: ClassVar[tuple[str, ...]] = ("prompt", "model", "aspect_ratio", "n")

    model: str = Field(min_length=1, description='Model or Azure deployment, for example "gpt-image-2".')
    model_family: str | None = Field(
        default=None,
        description='Model whose rules and prices apply to a name of your own, for example "gpt-image-2"; never sent.',
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
        title="How many",
        description="How many images; more than the model makes per request are several purchases.",
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
        default=None, description='How much the model plans before it draws: "low", "medium" or "high".'
    )
    safety_identifier: str | None = Field(
        default=None, max_length=512, description="A hash that stands for your end user, against abuse."
    )


class ImageRequest(ImageOptions):
    """One or more images from a prompt.

    Example:
        ```python
        ImageRequest(prompt="a neon fox", model="gpt-image-2", aspect_ratio="16:9")
        ```
    """

    style: str | None = Field(default=None, description='"vivid" or "natural"; DALL-E 3 only.')
    moderation: str | None = Field(default=None, description='"auto" or "low".')


class ImageEditRequest(ImageOptions):
    """One or more images made from other images, as the prompt says.

    Example:
        ```python
        ImageEditRequest(prompt="put a hat on the fox", model="gpt-image-2", images=["fox.png", "hat.png"])
        ```
    """

    operation: ClassVar[Operation] = "edit"
    first_in_form: ClassVar[tuple[str, ...]] = ("prompt", "model", "images", "aspect_ratio", "n")

    images: tuple[MediaInput, ...] = Field(
        min_length=1, max_length=16, description="What to start from: 1 to 16 pictures; a mask is for the first."
    )
    mask: MediaInput | None = Field(
        default=None, description="PNG of the first picture's size; its transparent parts are generated again."
    )
    markup: MediaInput | None = Field(
        default=None, description="Transparent PNG of the first picture's size with marks that guide the edit."
    )
    input_fidelity: str | None = Field(
        default=None, description='How closely to follow the pictures, "high" or "low"; some models only.'
    )

    @field_validator("images", mode="before")
    @classmethod
    def _accept_a_single_image(cls, images: Any) -> Any:
        return (images,) if isinstance(images, str | bytes | Path | Asset | Promise) else images


class VideoRequest(MediaRequest):
    """One video from a prompt, or from a prompt and one reference image.

    Example:
        ```python
        VideoRequest(prompt="the fox runs", model="wan-2.2", seconds=5, size="1280x720", image="fox.png")
        ```
    """

    makes: ClassVar[str | None] = "video"
    first_in_form: ClassVar[tuple[str, ...]] = ("prompt", "model", "seconds", "aspect_ratio")

    model: str = Field(
        min_length=1, description='Model or Azure deployment, as your server lists it, for example "wan-2.2".'
    )
    model_family: str | None = Field(
        default=None,
        description='Model whose rules and prices apply to a name of your own, for example "sora-2"; never sent.',
    )
    seconds: int | None = Field(default=None, ge=1, description="Duration in seconds.", examples=[8])
    size: Size | None = Field(default=None, pattern="^[0-9]+x[0-9]+$", description='"WIDTHxHEIGHT" in pixels.')
    aspect_ratio: AspectRatio | None = Field(
        default=None, description="Turned into the best size the model has; give this or size."
    )
    image: MediaInput | None = Field(default=None, description="The one reference image that the video starts from.")
    fit: Literal["crop", "pad", "error"] = Field(
        default="crop", description="What to do with a reference image of another size than the video."
    )


class VideoVariation(MediaRequest):
    """The fields that remixes, edits and extensions of a finished video share."""

    first_in_form: ClassVar[tuple[str, ...]] = ("video", "prompt")

    video: FootageInput = Field(
        description="The finished video: an Asset, a VideoJob or a job id; edits and extensions also take a file."
    )

    @field_validator("video")
    @classmethod
    def _refuse_malformed_job_ids(cls, video: Asset | VideoJob | str | Path | bytes | Promise) -> Any:
        job_id = None if isinstance(video, Promise) else job_id_of(video)
        if job_id and (not job_id.isprintable() or " " in job_id or len(job_id) > LONGEST_ID):
            raise ValueError(
                f"{brief_repr(job_id)} is not a job id: job ids have no blanks, no control characters, and at most "
                f"{LONGEST_ID:,} characters; the path of a file begins with / or ./, or ends in .mp4"
            )
        return video

    @property
    def source_job_id(self) -> str | None:
        """The provider's id of the source video; None for a file, and for an Asset without a job."""
        return job_id_of(self.video)

    def footage_for(self, host: str) -> Asset | str | None:
        """The video file to send to a server; None where one of its jobs made the video.

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
        """Host name of the server that made the video; None where only its id is known."""
        if isinstance(self.video, Asset):
            return self.video.source.host if self.video.source else None
        return urlsplit(self.video.base_url).netloc if isinstance(self.video, VideoJob) else None


class RemixRequest(VideoVariation):
    """A finished video made again with a change that the prompt describes.

    Example:
        ```python
        RemixRequest(video=asset, prompt="the same, at night in the rain")
        ```
    """

    operation: ClassVar[Operation] = "remix"


class VideoEditRequest(VideoVariation):
    """A finished video with one change that the prompt describes; the rest is kept.

    Example:
        ```python
        VideoEditRequest(video=asset, prompt="give the fox a red scarf")
        VideoEditRequest(video="holiday.mp4", prompt="let it snow")  # where the server takes uploads
        ```
    """

    operation: ClassVar[Operation] = "edit"


class VideoExtendRequest(VideoVariation):
    """A finished video with more seconds, as the prompt describes; the result is the whole video.

    Example:
        ```python
        VideoExtendRequest(video=asset, prompt="the fox looks back", seconds=4)
        ```
    """

    operation: ClassVar[Operation] = "extend"
    first_in_form: ClassVar[tuple[str, ...]] = ("video", "prompt", "seconds")

    seconds: int = Field(ge=1, description="How many seconds to add.")
