"""Where an asset came from, as its record says it."""

from __future__ import annotations

from typing import Any

from ..assets import AssetSource
from ..ledger.record import Record
from ..providers.connection import Connection
from ..runtime import clock


def source_of(connection: Connection, record: Record, model: str, request_id: str | None, **more: Any) -> AssetSource:
    return AssetSource(
        provider=connection.provider,
        host=connection.host,
        model=model,
        operation=record.operation,
        request_id=request_id,
        fingerprint=record.fingerprint,
        purchase=record.key,
        created_at=clock.now(),
        reference_uri=record.reference_uri,
        **more,
    )
