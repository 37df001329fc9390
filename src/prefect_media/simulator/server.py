"""The simulator itself: what a test or a demo starts, asks and stops."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from inspect import Signature, signature
from typing import ParamSpec, Self

from pydantic import SecretStr

import prefect_media  # blocks are taken from it when they are used: importing them imports Prefect

from .app import build_app
from .faults import Fault
from .profiles import profile_of
from .records import Batch, ImagePurchase, Job, SeenRequest
from .server_thread import Switchboard
from .state import State
from .webhooks import Messenger

P = ParamSpec("P")


class Simulator:
    """A provider of images and videos on a local port, as a context manager.

        with Simulator(latency=1.0) as simulator:
            flow(simulator.credentials)
            assert len(simulator.jobs) == 1  # bought once

    It takes any key but an empty one and those that start with "sk-invalid". It can be stopped and started again
    on the same port, and remembers its jobs meanwhile.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        latency: Seconds from the acceptance of a video job or a batch to its end; may be changed for those to come.
        image_latency: Seconds an image takes.
        models: Names of the models and Azure deployments served, others are refused as the server does; None serves
            any.
        expires_in: Seconds a finished video can be downloaded for.
        poll_after_ms: Pace in milliseconds that status answers suggest to the client; None suggests none.
        can_list: Whether `GET /videos` exists; servers that lack it answer 404.
        can_remix: Whether `POST /videos/{id}/remix` exists.
        can_delete: Whether `DELETE /videos/{id}` exists.
        can_cancel: Whether it also ends jobs that still run, as vLLM-Omni does; OpenAI refused that.
        cloud_content: Whether finished videos are in cloud storage, as SGLang can keep them: its jobs carry their
            links, and its own content route refuses.
        api_servers: How many processes answer; with more than one vLLM-Omni refuses all that has to do with videos.
        profile: Which server to imitate: a name of `simulator.profiles.PROFILES`, which are those of the dialects.
        version: An older version of it, where that differs: "00ae37c" of SGLang, "1.106.2" of LiteLLM.
        webhook_url: Where an event is posted when something has ended: a batch at OpenAI; at OpenRouter a video
            whose request has no `callback_url` of its own. It may be set later, too.
        webhook_secret: What such events are signed with; without it none are posted.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.2,
        image_latency: float = 0.0,
        models: Collection[str] | None = None,
        expires_in: float = 3600.0,
        poll_after_ms: int | None = None,
        can_list: bool = True,
        can_remix: bool = True,
        can_delete: bool = True,
        can_cancel: bool = False,
        cloud_content: bool = False,
        api_servers: int = 1,
        profile: str = "openai",
        version: str | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._state = State(
            latency=latency,
            image_latency=image_latency,
            expires_in=expires_in,
            poll_after_ms=poll_after_ms,
            models=models,
            can_list=can_list,
            can_remix=can_remix,
            can_delete=can_delete,
            can_cancel=can_cancel,
            cloud_content=cloud_content,
            api_servers=api_servers,
            profile=profile_of(profile, version),
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
        )
        self._profile = profile
        self._switchboard: Switchboard | None = None
        self._messenger: Messenger | None = None

    def start(self) -> None:
        """Listen; returns once requests are answered. Does nothing while it is running."""
        if self._switchboard:
            return
        listener = socket.create_server((self._host, self._port), backlog=256)
        self._port = listener.getsockname()[1]  # a restart keeps the port, and with it every URL
        self._switchboard = Switchboard(build_app(self._state), listener)
        self._switchboard.open()
        self._state.root = self.azure_url
        if self._state.webhook_secret:
            self._messenger = Messenger(self._state)
            self._messenger.start()

    def stop(self) -> None:
        """Cut every connection and stop listening. Does nothing while it is stopped."""
        if self._messenger:
            self._messenger.stop()
            self._messenger = None
        if self._switchboard:
            self._switchboard.close()
            self._switchboard = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def azure_url(self) -> str:
        """What a user would paste as the endpoint of an Azure resource."""
        return f"http://{self._host}:{self._port}"

    @property
    def url(self) -> str:
        """Base URL of the OpenAI API, with its /v1."""
        return f"{self.azure_url}/v1"

    @property
    def jobs(self) -> list[Job]:
        """Every video job ever accepted, oldest first; deleted ones too."""
        return self._state.jobs

    @property
    def images(self) -> list[ImagePurchase]:
        """Every image request ever accepted, oldest first."""
        return self._state.images

    @property
    def batches(self) -> list[Batch]:
        """Every batch ever accepted, oldest first; its images are among `images` once it was seen to have ended."""
        return self._state.batches

    def advance(self, seconds: float) -> None:
        """Let time pass at once for all jobs and batches there are."""
        for accepted in (*self.jobs, *self.batches):
            accepted.started -= seconds

    @property
    def requests(self) -> list[SeenRequest]:
        """Every request ever received, oldest first."""
        return self._state.requests

    @property
    def faults(self) -> list[Fault]:
        """What is to go wrong; the first that fits a request strikes it. Add to it at any time."""
        return self._state.faults

    @property
    def latency(self) -> float:
        """Seconds from the acceptance of a video job to its end."""
        return self._state.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._state.latency = seconds

    @property
    def webhook_url(self) -> str | None:
        """Where events are posted when something has ended."""
        return self._state.webhook_url

    @webhook_url.setter
    def webhook_url(self, url: str | None) -> None:
        self._state.webhook_url = url

    @property
    def credentials(self) -> prefect_media.OpenAICredentials:
        """Credentials that lead here."""
        return prefect_media.OpenAICredentials(
            api_key=SecretStr("sk-simulated"), base_url=self.url, dialect=self._profile
        )

    @property
    def azure_credentials(self) -> prefect_media.AzureOpenAICredentials:
        """Credentials that lead here by the Azure paths."""
        return prefect_media.AzureOpenAICredentials(base_url=self.azure_url, api_key=SecretStr("simulated-key"))


def _lend_credentials(simulator: Callable[P, Simulator]):
    """`simulated`, with the arguments of the simulator that it starts."""

    @contextmanager
    def simulated(*args: P.args, **kwargs: P.kwargs) -> Generator[prefect_media.OpenAICredentials]:
        """Credentials of a provider that costs nothing, for as long as the `with` lasts.

            with simulated() as credentials:
                generate_video(credentials, request)

        Args: as those of `Simulator`, which is the thing to start where the provider's memory matters too.
        """
        with simulator(*args, **kwargs) as started:
            yield started.credentials

    simulated.__qualname__ = simulated.__name__
    arguments = signature(simulator).replace(return_annotation=Signature.empty)
    setattr(simulated, "__signature__", arguments)  # noqa: B010 (no attribute that functions are declared with)
    return simulated


simulated = _lend_credentials(Simulator)
