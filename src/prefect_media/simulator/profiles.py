"""How the simulator plays servers other than OpenAI's: which doors they have, what they hear, how they answer.

Written from the servers' own releases (`version` and `checked` of each profile), and not from
`providers/dialects.toml`: what the client believes is checked against this.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from . import dialect_answers
from .api_errors import ApiError, no_such_model
from .records import Job, Operation

ALL = frozenset({"create", "look", "list", "content", "delete", "remix", "edit", "extend"})
_OPEN = frozenset({"create", "look", "list", "content", "delete"})
Fields = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One kind of server.

    Attributes:
        version: The release, or the source, that was looked at.
        checked: When.
        routes: The operations it has, by the names used here.
        read_body: Translates a request body of this server into OpenAI's; raises `ApiError`.
        job_body: The body that describes a job, given the root of its URLs.
        error_body: The body of an error.
        fastapi: Whether it answers as FastAPI does where there is no such route.
        no_model: The refusal of a model that is not served; None where names of models are not looked at.
        id: A job's id, made from 32 hexadecimal digits.
        loses: Operations whose jobs it can't find again.
        accepted: HTTP status of a taken order.
        failed: HTTP status of a look at a failed job, where that is an error.
        not_ready: HTTP status of content that is asked for too early.
        failed_content: HTTP status of the content of a failed job.
        pages: How it lists: "has_more" in pages that say whether there are more, "pages" in pages that don't, "all" at
            once and oldest first.
        page: Jobs in a page where no `limit` is given; None for all.
        asks_whose: Whether a list needs the name of a provider in its query.
        deletes: Which jobs it deletes: "finished" ones only; any, and one that runs goes on unseen and is billed
            ("forgets"); or any, and one that runs is ended ("aborts").
        deletion_body: The body of the answer to a deletion.
        outputs: How many videos a body in its own words asks for, all of them rendered and billed.
        variants: Whether content has each of them, by its number.
        image_links: Whether images come as links without a host, unless `response_format` says otherwise.
        no_cluster: Whether it refuses all that has to do with videos where several processes answer.
        batches: Whether it has the Batch API, and posts an event when a batch has ended.
        models: Further fields of a model in its list.
        headers: Headers of all its answers.
        callbacks: Whether it posts an event when a video has ended, as OpenRouter does.
    """

    version: str
    checked: str
    routes: frozenset[str] = ALL
    read_body: Callable[[Fields, bool], Fields] = lambda fields, form: fields
    job_body: Callable[[Job, str], Fields] = lambda job, root: job.resource()
    error_body: Callable[[ApiError], Fields] = lambda error: {"error": error.openai}
    fastapi: bool = False
    no_model: Callable[[str], ApiError] | None = no_such_model
    id: Callable[[str, Operation], str] = lambda digits, operation: f"video_{digits}"
    loses: frozenset[Operation] = frozenset()
    accepted: int = 200
    failed: int | None = None
    not_ready: int = 404
    failed_content: int = 404
    pages: Literal["has_more", "pages", "all"] = "has_more"
    page: int | None = 20
    asks_whose: bool = False
    deletes: Literal["finished", "forgets", "aborts"] = "finished"
    deletion_body: Callable[[Job, str], Fields] = lambda job, root: {
        "id": job.id,
        "object": "video.deleted",
        "deleted": True,
    }
    outputs: Callable[[Fields], int] = lambda fields: 1
    variants: bool = False
    image_links: bool = False
    no_cluster: bool = False
    batches: bool = False
    models: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    callbacks: bool = False


def _form_only(fields: Fields, form: bool) -> Fields:
    """vLLM-Omni reads forms; in them `image_reference` and whatever has parts are JSON strings."""
    if not form:
        raise ApiError(422, '[{"type": "missing", "loc": ["body", "prompt"], "msg": "Field required"}]')
    kept_fields = dict(fields)
    for name in ("image_reference", "lora", "extra_params"):
        if isinstance(kept_fields.get(name), str):
            try:
                kept_fields[name] = json.loads(kept_fields[name])
            except ValueError:
                raise ApiError(400, "Invalid JSON in form field.") from None
    if "image_reference" in kept_fields:
        if "input_reference" in kept_fields:
            raise ApiError(400, "input_reference and image_reference are mutually exclusive.")
        kept_fields["input_reference"] = kept_fields.pop("image_reference")
    return kept_fields


