"""What the headers of a download announce about its body, and whether a later answer continues it.

Nothing in this file does any input or output.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

HASH_BYTES = {"sha256": 32, "md5": 16}


@dataclass(frozen=True, slots=True)
class Announcement:
    """What an answer announces about its body.

    Attributes:
        size: Length in bytes; None where it is not announced, or the body is compressed.
        digest: Algorithm and hexadecimal hash of the body; None where neither is announced in a known form.
        etag: Its ETag.
        validator: A value for `If-Range`; None where the server has none that can be relied on.
    """

    size: int | None = None
    digest: tuple[str, str] | None = None
    etag: str | None = None
    validator: str | None = None

    @classmethod
    def parse(cls, headers: Mapping[str, str], *, compressed: bool) -> Self:
        """Read the headers of the first answer of a download."""
        length, etag = headers.get("Content-Length", ""), headers.get("ETag")
        is_strong = etag is not None and etag.startswith('"')
        return cls(
            size=int(length) if not compressed and length.isdecimal() and len(length) < 20 else None,
            digest=None if compressed else announced_hash(headers),
            etag=etag,
            validator=etag if is_strong else headers.get("Last-Modified"),
        )

    def is_continued_by(self, status: int, headers: Mapping[str, str], start: int) -> bool:
        """Whether an answer is the rest of the same body; not every server heeds `If-Range`.

        Args:
            status: HTTP status of the answer.
            headers: Its headers.
            start: The first byte that was requested; 0 for the whole body.
        """
        size = None if self.size is None else str(self.size)
        if self.etag and headers.get("ETag", self.etag) != self.etag:
            return False
        if headers.get("Content-Encoding", "identity") != "identity":
            return False
        if not start:
            return status == 200 and headers.get("Content-Length") == size
        span = re.fullmatch(rf"bytes {start}-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        return status == 206 and span is not None and (size is None or span[1] in (size, "*"))


def announced_hash(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Algorithm and hexadecimal hash of a whole body; None where no header has one in a known form.

    Known are `Repr-Digest` (RFC 9530), its predecessor `Digest` (RFC 3230), Amazon's `x-amz-checksum-sha256` and
    `Content-MD5`.
    """
    hashes = [
        *re.findall(r"(sha-256)=:([^:]+):", headers.get("Repr-Digest", "")),
        *re.findall(r"(?i)(sha-256)=([^,]+)", headers.get("Digest", "")),
        ("sha-256", headers.get("x-amz-checksum-sha256", "")),
        ("md5", headers.get("Content-MD5", "")),
    ]
    for name, text in hashes:
        algorithm = name.lower().replace("-", "")
        try:
            digest = b64decode(text, validate=True)
        except ValueError:
            continue
        if len(digest) == HASH_BYTES[algorithm]:
            return algorithm, digest.hex()
    return None
