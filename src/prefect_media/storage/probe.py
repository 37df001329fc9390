"""Whether a store keeps two writers apart, which the ledger relies on: tried out before anything is bought.

Some servers that speak S3 ignore conditions, and sell the same to everybody who asks at once; others refuse every
`If-Match`, and a purchase could never be moved on. Neither says so, therefore both are found out by trying.
"""

from contextlib import suppress
from typing import Protocol

from ..errors import StoreError

FIRST, SECOND, THIRD, FOURTH = (b"probe %d" % number for number in range(1, 5))


class Swapping(Protocol):
    """The verbs that are tried out."""

    async def create(self, key: str, data: bytes) -> str | None: ...
    async def replace(self, key: str, data: bytes, version: str) -> str | None: ...
    async def fetch(self, key: str) -> tuple[bytes, str] | None: ...
    async def delete(self, key: str) -> None: ...


async def probe(place: Swapping, key: str, url: str) -> None:
    """Write and change `key`, rightly and wrongly, and delete it: five small requests.

    Raises:
        StoreError: The store takes what it has to refuse, or refuses what it has to take.
    """
    try:
        flaws = await _find_flaws(place, key)
    finally:
        with suppress(StoreError):  # `check` complains of a missing right to delete; a purchase does not need it
            await place.delete(key)
    if flaws:
        raise StoreError(
            f"the store {url} can't keep two buyers apart: it {' and '.join(flaws)}; the same thing could be bought "
            "twice; use a store that honours conditional writes, such as AWS S3, Google Cloud Storage, Azure or a "
            "current MinIO; PREFECT_MEDIA_TRUST_STORE=1 uses it anyway",
            transient=False,
        )


async def _find_flaws(place: Swapping, key: str) -> list[str]:
    flaws = list[str]()
    version = await place.create(key, FIRST) or await _version_of_taken(place, key, FIRST)
    if version is None:
        return ["refuses to create what is not there (If-None-Match: *)"]
    if again := await place.create(key, SECOND):
        flaws.append("ignores If-None-Match: *")
    current = again or version
    changed = await place.replace(key, THIRD, current) or await _version_of_taken(place, key, THIRD)
    if changed is None:
        flaws.append("refuses to replace what nobody changed (If-Match with the right ETag)")
    elif await place.replace(key, FOURTH, current):
        flaws.append("ignores If-Match")
    return flaws


async def _version_of_taken(place: Swapping, key: str, data: bytes) -> str | None:
    """The version of `key` if it holds `data`: then the write was taken, its reply was lost, and its retry refused."""
    stored = await place.fetch(key)
    return stored[1] if stored and stored[0] == data else None
