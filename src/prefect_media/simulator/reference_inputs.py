"""Pictures and clips a client sends along: as files, data URLs or links."""

import asyncio
import base64
import binascii
from typing import Any, cast

import httpx

from .api_errors import ApiError, invalid
from .request_bodies import Upload
from .state import State


async def picture_bytes(value: Any, param: str, state: State) -> bytes:
    """The bytes behind an uploaded file, `{"image_url": ...}` or `{"file_id": ...}`."""
    if isinstance(value, Upload):
        return value.data
    if not isinstance(value, dict):
        raise invalid(param, f"Invalid type for '{param}': expected a file or an object.", code="invalid_type")
    reference = cast(dict[str, Any], value)
    if len(reference.keys() & {"image_url", "file_id"}) != 1:
        raise invalid(param, f"Invalid '{param}': give exactly one of 'image_url' and 'file_id'.")
    if "file_id" in reference:
        file = state.uploads.get(str(reference["file_id"]))
        if file is None:
            raise ApiError(404, f"No such File object: {reference['file_id']}", param=param)
        return file["content"]
    url = reference["image_url"]
    if not isinstance(url, str) or len(url) > 20_971_520:
        raise invalid(f"{param}.image_url", "Invalid 'image_url': expected a URL or a data URL of at most 20 MiB.")
    return await _fetch(url, f"{param}.image_url", state)


async def _fetch(url: str, param: str, state: State) -> bytes:
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        try:
            if not head.endswith(";base64"):
                raise ValueError
            return base64.b64decode(data, validate=True)
        except (ValueError, binascii.Error):
            raise invalid(param, "Invalid base64 data URL.", code="invalid_base64") from None
    own = state.files.get(url.rpartition("/")[2])
    if own:
        return own[1]
    try:
        answer = await asyncio.to_thread(httpx.get, url, timeout=10, follow_redirects=True)
        return answer.raise_for_status().content
    except (httpx.HTTPError, httpx.InvalidURL):
        raise invalid(param, f"Error while downloading {url}.", code="invalid_image_url") from None


def files_of(value: Any) -> list[Any]:
    """One file or several, as a list."""
    if value is None:
        return []
    return cast(list[Any], value) if isinstance(value, list) else [value]
