"""Where a purchase's media go: names that people can read, the same on every attempt and on every machine.

Everything in a name comes from the record of the purchase on the ledger, which all who work on it share. So there is
no number of a shot in it: which of several purchases is the second depends on who came first.

A template that is changed while a video is being made counts for that video too. Where media really lie is what the
record says once it is done; nobody works that out again, and content that is fetched once more goes to the same place.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from ..runtime.hashing import sha256_of
from ..settings import settings

if TYPE_CHECKING:
    from ..ledger.record import Record
    from ..storage.store import Storage


ROOT = "media/"
"""What all keys of media begin with, so that no template can reach the ledger."""


def media_key(
    record: Record,
    suffix: str,
    index: int | None = None,
    *,
    storage: Storage | None = None,
    template: str | None = None,
) -> str:
    """The key for one of a purchase's media.

    Args:
        record: The purchase.
        suffix: The ending that goes with the content's type, without a dot.
        index: Number of an image within its request, from 1; None where it is the only one.
        storage: The store it goes to. What is on record as stored there, and is fetched again, keeps its key.
        template: How to name it; that of the settings if left out.
    """

    existing = storage.key_of(record.assets[0].uri) if storage and index is None and len(record.assets) == 1 else None
    if existing and existing.endswith(f".{suffix}"):
        return existing
    text = (template or settings().key_template).format(**_fields(record, index))
    names = [re.sub(r"-{2,}", "-", name).strip("-_.") or "-" for name in text.split("/")]
    return f"{ROOT}{'/'.join(names)}.{suffix}"


def _fields(record: Record, index: int | None) -> dict[str, str]:
    created_at = record.created_at
    return {
        "date": f"{created_at:%Y-%m-%d}",
        "year": f"{created_at:%Y}",
        "month": f"{created_at:%m}",
        "day": f"{created_at:%d}",
        "run": _run(record),
        "flow": slug(record.flow_name or "") or "flow",
        "index": _index(record, index),
        "words": slug(str(record.request.get("prompt", ""))) or record.kind,
        "hash": _hash(record),
        "kind": record.kind,
        "operation": slug(record.operation, 8),
        "model": slug(str(record.request.get("model") or "")) or "model",
    }


def _hash(record: Record) -> str:
    """Differs between any two times that something was paid for, so that one never overwrites the other.

    The same request may be bought again after `jobs forget`, and an image whose answer was lost may be asked for
    again under the same key, while a process that only slept is still storing the first one.
    """
    identity = f"{record.key}\n{record.created_at.isoformat()}\n{record.attempt}"
    return sha256_of(identity)[:8]


def _run(record: Record) -> str:
    """The run that bought it first; without one, the scope, which then is what the purchase belongs to."""
    if record.flow_run_id:
        return f"{slug(record.flow_name or '') or 'run'}-{short_id(record.flow_run_id)}"
    kind, _, name = record.scope.partition(":")
    return f"{kind}-{short_id(name)}" if kind == "process" else slug(name) or kind


def _index(record: Record, index: int | None) -> str:
    """02, or 03-02 for the second image of the third part of a request that is several purchases."""
    part, number = record.request.get("part"), f"{index:02}" if index else ""
    return f"{part:02}-{number or '01'}" if part else number


def short_id(run_id: str) -> str:
    """The last eight characters of the run id; the first ones are a timestamp."""
    return re.sub(r"[^0-9a-z]", "", run_id.lower())[-8:]


def slug(text: str, most: int = 40) -> str:
    """Letters, digits and dashes of a text, as many words as fit; empty for scripts without Latin letters."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if len(words) <= most:
        return words
    return (words[: most + 1].rpartition("-")[0] or words[:most]).strip("-")
