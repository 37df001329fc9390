"""How the simulator plays servers other than OpenAI's: which doors they have, what they hear, how they answer.

Written from the servers' own sources (named at each profile), and not from `providers/dialects.toml`: what the
client believes is checked against this.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from . import shapes
from .answers import ApiError
from .state import Job

ALL = frozenset({"create", "look", "list", "content", "delete", "remix", "edit", "extend"})
_OPEN = frozenset({"create", "look", "list", "content", "delete"})
Fields = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One kind of server.

    Attributes:
        routes: The operations it has, by the names used here.
        heard: A body in its own words, as OpenAI would have been told it; raises `ApiError`.
        shown: A job as it shows it, given the root of its URLs.
        refused: The body of a refusal.
        id: A job's id, made from 32 hexadecimal digits.
        accepted: HTTP status of a taken order.
        failed: HTTP status of a look at a failed job, where that is an error.
        not_ready: HTTP status of content that is asked for too early.
        pages: How it lists: "has_more" in pages that say whether there are more, "pages" in pages that don't, "all" at
            once and oldest first.
        deleted: What it answers to a deletion.
        cancels: Whether a deletion ends jobs that run.
        batches: Whether it has the Batch API.
        models: Further fields of a model in its list.
        headers: Headers of all its answers.
    """

    routes: frozenset[str] = ALL
    heard: Callable[[Fields, bool], Fields] = lambda fields, form: fields
    shown: Callable[[Job, str], Fields] = lambda job, root: job.resource()
    refused: Callable[[ApiError], Fields] = lambda error: {"error": error.openai}
    id: Callable[[str], str] = lambda digits: f"video_{digits}"
    accepted: int = 200
    failed: int | None = None
    not_ready: int = 404
    pages: str = "has_more"
    deleted: Callable[[Job, str], Fields] = lambda job, root: {
        "id": job.id,
        "object": "video.deleted",
        "deleted": True,
    }
    cancels: bool = False
    batches: bool = False
    models: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def _form_only(fields: Fields, form: bool) -> Fields:
    """vLLM-Omni reads forms; in them `image_reference` and whatever has parts are JSON strings."""
    if not form:
        raise ApiError(422, '[{"type": "missing", "loc": ["body", "prompt"], "msg": "Field required"}]')
    heard = dict(fields)
    for name in ("image_reference", "lora", "extra_params"):
        if isinstance(heard.get(name), str):
            try:
                heard[name] = json.loads(heard[name])
            except ValueError:
                raise ApiError(400, "Invalid JSON in form field.") from None
    if "image_reference" in heard:
        if "input_reference" in heard:
            raise ApiError(400, "input_reference and image_reference are mutually exclusive.")
        heard["input_reference"] = heard.pop("image_reference")
    return heard


def _sglang(fields: Fields, form: bool) -> Fields:
    if form and "input_reference" not in fields:
        raise ApiError(400, "input_reference file is required")
    extra = fields.get("extra_body")
    if isinstance(extra, str):
        extra = json.loads(extra)
    merged = {**fields, **cast(Fields, extra or {})}
    return {name: value for name, value in merged.items() if name != "extra_body"}


_TRTLLM_FORM = (
    *("prompt", "model", "size", "negative_prompt", "output_format", "seconds", "fps", "n", "input_reference"),
    *("num_inference_steps", "guidance_scale", "guidance_rescale", "seed"),
)


def _trtllm(fields: Fields, form: bool) -> Fields:
    heard = {name: value for name, value in fields.items() if not form or name in _TRTLLM_FORM}
    if "seconds" in heard:
        heard["seconds"] = str(round(float(heard["seconds"])))
    return heard


def _openrouter(fields: Fields, form: bool) -> Fields:
    if form:
        raise ApiError(400, "Invalid request body: expected application/json")
    heard = {name: value for name, value in fields.items() if name not in ("duration", "seconds", "frame_images")}
    if "duration" in fields:
        if not isinstance(fields["duration"], int):
            raise ApiError(400, "duration: Invalid input: expected number, received string")
        heard["seconds"] = fields["duration"]
    for frame in cast(list[Fields], fields.get("frame_images") or []):
        if frame.get("type") != "image_url" or frame.get("frame_type") not in ("first_frame", "last_frame"):
            raise ApiError(400, "frame_images: Invalid input")
        if frame["frame_type"] == "first_frame":
            heard["input_reference"] = {"image_url": frame["image_url"]["url"]}
    return heard


def _litellm_id(digits: str) -> str:
    plain = f"litellm:custom_llm_provider:openai;model_id:sora-2;video_id:video_{digits}"
    return "video_" + base64.b64encode(plain.encode()).decode().rstrip("=")


PROFILES: dict[str, Profile] = {
    "openai": Profile(batches=True),
    # Microsoft Learn, video-generation.md of 2025-12-01
    "azure": Profile(routes=ALL - {"edit", "extend"}),
    # vllm-omni 079d7a5, 0c02566, 005fd8e
    "vllm-omni": Profile(
        routes=_OPEN,
        heard=_form_only,
        shown=shapes.vllm_omni,
        refused=shapes.fastapi,
        id=lambda digits: f"video_gen_{digits}",
        failed=500,
        deleted=lambda job, root: {"id": job.id, "object": "video.deleted", "deleted": True},
        cancels=True,
        models={"owned_by": "vllm"},
    ),
    # sglang 020befb, 00ae37c; 0.5.22 and 0.5.23 run: no way to cancel, and a deletion forgets a job that runs
    "sglang": Profile(
        routes=_OPEN,
        heard=_sglang,
        shown=shapes.sglang,
        refused=shapes.fastapi,
        id=lambda digits: digits,
        pages="pages",
        deleted=lambda job, root: {**shapes.sglang(job, root), "status": "deleted"},
        cancels=True,
        models={"owned_by": "sglang", "num_gpus": 1, "task_type": "T2V"},
    ),
    # TensorRT-LLM 0509ccc
    "trtllm": Profile(
        routes=_OPEN,
        heard=_trtllm,
        shown=shapes.trtllm,
        refused=shapes.trtllm_error,
        accepted=202,
        not_ready=400,
        pages="all",
        deleted=lambda job, root: {"deleted": True},
        cancels=True,
        models={"owned_by": "tensorrt_llm"},
    ),
    # litellm 1.106.2, run
    "litellm": Profile(
        routes=ALL - {"list", "delete"},
        shown=shapes.litellm,
        refused=shapes.litellm_error,
        id=_litellm_id,
        models={"owned_by": "openai", "mode": "video_generation"},
        headers={"x-litellm-version": "1.106.2"},
    ),
    # QuantumNous/new-api 01f6839, 705748d
    "new-api": Profile(
        routes=frozenset({"create", "look", "content", "remix"}),
        shown=shapes.new_api,
        refused=shapes.new_api_error,
        id=lambda digits: f"task_{digits}",
        models={"owned_by": "custom"},
        headers={"x-oneapi-request-id": "20261122000000000000000000000000"},
    ),
    # openrouter.ai/docs/api_reference/videos.md, autumn 2026
    "openrouter": Profile(
        routes=frozenset({"create", "look", "content"}),
        heard=_openrouter,
        shown=shapes.openrouter,
        refused=shapes.openrouter_error,
        id=lambda digits: digits[:20],
        accepted=202,
        not_ready=400,
        models={"canonical_slug": "simulated", "supported_sizes": ["1280x720"]},
    ),
}
