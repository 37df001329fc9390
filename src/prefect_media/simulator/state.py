"""Everything the simulated provider remembers."""

import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .api_errors import no_such_model
from .faults import Fault

if TYPE_CHECKING:
    from .profiles import Profile
from .records import Batch, ImagePurchase, Job, SeenRequest


@dataclass
class State:
    """The provider's memory and its settings; tests read it while the server writes it."""

    latency: float
    image_latency: float
    expires_in: float
    poll_after_ms: int | None
    models: Collection[str] | None
    can_list: bool
    can_remix: bool
    can_delete: bool
    can_cancel: bool
    cloud_content: bool
    api_servers: int
    profile: "Profile"
    webhook_url: str | None = None
    webhook_secret: str | None = None
    root: str = ""
    jobs: list[Job] = field(default_factory=list[Job])
    images: list[ImagePurchase] = field(default_factory=list[ImagePurchase])
    requests: list[SeenRequest] = field(default_factory=list[SeenRequest])
    faults: list[Fault] = field(default_factory=list[Fault])
    batches: list[Batch] = field(default_factory=list[Batch])
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    drawn: dict[str, tuple[str, list[bytes]]] = field(default_factory=dict[str, tuple[str, list[bytes]]])
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict[str, tuple[str, bytes]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The first planted fault that fits, counted as hit."""
        with self._lock:
            for fault in list(self.faults):
                if fault.fits(method, path):
                    fault.hits += 1
                    return fault
        return None

    def serve(self, model: str, *, azure: bool = False) -> None:
        """Refuse a model this server doesn't have."""
        refusal = no_such_model if azure else self.profile.no_model
        if refusal and self.models is not None and model not in self.models:
            raise refusal(model)

    def find(self, job_id: str) -> Job | None:
        """A job that was not deleted."""
        return next((job for job in self.jobs if job.id == job_id and not job.deleted), None)
