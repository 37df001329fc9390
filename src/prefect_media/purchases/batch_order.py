"""What a batch is made of: requests checked, taken apart into purchases, and listed in the store for whoever fetches.

The list lies beside the ledger, one line for each request in order, so that the records stay small however many
requests there are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..catalog.lookup import look_up
from ..catalog.prices import Quote
from ..errors import InvalidRequest, StoreError
from ..ledger.ledger import Ledger
from ..ledger.record import Record
from ..providers import batches
from ..providers.connection import Connection
from ..purchase_options import PurchaseOptions
from ..requests import ImageEditRequest, ImageRequest, MediaRequest
from ..storage.store import Storage
from ..user_input import parse_json
from .orders import digest, order_of, refuse_unless_bought
from .split import split

TOLD = 20
"""Complaints that are told one by one."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """One request of a batch, as it was asked for, and the keys of the purchases that answer it."""

    request: ImageRequest
    keys: tuple[str, ...]


@dataclass(slots=True)
class BatchOrder:
    """A batch that is wanted.

    Attributes:
        requests: What was asked for, in order.
        parts: The purchases that make it, by their keys; what is asked for twice is there once.
        lines: The same as lines of the file that is sent.
        quotes: What each will cost.
    """

    requests: list[Ordered] = field(default_factory=list[Ordered])
    parts: dict[str, Record] = field(default_factory=dict[str, Record])
    lines: dict[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    quotes: dict[str, Quote] = field(default_factory=dict[str, Quote], repr=False)

    @property
    def record(self) -> Record:
        """The record of the batch itself, as it is intended."""
        one = next(iter(self.parts.values()))
        key = digest({"operation": "batch", "parts": [each.keys for each in self.requests]})
        about = {"model": one.request["model"], "requests": len(self.requests), "lines": len(self.lines)}
        return one.model_copy(update={"key": key, "fingerprint": key, "operation": "batch", "request": about})

    @property
    def estimated_usd(self) -> float | None:
        """What the lines are estimated to cost together, in USD; None as soon as one is unknown."""
        prices = [quote.usd for quote in self.quotes.values()]
        return None if None in prices else round(sum(usd for usd in prices if usd is not None), 8)

    def name_requests(self, keys: Sequence[str]) -> str:
        """The requests that some of the purchases belong to, as a user knows them."""
        purchases = set(keys)
        places = [str(index) for index, each in enumerate(self.requests) if purchases & set(each.keys)]
        return f"requests[{', '.join(places[:TOLD])}{', ...' if len(places) > TOLD else ''}]"


async def order_batch(
    connection: Connection, requests: Sequence[ImageRequest], ledger: Ledger, options: PurchaseOptions
) -> BatchOrder:
    """Check everything that can be checked for nothing, and take it apart.

    Raises:
        errors.InvalidRequest: All that can't work, by index; nothing was sent.
    """
    _refuse_what_is_no_list(connection, requests)
    order, complaints = BatchOrder(), dict[int, str]()
    for index, original in enumerate(requests):
        try:
            _refuse_other_kinds(original)
            host, family = connection.catalog_host, connection.model_family
            request, model = look_up(original, host, family=family, logger=options.logger)
            keys: list[str] = []
            for part in split(request, model.most_images(request)):
                assert isinstance(part.request, ImageRequest)
                normal = part.request.model_dump(mode="json") | part.identity
                record = order_of(connection, part.request, normal, options)
                await refuse_unless_bought(model.retired, ledger, record)
                keys.append(record.key)
                if record.key not in order.parts:
                    order.parts[record.key] = record
                    order.lines[record.key] = batches.line_of(record.key, part.request)
                    order.quotes[record.key] = model.quote_in_batch(part.request)
            order.requests.append(Ordered(original, tuple(keys)))
        except InvalidRequest as refusal:
            complaints[index] = refusal.complaint
    if complaints:
        sentences = [f"requests[{index}]: {complaint}" for index, complaint in list(complaints.items())[:TOLD]]
        more = f"; and {len(complaints) - TOLD} more" if len(complaints) > TOLD else ""
        raise InvalidRequest(
            f"{len(complaints)} of {len(requests)} requests can't work: {'; '.join(sentences)}{more}; nothing was sent"
        )
    _refuse_what_fits_in_no_batch(order)
    return order


def _refuse_what_is_no_list(connection: Connection, requests: object) -> None:
    if connection.provider == "azure":
        raise InvalidRequest(
            "Azure lists text models only for its batches (Microsoft's page on batches, read on 2026-11-23); "
            "make the images with generate_images or agather; nothing was sent"
        )
    if isinstance(requests, MediaRequest):
        raise InvalidRequest(f"requests is one {type(requests).__name__}; pass several, or a list of one")
    if not isinstance(requests, Sequence):
        raise InvalidRequest(f"requests is a {type(requests).__name__}; pass a list, which a retry can read again")
    if not requests:
        raise InvalidRequest("requests is empty; pass at least one ImageRequest")


def _refuse_other_kinds(request: object) -> None:
    if isinstance(request, ImageEditRequest):
        raise InvalidRequest(
            "an ImageEditRequest can't go into a batch: its lines name pictures by file ids or links, and this package "
            "sends pictures; use edit_images or agather"
        )
    if not isinstance(request, ImageRequest):
        raise InvalidRequest(f"a {type(request).__name__} is not an ImageRequest, and a batch takes nothing else")


def _refuse_what_fits_in_no_batch(order: BatchOrder) -> None:
    models = Counter(part.request["model"] for part in order.parts.values())
    if len(models) > 1:
        counts = ", ".join(f"{name} ({count})" for name, count in models.items())
        raise InvalidRequest(f"a batch is for one model, and these are for {counts}; submit one for each")
    if len(order.lines) > batches.MOST_LINES:
        raise InvalidRequest(
            f"these requests come to {len(order.lines):,} lines, and a batch takes {batches.MOST_LINES:,}; "
            "submit several"
        )
    if (size := sum(map(len, order.lines.values()))) > batches.MOST_BYTES:
        raise InvalidRequest(
            f"these requests come to {size / 1e6:,.0f} MB, and a batch takes {batches.MOST_BYTES / 1e6:,.0f}; "
            "submit several"
        )


async def keep(storage: Storage, order: BatchOrder, key: str) -> None:
    """Write the list of a batch; the same one every time."""
    lines = [
        json.dumps({"request": each.request.model_dump(mode="json", exclude_defaults=True), "keys": each.keys})
        for each in order.requests
    ]
    await storage.put(_path(key), "\n".join(lines).encode(), content_type="application/jsonl")


async def read_list(storage: Storage, key: str) -> list[Ordered]:
    """The list of a batch.

    Raises:
        errors.StoreError: It is not there, or can't be read.
    """
    try:
        rows = [parse_json(line) for line in (await storage.read(_path(key))).splitlines()]
        return [Ordered(ImageRequest.model_validate(row["request"]), tuple(row["keys"])) for row in rows]
    except (ValueError, KeyError) as error:
        raise StoreError(f"the list of the batch {key} can't be read: {error}", transient=False) from error


def _path(key: str) -> str:
    return f"ledger/batches/{key}.jsonl"
