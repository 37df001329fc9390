"""The parts of LiteLLM's job ids, which contain the provider, the model and the deployment of the video."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping

PREFIX = "video_"


def parts_of(job_id: str) -> Mapping[str, str]:
    """The parts of an id that is "video_" and base64 of "litellm:name:value;name:value"; empty for any other id."""
    text = job_id.removeprefix(PREFIX)
    try:
        plain = b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return {}
    if not plain.startswith("litellm:"):
        return {}
    fields = (part.partition(":") for part in plain.removeprefix("litellm:").split(";"))
    return {name: value for name, _, value in fields if value}


def is_same_job(one: str, other: str) -> bool:
    """Whether two ids name the same job; LiteLLM may put another deployment, or none, into the id of each answer."""
    return one == other or _inner_id(one) == _inner_id(other)


def _inner_id(job_id: str) -> str:
    return parts_of(job_id).get("video_id", job_id)
