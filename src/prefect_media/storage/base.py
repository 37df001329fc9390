"""What a folder and a bucket have in common: the verbs of a place, and what they give back."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO, Any, Literal, Protocol

from .attributes import NONE, Attributes
from .body import Body

Proof = Literal["same", "unknown", "differs"]
"""What the server's own checksums say of a copy."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy that a server made.

    Attributes:
        size_bytes: How large the original is.
        proof: Whether the copy is the same.
    """

    size_bytes: int
    proof: Proof


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """How to reach a place. What is left out comes from the environment, as boto3 finds it."""

    endpoint_url: str | None = None
    region: str | None = None
    path_style: bool | None = None
    profile: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    role_arn: str | None = None
    external_id: str | None = field(default=None, repr=False)
    azure_connection_string: str | None = field(default=None, repr=False)
    google_service_account_key: str | None = field(default=None, repr=False)
    """The content of the key's JSON file."""
    public_url_base: str | None = None
    """Where everything in the store can be opened by anybody, without a signature; keys are appended."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was written, as it was counted and hashed on the way."""

    uri: str
    size_bytes: int
    sha256: str
    head: bytes = field(default=b"", repr=False, compare=False)
    """The first 256 KiB of what was poured."""
    hash_checked: bool = field(default=False, compare=False)
    """Whether its sender gave a hash, which it was compared with."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """Content together with the version that `replace` wants to see unchanged."""

    data: bytes
    version: str


class Place(Protocol):
    """What a folder and a bucket have to know; keys are already checked and carry the store's prefix."""

    proved: bool
    """Whether this process knows that two writers are kept apart here."""

    async def refuse_local_locks(self) -> None: ...
    def write(
        self, key: str, body: Body, content_type: str, *, replace: bool, attributes: Attributes = NONE
    ) -> bool: ...
    def blocks(self, key: str) -> Iterator[bytes]: ...
    async def put(self, key: str, data: bytes, content_type: str, attributes: Attributes = NONE) -> None: ...
    async def read(self, key: str) -> bytes: ...
    def stream(self, key: str) -> AsyncIterator[bytes]: ...
    async def open(self, key: str) -> IO[bytes]: ...
    async def size(self, key: str) -> int | None: ...
    async def fetch_metadata(self, key: str) -> dict[str, str]: ...
    def copies_to(self, other: Any, attributes: Attributes) -> bool: ...
    async def copy(
        self, key: str, target: Any, target_key: str, content_type: str, attributes: Attributes
    ) -> Copied: ...
    async def sign(self, key: str, expires_in: timedelta) -> str | None: ...
    async def delete(self, key: str) -> None: ...
    def list(self, prefix: str) -> AsyncIterator[tuple[str, int, float]]:
        """At least the keys that begin so, with size and Unix time of the last change."""
        ...

    async def create(self, key: str, data: bytes) -> str | None: ...
    async def replace(self, key: str, data: bytes, version: str) -> str | None: ...
    async def fetch(self, key: str) -> tuple[bytes, str] | None: ...
