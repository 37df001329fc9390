"""A video as a block, for people who like blocks: trigger it, wait for it, fetch it."""

from __future__ import annotations

from prefect.blocks.abstract import JobBlock, JobRun
from prefect_media.blocks.choices import SavedStore
from prefect_media.blocks.credentials import AzureOpenAICredentials, OpenAICredentials
from prefect_media.blocks.unknown_fields import warn_of_unknown_fields
from prefect_media.tasks import context  # the module: whichever of the two packages is imported first, imports both
from prefect_media.tasks.reporting import show_steps
from pydantic import Field, HttpUrl, model_validator

from prefect_media.assets import Asset
from prefect_media.budget import OptionalBudget
from prefect_media.errors import InvalidRequest
from prefect_media.jobs import VideoJob
from prefect_media.providers.connection import Connection
from prefect_media.purchase_options import PurchaseOptions
from prefect_media.purchases import video_steps
from prefect_media.purchases.orders import connection_of
from prefect_media.requests import RemixRequest, VideoRequest
from prefect_media.runtime.sync import run_sync
from prefect_media.storage.store import Storage


class VideoJobRun(JobRun[Asset]):
    """One video that was ordered. Each method has an async twin with an "a" in front.

    Attributes:
        job: What any other process needs to go on with it.
    """

    def __init__(self, connection: Connection, job: VideoJob, storage: Storage, options: PurchaseOptions) -> None:
        self.job = job
        self._connection = connection
        self._storage = storage
        self._options = options

    async def await_for_completion(self) -> None:
        """Wait until the video is made. Raises what `wait_for_video` raises."""
        await video_steps.wait(self._connection, self.job, self._storage, self._options)

    def wait_for_completion(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Wait until the video is made. Raises what `wait_for_video` raises."""
        run_sync(self.await_for_completion())

    async def afetch_result(self) -> Asset:
        """The video in the store; waits for it if need be. Raises what `fetch_video` raises."""
        return await video_steps.fetch(self._connection, self.job, self._storage, self._options)

    def fetch_result(self) -> Asset:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The video in the store; waits for it if need be. Raises what `fetch_video` raises."""
        return run_sync(self.afetch_result())

    async def acancel(self) -> None:
        """End the job at the provider; it stays on record as cancelled.

        Raises:
            errors.InvalidRequest: The provider can't end jobs (`unsupported` is "cancel" then), or not this one. It
                goes on, stays on record, and can be fetched when it is done.
        """
        await video_steps.cancel(self._connection, self.job, self._storage)

    def cancel(self) -> None:
        """End the job at the provider. Raises what `acancel` raises."""
        run_sync(self.acancel())


class VideoJobBlock(JobBlock[Asset]):
    """A video to make, with its credentials, store and options; triggered twice in one scope, it is bought once.

    Example:
        Load a saved job and make its video:
        ```python
        from prefect_media.blocks import VideoJobBlock

        job = VideoJobBlock.load("BLOCK_NAME")
        run = job.trigger()
        run.wait_for_completion()
        asset = run.fetch_result()
        ```
    """

    _block_type_name = "Video Job"
    _block_type_slug = "video-job"
    _logo_url = HttpUrl("https://avatars.githubusercontent.com/u/14957082?s=200&v=4")
    _documentation_url = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    credentials: OpenAICredentials | AzureOpenAICredentials = Field(description="Who makes the video, and who pays.")
    request: VideoRequest | RemixRequest = Field(description="What to make.")
    store: SavedStore = Field(
        default=None,
        title="Store",
        description="Where to put it; PREFECT_MEDIA_STORE, or a folder under the Prefect home, if left out.",
    )
    scope: str = Field(
        default="run",
        min_length=1,
        description='What the request is unique within: "run" (the flow run), "forever", or a name of your own.',
    )
    budget: OptionalBudget = Field(
        default=None, title="Budget", description="What may be spent; an order that could exceed it is refused."
    )
    timeout_seconds: float = Field(default=1800.0, gt=0, description="How long to wait for the video.")

    @model_validator(mode="after")
    def _warn_of_unknown_fields(self) -> VideoJobBlock:
        warn_of_unknown_fields(self)
        return self

    async def atrigger(self) -> VideoJobRun:
        """Order the video and come back at once. Raises what `submit_video` raises."""
        connection, storage, options = await self._prepare()
        return VideoJobRun(
            connection, await video_steps.submit(connection, self.request, storage, options), storage, options
        )

    def trigger(self) -> VideoJobRun:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Order the video and come back at once. Raises what `submit_video` raises."""
        return run_sync(self.atrigger())

    async def aattach(self, job: VideoJob | str) -> VideoJobRun:
        """Go on with a job that was ordered before, here or elsewhere. Buys nothing.

        Args:
            job: The `job` of another run, or the provider's id of a job.

        Raises:
            errors.InvalidRequest: No job can have that id, or it was made at another server than the credentials are
                for.
        """
        connection, storage, options = await self._prepare(scope="forever")
        if isinstance(job, str):
            model = self.request.model if isinstance(self.request, VideoRequest) else ""
            job = video_steps.job_at(connection, job, model=model)
        connection_of(job, connection)  # refuses a job of another server
        return VideoJobRun(connection, job, storage, options)

    def attach(self, job: VideoJob | str) -> VideoJobRun:
        """Go on with a job that was ordered before; see `aattach`."""
        return run_sync(self.aattach(job))

    async def _prepare(self, scope: str | None = None) -> tuple[Connection, Storage, PurchaseOptions]:
        """The server, the store and the options of this video, by the rules of the tasks."""
        scope = scope or self.scope
        if scope == "run" and await context.root_flow_run_id() is None:
            raise InvalidRequest(
                'scope="run" means the flow run, and there is none; give the block another scope, such as "forever"'
            )
        storage = await context.storage_for(self.store)
        options = await context.purchase_options(
            scope=scope, timeout=self.timeout_seconds, budget=self.budget, on_step=show_steps(storage, self.request)
        )
        return self.credentials.connection(), storage, options
