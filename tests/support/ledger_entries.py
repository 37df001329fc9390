"""Records, jobs and pictures for tests of the ledger."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from buyer import MODEL
from PIL import Image

from prefect_media.jobs import VideoJob
from prefect_media.ledger.ledger import Ledger
from prefect_media.ledger.record import Record

NOW = datetime.now(UTC)


def order(**fields):
    """A purchase as it is written down first."""
    plain = {
        "key": "k1",
        "scope": "test",
        "kind": "video",
        "operation": "generate",
        "account": {"provider": "openai", "host": "here"},
        "fingerprint": "f1",
        "request": {"prompt": "a paper boat"},
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Record(**{**plain, **fields})


def job(identity="video_1"):
    return VideoJob(
        provider="openai", base_url="http://here/v1", model=MODEL, id=identity, fingerprint="f1", submitted_at=NOW
    )


async def the_record(storage):
    [record] = [record async for record in Ledger(storage).purchases()]
    return record


def picture(colour):
    out = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(out, "PNG")
    return out.getvalue()
