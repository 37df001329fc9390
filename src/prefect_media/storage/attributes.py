"""How an object is to be served and kept, beside its content; and which stores can do that."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from ..errors import InvalidRequest
from ..runtime.hashing import sha256_of

CAN: dict[str, frozenset[str]] = {
    "s3": frozenset({"cache_control", "storage_class", "tags", "kms_key_id"}),
    "gs": frozenset({"cache_control", "storage_class"}),
    "az": frozenset({"cache_control", "storage_class", "tags"}),
    "file": frozenset(),
}
"""What can be said of an object, by the scheme of its store."""

TAGS_MOST = 10
"""Tags that S3 and Azure take on one object, with keys of up to 128 and values of up to 256 letters."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """How an object is to be served and kept.

    Attributes:
        cache_control: How long browsers and CDNs may keep it, such as "public, max-age=31536000, immutable".
        storage_class: The store's own name of a class, such as "STANDARD_IA" (S3), "NEARLINE" (gs) or "Cool" (az).
        tags: Names and values that rules of the store and its bills go by.
        kms_key_id: Id or ARN of the AWS KMS key to encrypt it with; None leaves that to the bucket.
        metadata: What else to keep with it, by name.
    """

    cache_control: str | None = None
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    kms_key_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def names(self) -> frozenset[str]:
        """Names of what is said, `metadata` left out: every bucket takes that, and folders have no use for it."""
        return frozenset(name for name, value in asdict(self).items() if value and name != "metadata")

    @property
    def fingerprint(self) -> str:
        """The same for the same attributes, `metadata` left out."""
        values = {name: value for name, value in asdict(self).items() if name in self.names}
        return sha256_of(json.dumps(values, sort_keys=True))[:16]

    def headers(self, content_type: str) -> dict[str, str]:
        """The attributes of an upload, by obstore's names."""
        headers = {
            "Content-Type": content_type,
            "Cache-Control": self.cache_control,
            "Storage-Class": self.storage_class,
            **self.metadata,
        }
        return {name: value for name, value in headers.items() if value}


NONE = Attributes()


def check(attributes: Attributes, scheme: str) -> None:
    """Refuse what a store can't do or no store would take, before anything is written.

    Raises:
        errors.InvalidRequest: What, and what is possible.
    """
    if impossible := sorted(attributes.names - CAN[scheme]):
        able = ", ".join(sorted(CAN[scheme])) or "none of these"
        where = "a folder" if scheme == "file" else f"{scheme}://"
        raise InvalidRequest(f"{', '.join(impossible)} can't be set in {where}, which takes {able}; leave it out")
    for name in ("cache_control", "storage_class", "kms_key_id"):
        value = getattr(attributes, name)
        if value is not None and not re.fullmatch(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?", value):
            raise InvalidRequest(f"{name}={value!r} can't be sent; use printable ASCII, or leave it out")
    if len(attributes.tags) > TAGS_MOST:
        raise InvalidRequest(f"{len(attributes.tags)} tags are too many; give {TAGS_MOST} at most")
    for name, value in attributes.tags.items():
        if not re.fullmatch(r"[\w .:/=+@-]{1,128}", name) or not re.fullmatch(r"[\w .:/=+@-]{0,256}", value):
            raise InvalidRequest(
                f"the tag {name!r}: {value!r} can't be set; use letters, digits, spaces and . : / = + - @ _, "
                "128 for its name and 256 for its value at most"
            )
