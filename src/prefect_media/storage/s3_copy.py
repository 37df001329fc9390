"""Copies between stores.

Inside S3, from key to key or from bucket to bucket of one login, no byte passes here. boto3 makes those copies,
because obstore's can't say how the copy is to be served and kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ..runtime import clock
from .login import boto3_client

if TYPE_CHECKING:
    from .attributes import Attributes
    from .base import StorageOptions
from .base import Copied, Proof

COPIES_AT_ONCE = 32
"""A copy inside the server is two small requests that wait for it."""

PARTS_ABOVE = 1024**3
"""Copies above this size are made in parts at once. S3 copies up to 5 GB in one go, at a hundred MB a second."""


PART_BYTES = 256 * 1024**2


MARGIN = timedelta(minutes=5)
"""How long before it expires what a role lent is no longer used: a large copy takes a while."""


CHECKSUMS = ("ChecksumCRC64NVME", "ChecksumSHA256", "ChecksumSHA1", "ChecksumCRC32C", "ChecksumCRC32")


KEPT = ("ContentDisposition", "ContentEncoding", "ContentLanguage", "CacheControl")


class S3Copier:
    """Copies to one bucket.

    Attributes:
        threads: Where its blocking requests are to be made.
    """

    def __init__(self, bucket: str, options: StorageOptions, endpoint: str | None) -> None:
        self.bucket = bucket
        self._open = lambda: boto3_client(options, endpoint, connections=COPIES_AT_ONCE)
        self._client, self._expires_at = self._open()
        self.threads = ThreadPoolExecutor(COPIES_AT_ONCE, thread_name_prefix="prefect-media copy")

    @property
    def client(self) -> Any:
        """boto3's client; a new one when what a role lent to the old one is about to expire."""
        if self._expires_at and self._expires_at < clock.now() + MARGIN:
            self._client, self._expires_at = self._open()
        return self._client

    def head(self, bucket: str, key: str) -> dict[str, Any]:
        """What the server says of an object, its checksums too.

        Raises:
            botocore.exceptions.ClientError: The server refused, or there is none.
        """
        return self.client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")

    def copy(
        self, source: dict[str, Any], bucket: str, key: str, target_key: str, content_type: str, attributes: Attributes
    ) -> Copied:
        """Copy, keep what the source is served with, set what is asked for, and compare the checksums.

        Args:
            source: What `head` says of the original.
            bucket: Its bucket.
            key: Its key.
            target_key: Key of the copy.
            content_type: What the copy is served as.
            attributes: How it is to be served and kept.

        Raises:
            botocore.exceptions.ClientError: The server refused.
        """
        headers = {
            **{name: source[name] for name in KEPT if source.get(name)},
            "ContentType": content_type,
            "MetadataDirective": "REPLACE",
            "Metadata": {**source.get("Metadata", {}), **attributes.metadata},
            "CopySourceIfMatch": source["ETag"],  # of one version, also when it is replaced meanwhile
        }
        if attributes.cache_control:
            headers["CacheControl"] = attributes.cache_control
        if attributes.storage_class:
            headers["StorageClass"] = attributes.storage_class
        if attributes.tags:
            headers |= {"TaggingDirective": "REPLACE", "Tagging": urlencode(attributes.tags)}
        if attributes.kms_key_id:
            headers |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": attributes.kms_key_id}
        size = source["ContentLength"]
        if size > PARTS_ABOVE:
            self._copy_parts(bucket, key, target_key, headers)
            return Copied(size, proof(source, self.head(self.bucket, target_key)))
        answer = self.client.copy_object(
            CopySource={"Bucket": bucket, "Key": key}, Bucket=self.bucket, Key=target_key, **headers
        )
        of_copy = {"SSEKMSKeyId": answer.get("SSEKMSKeyId"), "ContentLength": size, **answer["CopyObjectResult"]}
        if (proven := proof(source, of_copy)) == "unknown":  # perhaps it says more when it is asked
            proven = proof(source, self.head(self.bucket, target_key))
        return Copied(size, proven)

    def _copy_parts(self, bucket: str, key: str, target_key: str, headers: dict[str, Any]) -> None:
        from boto3.s3.transfer import TransferConfig  # pyright: ignore[reportMissingTypeStubs]

        self.client.copy(
            {"Bucket": bucket, "Key": key},
            self.bucket,
            target_key,
            ExtraArgs=headers,
            Config=TransferConfig(multipart_threshold=PARTS_ABOVE, multipart_chunksize=PART_BYTES),
        )


def proof(source: dict[str, Any], copy: dict[str, Any]) -> Proof:
    """What the server says of two objects, by what it answers to HEAD.

    A checksum of the whole object tells. An ETag does only where it is the content's MD5: not of what was uploaded in
    parts, nor of what is encrypted with a key of one's own, and some servers make it up. So "differs" is a suspicion.
    """
    if source["ContentLength"] != copy["ContentLength"]:
        return "differs"
    whole = all(each.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" for each in (source, copy))
    for name in CHECKSUMS if whole else ():
        if source.get(name) and copy.get(name) and "-" not in source[name] + copy[name]:
            return "same" if source[name] == copy[name] else "differs"
    tags = source["ETag"].strip('"'), copy["ETag"].strip('"')
    if not all(re.fullmatch(r"[0-9a-f]{32}", tag) for tag in tags) or copy.get("SSEKMSKeyId"):
        return "unknown"
    return "same" if tags[0] == tags[1] else "differs"


def read_elsewhere(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks, read one ahead in a thread of their own."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefect-media copy") as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block
