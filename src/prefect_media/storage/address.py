"""Addresses of stores and of what is in them: `s3://bucket/key`, `file:///folder/key`, plain paths."""

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from ..errors import StoreError
from ..user_input import redact_url

BUCKET_SCHEMES = ("s3", "gs", "az")

_TYPE_AND_NAME = re.compile(r"[\w-]+/[\w-]+", re.ASCII)


def is_address(text: str) -> bool:
    """Whether a text says where a store is; otherwise it names a saved block, as NAME or TYPE/NAME.

    Two plain words with a slash between them are a block: a folder of that name would depend on where a process
    runs, and a block that is mistyped or of another type would become one, with a ledger of its own.
    """
    return text.startswith(("~", ".")) or ":" in text or ("/" in text and not _TYPE_AND_NAME.fullmatch(text))


def parse_address(url: str) -> tuple[str, str, str]:
    """Scheme, bucket or absolute folder, and the prefix inside the bucket."""
    scheme, separator, rest = url.partition("://")
    if not separator and (bucket := re.match(r"(s3|gs|az|file):", url, re.IGNORECASE)):
        raise StoreError(f"{redact_url(url)} looks like a URL; write {bucket[0].lower()}//...", transient=False)
    if not separator or (os.name == "nt" and len(scheme) == 1):
        scheme, path = "file", url
    elif scheme == "file":
        host, _, path = rest.partition("/")
        if host not in ("", "localhost"):
            raise StoreError(
                f"{redact_url(url)} names another machine; use three slashes, as in file:///folder",
                transient=False,
            )
        path = unquote(path) if os.name == "nt" else "/" + unquote(path)
    elif scheme in BUCKET_SCHEMES:
        bucket, _, prefix = rest.partition("/")
        if not re.fullmatch(r"[\w.-]+", bucket, re.ASCII):
            raise StoreError(
                f"{redact_url(url)} names no bucket; write {scheme}://bucket/prefix, with credentials and endpoint "
                "in their own fields",
                transient=False,
            )
        return scheme, bucket, prefix.strip("/")
    else:
        raise StoreError(
            f"the store {redact_url(url)} can't be opened: use s3://, gs://, az://, file:/// or a folder",
            transient=False,
        )
    if not path:
        raise StoreError("the store's address is empty; give a URL such as s3://bucket or a folder", transient=False)
    try:
        return "file", os.path.normpath(Path(path).expanduser().absolute()), ""
    except RuntimeError as error:
        raise StoreError(f"the home folder of {path} is unknown; give the whole path", transient=False) from error


def address_of(scheme: str, root: str, path: str) -> str:
    if scheme == "file":
        return "file://" + quote(Path(root, path).as_posix() if path else Path(root).as_posix())
    return f"{scheme}://{root}/{path}" if path else f"{scheme}://{root}"
