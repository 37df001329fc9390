"""What the simulated provider remembers of each request, image, job and batch."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .drawing.film import Film

if TYPE_CHECKING:
    pass


Operation = Literal["generate", "remix", "edit", "extend"]


@dataclass
class SeenRequest:
    """A request as it arrived.

    Attributes:
        method: HTTP method.
        path: Path with its query.
        headers: By lower-case name.
        body: Fields of a form (files as `Upload`) or JSON object; bytes of anything else; None without a body.
        status: HTTP status answered; None while, or because, nothing was.
    """

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: dict[str, Any] | bytes | None = field(repr=False)
    status: int | None = None


@dataclass(frozen=True)
class ImagePurchase:
    """An image request that was accepted, and so paid for. `size` is what was drawn, never "auto"."""

    operation: Literal["generate", "edit"]
    model: str
    prompt: str
    n: int
    size: str


@dataclass
class Job:
    """A video job that was accepted, and so paid for. It runs by the clock from the moment it exists.

    Attributes:
        seconds: Length of the whole clip, as the text the API uses.
        latency: Seconds from acceptance to the end of the job.
        expires_in: Seconds from the end of the job until its content is gone.
        failure: What the job will fail with, if it will.
        source_id: The job that was remixed, edited or extended, if it was one of this server's.
        outputs: How many videos it renders and bills.
        in_cloud: Whether its content is kept in cloud storage.
        callback_url: Where its buyer wants to be told of its end.
        deleted: Whether the server has forgotten it; unless it is cancelled, too, it goes on and is billed.
    """

    operation: Operation
    model: str
    prompt: str
    size: str
    seconds: str
    film: Film = field(repr=False)
    latency: float
    expires_in: float
    failure: dict[str, str] | None = None
    source_id: str | None = None
    outputs: int = 1
    in_cloud: bool = False
    callback_url: str | None = None
    id: str = field(default_factory=lambda: f"video_{uuid.uuid4().hex}")
    deleted: bool = False
    cancelled: bool = False
    created: float = field(default_factory=time.time, repr=False)
    started: float = field(default_factory=time.monotonic, init=False, repr=False)

    @property
    def elapsed(self) -> float:
        """Seconds since acceptance."""
        return time.monotonic() - self.started

    @property
    def status(self) -> Literal["queued", "in_progress", "completed", "failed", "cancelled"]:
        if self.cancelled:
            return "cancelled"
        if self.elapsed >= self.latency:
            return "failed" if self.failure else "completed"
        return "queued" if self.elapsed < self.latency * 0.1 else "in_progress"

    @property
    def progress(self) -> int:
        """Percent."""
        if self.status == "completed":
            return 100
        return min(99, int(100 * self.elapsed / self.latency)) if self.latency and self.status != "failed" else 0

    @property
    def expired(self) -> bool:
        """Whether the content is gone."""
        return self.elapsed >= self.latency + self.expires_in

    def resource(self) -> dict[str, Any]:
        """The job as the API shows it."""
        done = self.status == "completed"
        ended = int(self.created + self.latency)
        return {
            "id": self.id,
            "object": "video",
            "model": self.model,
            "status": self.status,
            "progress": self.progress,
            "created_at": int(self.created),
            "completed_at": ended if done else None,
            "expires_at": int(ended + self.expires_in) if done else None,
            "prompt": self.prompt,
            "size": self.size,
            "seconds": self.seconds,
            "remixed_from_video_id": self.source_id if self.operation == "remix" else None,
            "error": self.failure if self.status == "failed" else None,
        }


@dataclass
class Batch:
    """A batch that was accepted. It runs by the clock from the moment it exists; what it made is paid for at its end.

    Attributes:
        latency: Seconds from acceptance to its end.
        stops_after: Lines that are answered until it expires or is cancelled; None where all are.
        complaints: Why its file was refused, if it was.
        output: The file with its answers, once there is one.
        errors: The file with what was refused or not made, once there is one.
    """

    input_file: str
    endpoint: str
    metadata: dict[str, str] | None
    lines: list[dict[str, Any]] = field(repr=False)
    latency: float
    stops_after: int | None = None
    complaints: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    cancelled: bool = False
    output: str | None = None
    errors: str | None = None
    failed: int = 0
    made: bool = False
    id: str = field(default_factory=lambda: f"batch_{uuid.uuid4().hex}")
    created: float = field(default_factory=time.time, repr=False)
    making: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    started: float = field(default_factory=time.monotonic, init=False, repr=False)

    @property
    def elapsed(self) -> float:
        """Seconds since acceptance."""
        return time.monotonic() - self.started

    @property
    def over(self) -> bool:
        """Whether nothing more is made."""
        return self.cancelled or self.elapsed >= self.latency

    @property
    def status(self) -> str:
        if self.complaints:
            return "failed" if self.elapsed >= self.latency * 0.1 else "validating"
        if not self.over:
            at = self.elapsed / self.latency
            return "validating" if at < 0.1 else "in_progress" if at < 0.9 else "finalizing"
        if not self.made:
            return "cancelling" if self.cancelled else "finalizing"
        if self.cancelled:
            return "cancelled"
        return "completed" if self.stops_after is None else "expired"

    def resource(self) -> dict[str, Any]:
        """The batch as the API shows it."""
        done = len(self.lines[: self.stops_after])
        if not self.made:
            done = int(done * min(1.0, self.elapsed / self.latency)) if self.latency else 0
        ended = {f"{self.status}_at": int(self.created + self.elapsed)} if self.made else {}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.complaints} if self.status == "failed" else None,
            "input_file_id": self.input_file,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output,
            "error_file_id": self.errors,
            "created_at": int(self.created),
            "expires_at": int(self.created) + 24 * 3600,
            "request_counts": {"total": len(self.lines), "completed": done - self.failed, "failed": self.failed},
            "metadata": self.metadata,
            **ended,
        }
