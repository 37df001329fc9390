"""Parts of a download: HTTP Range requests over bytes in memory."""

import hashlib
import re

from starlette.requests import Request
from starlette.responses import Response

_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


def partial_content(request: Request, content: bytes, media_type: str) -> Response:
    """The whole content, or the one range asked for (206), or a refusal of it (416)."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"accept-ranges": "bytes", "etag": etag}
    match = _RANGE.match(request.headers.get("range", ""))
    changed = request.headers.get("if-range", etag) != etag
    if not match or match.groups() == ("", "") or changed:  # several ranges at once get the whole, as allowed
        return Response(content, media_type=media_type, headers=headers)
    size = len(content)
    first, last = match.groups()
    if first:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    else:
        start, stop = max(0, size - int(last)), size
    if start >= stop:
        return Response(status_code=416, headers=headers | {"content-range": f"bytes */{size}"})
    headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(content[start:stop], status_code=206, media_type=media_type, headers=headers)
