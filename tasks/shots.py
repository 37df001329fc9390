"""What the pages show of one image, one video or one failure: a shot, with its prompt and what it was made from."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from prefect.runtime import task_run

from prefect_media.assets import Asset
from prefect_media.errors import StoreError
from prefect_media.jobs import VideoJob
from prefect_media.purchases.sidecar import SUFFIX, Sidecar
from prefect_media.requests import ImageEditRequest, MediaRequest, VideoRequest, VideoVariation
from prefect_media.settings import settings
from prefect_media.storage.store import storage_of

MOST_KNOWN = 4096
"""Purchases whose prompt this process remembers; the oldest make room."""

MOST_LABELS = 6
"""Tags of a task run that a card shows."""

LONGEST_PROMPT = 5_000
"""Characters of a prompt that a page shows."""

LARGEST_SIDECAR = 1024**2
"""Bytes of a sidecar that is read; one with the longest prompt has a tenth of it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a purchase was ordered with.

    Attributes:
        prompt: The prompt; None where prompts are private.
        parents: What it was made from: SHA-256 hashes of assets, and ids of jobs.
        labels: Tags of the task run that ordered it.
    """

    prompt: str | None = None
    parents: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shot:
    """One card of a gallery.

    Attributes:
        origin: What it was ordered with.
        asset: What was made; None for a failure.
        model: The model, where it is known.
        error: Why there is nothing, and what to do.
        reason: What the provider says of that, if it says anything.
        rejected: Whether moderation refused it.
        billed: Whether a failure was billed, where the provider tells.
    """

    origin: Origin
    asset: Asset | None = None
    model: str | None = None
    error: str | None = None
    reason: str | None = None
    rejected: bool = False
    billed: bool | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the `parents` of other shots call this one: the hash of its content, and the id of its job."""
        if self.asset is None:
            return ()
        job_id = self.asset.source.job_id if self.asset.source else None
        return (self.asset.sha256, job_id) if job_id else (self.asset.sha256,)


_origins: OrderedDict[str, Origin] = OrderedDict()
_lock = threading.Lock()


def origin_of(request: MediaRequest) -> Origin:
    """What a request says of where its result comes from."""
    sources: list[object] = []
    match request:
        case VideoRequest():
            sources = [request.image]
        case VideoVariation():
            sources = [request.video]
        case ImageEditRequest():
            sources = list(request.images)
        case _:
            pass
    parents = tuple(name for source in sources if (name := _name_of(source)))
    return Origin(shown_prompt(request.prompt), parents, tuple(sorted(task_run.tags or ())[:MOST_LABELS]))


def remember(purchase: str, origin: Origin) -> None:
    """Keep the origin of a purchase, by its key on the ledger, for the pages of this process."""
    with _lock:
        _origins[purchase] = origin
        _origins.move_to_end(purchase)
        while len(_origins) > MOST_KNOWN:
            _origins.popitem(last=False)


def known_origin_of(asset: Asset) -> Origin | None:
    """The origin of an asset whose purchase this process made or met."""
    with _lock:
        return _origins.get(asset.source.purchase) if asset.source else None


async def shot_of(asset: Asset) -> Shot:
    """The shot behind a stored asset.

    Its prompt comes from this process's memory, else from the sidecar beside the media; without either, it has none.
    """
    return Shot(await _origin_of_asset(asset), asset, asset.source.model if asset.source else None)


def failed_shot(origin: Origin, model: str | None, error: Exception) -> Shot:
    """The card of something that was not made."""
    return Shot(
        origin,
        model=model,
        error=str(error) or type(error).__name__,
        reason=getattr(error, "provider_message", None),
        rejected=type(error).__name__ == "ContentRejected",
        billed=getattr(error, "billed", None),
    )


def by_lineage(shots: Sequence[Shot]) -> list[list[Shot]]:
    """Shots in groups: what was made from one another stands together, parents first; everything else is alone.

    The groups stand in the order of their first shots.
    """
    place: dict[str, int] = {}
    for index, shot in enumerate(shots):
        for name in shot.names:
            place.setdefault(name, index)
    home = list(range(len(shots)))

    def root(index: int) -> int:
        while home[index] != index:
            index = home[index]
        return index

    parents = [_parents(shot, index, place) for index, shot in enumerate(shots)]
    for index, above in enumerate(parents):
        for parent in above:
            first, second = sorted((root(index), root(parent)))
            home[second] = first
    groups: dict[int, list[int]] = {}
    for index in range(len(shots)):
        groups.setdefault(root(index), []).append(index)
    return [[shots[index] for index in _parents_first(group, parents)] for group in groups.values()]


def _parents(shot: Shot, index: int, place: dict[str, int]) -> list[int]:
    source = shot.asset.source if shot.asset else None
    names = [*shot.origin.parents, *([source.remixed_from] if source and source.remixed_from else [])]
    return [place[name] for name in names if name in place and place[name] != index]


def _parents_first(group: list[int], parents: list[list[int]]) -> list[int]:
    """The members of a group so that each follows what it was made from, as far as that is possible."""
    rest, ordered = list(group), list[int]()
    while True:
        ready = [index for index in rest if all(parent in ordered for parent in parents[index])]
        if not ready:
            return ordered + rest  # done, or two that claim to be made from each other
        ordered += ready
        rest = [index for index in rest if index not in ordered]


def role_of(shot: Shot) -> str:
    """What a shot is within its lineage, in one word."""
    if shot.asset is None:
        return "rejected" if shot.rejected else "failed"
    operation = shot.asset.source.operation if shot.asset.source else "generate"
    if shot.asset.kind == "image":
        return "edit" if operation == "edit" else "still"
    return {"remix": "remix", "edit": "edit", "extend": "longer"}.get(operation, "clip")


def shown_prompt(prompt: str | None) -> str | None:
    """A prompt as far as pages may show it."""
    return prompt[:LONGEST_PROMPT] if prompt and settings().log_prompts else None


def _name_of(source: object) -> str | None:
    if isinstance(source, Asset):
        return source.sha256
    if isinstance(source, VideoJob):
        return source.id
    return source if isinstance(source, str) and len(source) < 200 and "/" not in source else None


async def _origin_of_asset(asset: Asset) -> Origin:
    if known := known_origin_of(asset):
        return known
    try:
        storage, key = storage_of(asset.uri)
        place = key + SUFFIX
        size = await storage.size(place)
        if size is None or size > LARGEST_SIDECAR:
            return Origin()
        sidecar = Sidecar.model_validate_json(await storage.read(place))
    except (StoreError, ValueError):
        return Origin()
    prompt = sidecar.request.get("prompt")
    return Origin(shown_prompt(prompt if isinstance(prompt, str) else None), sidecar.lineage.references)