def _sglang(fields: Fields, form: bool) -> Fields:
    if form and not fields.get("prompt"):
        raise ApiError(400, "prompt is required")
    extra: Any = fields.get("extra_body")
    if isinstance(extra, str):
        try:
            extra = json.loads(extra)
        except ValueError:
            raise ApiError(400, "extra_body must be valid JSON") from None
    merged = {**fields, **cast(Fields, extra or {})}
    return {name: value for name, value in merged.items() if name != "extra_body"}


def _old_sglang(fields: Fields, form: bool) -> Fields:
    if form and "input_reference" not in fields:
        raise ApiError(400, "input_reference file is required")
    return _sglang(fields, form)


def _renders(*names: str) -> Callable[[Fields], int]:
    """The first of these fields that is there says how many videos to make, ten at most."""

    def outputs(fields: Fields) -> int:
        number = next((str(fields[name]) for name in names if fields.get(name) is not None), "1")
        if not number.isdecimal():
            raise ApiError(400, f"Invalid request body: {number!r} is not a valid integer")
        return max(1, min(int(number), 10))

    return outputs


_TRTLLM_FORM = (
    *("prompt", "model", "size", "negative_prompt", "output_format", "seconds", "fps", "n", "input_reference"),
    *("num_inference_steps", "guidance_scale", "guidance_rescale", "seed"),
)


def _trtllm(fields: Fields, form: bool) -> Fields:
    kept_fields = {name: value for name, value in fields.items() if not form or name in _TRTLLM_FORM}
    if "seconds" in kept_fields:
        kept_fields["seconds"] = str(round(float(kept_fields["seconds"])))
    return kept_fields


def _openrouter(fields: Fields, form: bool) -> Fields:
    if form:
        raise ApiError(400, "Invalid request body: expected application/json")
    kept_fields = {name: value for name, value in fields.items() if name not in ("duration", "seconds", "frame_images")}
    # OpenRouter takes public HTTPS addresses only; this machine's own are for tests.
    if not str(fields.get("callback_url", "https://")).startswith(("https://", "http://127.0.0.1:")):
        raise ApiError(400, "callback_url: must be an HTTPS URL")
    if "duration" in fields:
        if not isinstance(fields["duration"], int):
            raise ApiError(400, "duration: Invalid input: expected number, received string")
        kept_fields["seconds"] = fields["duration"]
    for frame in cast(list[Fields], fields.get("frame_images") or []):
        if frame.get("type") != "image_url" or frame.get("frame_type") not in ("first_frame", "last_frame"):
            raise ApiError(400, "frame_images: Invalid input")
        if frame["frame_type"] == "first_frame":
            kept_fields["input_reference"] = {"image_url": frame["image_url"]["url"]}
    return kept_fields


_HANDED_ON = ("duration", "frame_images", "generate_audio", "input_references", "seed")


def _litellm(fields: Fields, form: bool) -> Fields:
    """Lists have to be lists. It hands on what only some models know; those behind a name of OpenAI's know it here."""
    for name in ("frame_images", "input_references"):
        if name in fields and not isinstance(fields[name], list):
            raise ApiError(400, "Invalid video image items, set drop_params=True to ignore them.")
    if not str(fields.get("model")).startswith("sora-2"):
        return fields
    return {name: value for name, value in fields.items() if name not in _HANDED_ON}


_DEPLOYMENT = "5e0f7d6c"


def _litellm_id(digits: str, operation: Operation) -> str:
    """Names the deployment; that of a job made from another has no model to name, and so names it twice."""
    model = "sora-2" if operation == "generate" else _DEPLOYMENT
    return _encode(f"litellm:custom_llm_provider:openai;model_id:{model};video_id:video_{digits}", _DEPLOYMENT)


def _old_litellm_id(digits: str, operation: Operation) -> str:
    """Names nothing of a job that was made from another, so that there is no way back to it."""
    model = "sora-2" if operation == "generate" else ""
    return _encode(f"litellm:custom_llm_provider:openai;model_id:{model};video_id:video_{digits}")


def _encode(plain: str, deployment: str = "") -> str:
    whole = f"{plain};deployment_id:{deployment}" if deployment else plain
    return "video_" + base64.b64encode(whole.encode()).decode()


def _mismatch(model: str) -> ApiError:
    return ApiError(400, f"Model mismatch: request specifies '{model}' but server is running another one.")


def _litellm_no_model(model: str) -> ApiError:
    return ApiError(400, f"Invalid model name passed in model={model}. Call `/v1/models` to view available models.")


