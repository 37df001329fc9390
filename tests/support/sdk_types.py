"""Recorded requests for images, held against the types of the openai SDK."""

from openai.types.image_edit_params import ImageEditParamsNonStreaming, ImageEditParamsStreaming
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming, ImageGenerateParamsStreaming
from pydantic import ConfigDict, TypeAdapter

from prefect_media.simulator.request_bodies import Upload


def strict(kind):
    kind.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    return TypeAdapter(kind)


PARAMS = {
    ("generations", False): strict(ImageGenerateParamsNonStreaming),
    ("generations", True): strict(ImageGenerateParamsStreaming),
    ("edits", False): strict(ImageEditParamsNonStreaming),
    ("edits", True): strict(ImageEditParamsStreaming),
}


def validate(request):
    """Check a recorded request against the SDK's own types, every field of them."""
    operation = request.path.partition("?")[0].rpartition("/")[2]
    body = {name: untexted(name, value) for name, value in request.body.items()}
    PARAMS[operation, bool(body.get("stream"))].validate_python(body)


def untexted(name, value):
    if isinstance(value, Upload):
        return value.data
    if isinstance(value, list):
        return [untexted(name, each) for each in value]
    if name in ("n", "output_compression", "partial_images", "frame_count", "frame_duration_ms"):
        return int(value)
    return value == "true" if name == "stream" and isinstance(value, str) else value
