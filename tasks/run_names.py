"""Names of task runs that say what is made: `clip 02: the boat drifts past the sun (wan-2.2, 5 s)`."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sized
from typing import Any, cast

from prefect.runtime import flow_run

from prefect_media.assets import Asset
from prefect_media.image_batch import ImageBatch
from prefect_media.jobs import VideoJob
from prefect_media.requests import (
    ImageEditRequest,
    ImageRequest,
    MediaRequest,
    RemixRequest,
    VideoEditRequest,
    VideoExtendRequest,
    VideoRequest,
)
from prefect_media.runtime.hashing import sha256_of

from .run_log import log_prompt

LONGEST_PROMPT = 40
LONGEST = 120

MOST_RUNS = 32
"""Flow runs whose tasks are counted; of older ones, the counting begins anew."""

MOST_COUNTED = 10_000
"""Tasks of a flow run that get a number."""

ROLES: dict[type[MediaRequest], str] = {
    ImageRequest: "still",
    ImageEditRequest: "edit",
    VideoRequest: "clip",
    RemixRequest: "remix",
    VideoEditRequest: "edited clip",
    VideoExtendRequest: "longer clip",
}

_counted: OrderedDict[str, dict[str, dict[str, int]]] = OrderedDict()
_lock = threading.Lock()


def name_of_run(parameters: dict[str, Any]) -> str:
    """The name of a task run, from what the task was given. Raises nothing; has no prompt where prompts are private."""
    try:
        return _name(parameters)[:LONGEST]
    except Exception:  # a name is worth no failure
        return "media"


def _name(parameters: dict[str, Any]) -> str:
    request = parameters.get("request")
    job = parameters.get("job")
    if isinstance(request, MediaRequest):
        return _of_request(request)
    if isinstance(job, VideoJob):
        return _safe(f"{job.model}: {job.id}")
    if isinstance(request, dict):
        prompt = cast(dict[str, Any], request).get("prompt")
        return _safe(f"media: {log_prompt(str(prompt), LONGEST_PROMPT)}")
    if isinstance(batch := parameters.get("batch"), ImageBatch):
        return _safe(f"batch: {batch.id}")
    if isinstance(requests := parameters.get("requests"), Sized):
        return f"batch of {len(requests)} images"
    if (assets := parameters.get("assets")) is not None:
        count = 1 if isinstance(assets, Asset) else len(assets)
        return f"publish {count} asset{'' if count == 1 else 's'}"
    return "media"


def _of_request(request: MediaRequest) -> str:
    role = next((role for kind, role in ROLES.items() if type(request) is kind), "media")
    number = _number(role, request)
    facts = [getattr(request, "model", None)]
    if seconds := getattr(request, "seconds", None):
        facts.append(f"{seconds} s")
    if (count := getattr(request, "n", 1)) > 1:
        facts.append(f"{count} images")
    details = [fact for fact in facts if fact]
    place = f" {number:02}" if number > 1 else ""
    text = f"{role}{place}: {log_prompt(request.prompt, LONGEST_PROMPT)}"
    return _safe(f"{text} ({', '.join(details)})" if details else text)


def _number(role: str, request: MediaRequest) -> int:
    """The number of a request within its role and flow run, from 1; a retry keeps it."""
    run_id = flow_run.id or ""
    identity = (request.prompt, request.variant, getattr(request, "model", ""), getattr(request, "seconds", ""))
    mark = sha256_of(repr(identity))
    with _lock:
        numbers = _counted.setdefault(run_id, {}).setdefault(role, {})
        _counted.move_to_end(run_id)
        while len(_counted) > MOST_RUNS:
            _counted.popitem(last=False)
        if mark not in numbers and len(numbers) >= MOST_COUNTED:
            return 0
        return numbers.setdefault(mark, len(numbers) + 1)


def _safe(text: str) -> str:
    """Letters, digits and what stands between words; nothing that means anything to a page, a shell or a path."""
    return " ".join(re.sub(r"[^\w .,:()'-]", " ", text).split())