PROFILES: dict[str, Profile] = {
    "openai": Profile(version="openai-openapi 23e6f5b, openai-python 3.57.0", checked="2026-11-24", batches=True),
    "azure": Profile(
        version="Microsoft Learn, video-generation.md of 2025-12-01",
        checked="2026-11-22",
        routes=ALL - {"edit", "extend"},
    ),
    "vllm-omni": Profile(
        version="0.30.0",
        checked="2026-11-24",
        routes=_OPEN,
        read_body=_form_only,
        job_body=dialect_answers.vllm_omni,
        error_body=dialect_answers.fastapi,
        fastapi=True,
        no_model=_mismatch,
        id=lambda digits, operation: f"video_gen_{digits}",
        failed=500,
        failed_content=422,
        page=None,
        deletes="aborts",
        outputs=_renders("num_outputs_per_prompt"),
        no_cluster=True,
        models={"owned_by": "vllm"},
    ),
    "sglang": Profile(
        version="0.5.23",
        checked="2026-11-24",
        routes=_OPEN,
        read_body=_sglang,
        job_body=dialect_answers.sglang,
        error_body=dialect_answers.fastapi,
        fastapi=True,
        no_model=None,
        id=lambda digits, operation: digits,
        deletes="forgets",
        deletion_body=lambda job, root: {**dialect_answers.sglang(job, root), "status": "deleted"},
        outputs=_renders("num_outputs_per_prompt", "n"),
        variants=True,
        image_links=True,
        models={"owned_by": "sglang", "num_gpus": 1, "task_type": "T2V"},
    ),
    "trtllm": Profile(
        version="0509ccc",
        checked="2026-11-22",
        routes=_OPEN,
        read_body=_trtllm,
        job_body=dialect_answers.trtllm,
        error_body=dialect_answers.trtllm_error,
        fastapi=True,
        id=lambda digits, operation: f"video_{digits}",
        accepted=202,
        not_ready=400,
        pages="all",
        deletes="aborts",
        deletion_body=lambda job, root: {"deleted": True},
        models={"owned_by": "tensorrt_llm"},
    ),
    "litellm": Profile(
        version="1.110.2",
        checked="2026-11-24",
        routes=ALL - {"delete"},
        read_body=_litellm,
        job_body=dialect_answers.litellm,
        error_body=dialect_answers.litellm_error,
        fastapi=True,
        no_model=_litellm_no_model,
        id=_litellm_id,
        asks_whose=True,
        models={"owned_by": "openai", "mode": "video_generation"},
        headers={"x-litellm-version": "1.110.2"},
    ),
    "new-api": Profile(
        version="QuantumNous/new-api 01f6839, 705748d",
        checked="2026-11-22",
        routes=frozenset({"create", "look", "content", "remix"}),
        job_body=dialect_answers.new_api,
        error_body=dialect_answers.new_api_error,
        id=lambda digits, operation: f"task_{digits}",
        models={"owned_by": "custom"},
        headers={"x-oneapi-request-id": "20261122000000000000000000000000"},
    ),
    "openrouter": Profile(
        version="openrouter.ai/docs/api_reference/videos.md",
        checked="2026-11-22",
        routes=frozenset({"create", "look", "content"}),
        read_body=_openrouter,
        job_body=dialect_answers.openrouter,
        error_body=dialect_answers.openrouter_error,
        id=lambda digits, operation: digits[:20],
        accepted=202,
        not_ready=400,
        models={"canonical_slug": "simulated", "supported_sizes": ["1280x720"]},
        callbacks=True,
    ),
}

OLDER: dict[str, dict[str, Profile]] = {
    "sglang": {
        "00ae37c": replace(
            PROFILES["sglang"],
            version="00ae37c",
            checked="2026-11-22",
            read_body=_old_sglang,
            pages="pages",
            outputs=_renders(),
            variants=False,
        )
    },
    "litellm": {
        "1.106.2": replace(
            PROFILES["litellm"],
            version="1.106.2",
            checked="2026-11-22",
            id=_old_litellm_id,
            loses=frozenset({"remix", "edit", "extend"}),
            headers={"x-litellm-version": "1.106.2"},
        )
    },
}
"""Versions that are still out there and differ, by profile."""


def profile_of(name: str, version: str | None = None) -> Profile:
    """The newest version of a profile, or an older one.

    Raises:
        ValueError: There is none of that name or version.
    """
    if name not in PROFILES:
        raise ValueError(f"profile={name!r} is not known; choose one of {', '.join(PROFILES)}")
    known = {PROFILES[name].version: PROFILES[name], **OLDER.get(name, {})}
    if version is not None and version not in known:
        raise ValueError(f"version={version!r} of {name} is not known; choose one of {', '.join(known)}")
    return known[version] if version is not None else PROFILES[name]
