"""`prefect-media simulate`: the simulated provider in the foreground."""

from __future__ import annotations

import signal
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from .. import simulator
from ..errors import MediaError
from .lazy import load

if TYPE_CHECKING:
    from ..simulator.profiles import Profile

NEEDED = ("starlette", "uvicorn", "python_multipart")


def run(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    latency: Annotated[float, typer.Option(min=0, help="Seconds a video takes.")] = 5.0,
    profile: Annotated[
        str,
        typer.Option(
            help="Whose Videos API: openai, azure, vllm-omni, sglang, trtllm, litellm, new-api or openrouter."
        ),
    ] = "openai",
    models: Annotated[
        str | None,
        typer.Option(
            help="Names of the models and Azure deployments served, separated by commas; others are refused as the "
            "server does. Default: any name is served.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        port: Port to listen on; 0 takes a free one.
        host: Address to listen on.
        latency: Seconds a video takes.
        profile: Whose Videos API.
        models: Names served, separated by commas; None serves any.

    Raises:
        MediaError: The extra is not installed, the port is taken, there is no such profile, or no model is named.
    """
    need_extra("simulate", NEEDED)
    profiles: dict[str, Profile] = load("prefect_media.simulator.profiles:PROFILES")
    if profile not in profiles:
        raise MediaError(f"--profile {profile} is not known; choose one of {', '.join(profiles)}")
    served = None if models is None else [name.strip() for name in models.split(",") if name.strip()]
    if served == []:
        raise MediaError(f"--models {models!r} names no model; give names separated by commas, or leave it out")
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    provider = simulator.Simulator(host=host, port=port, latency=latency, models=served, profile=profile)
    try:
        provider.start()
    except OSError as error:
        raise MediaError(
            f"the simulator can't listen on {host}:{port} ({error.strerror}); choose another --port, 0 is a free one"
        ) from error
    with provider:
        typer.echo(_welcome(provider.url, provider.azure_url, profile, profiles[profile], served))
        while not ended.wait(0.5):  # a signal that comes right before an endless wait would not end it
            pass
    typer.echo(f"Stopped. Accepted: {len(provider.images)} image requests, {len(provider.jobs)} video jobs.")


def need_extra(command: str, modules: tuple[str, ...]) -> None:
    """Refuse to start a command whose extra is not installed."""
    if not all(find_spec(module) for module in modules):
        raise MediaError(f"prefect-media {command} needs an extra: pip install 'prefect-media[simulator]'")


def _welcome(url: str, azure_url: str, name: str, profile: Profile, models: list[str] | None) -> str:
    manner = f"Videos as by {name}: {profile.version}, looked at on {profile.checked}."
    served = "Any model is served." if models is None else f"Served: {', '.join(models)}; other models are refused."
    return f"""\
Images and videos, simulated. Nothing leaves this machine and nothing is paid for.
{manner} {served}

  OpenAI   {url}
  Azure    {azure_url}

Any key will do:

  export OPENAI_BASE_URL={url} OPENAI_API_KEY=simulated

or OpenAICredentials(base_url="{url}", api_key="simulated").
Prompts with the word "forbidden" are refused, videos of an "explode" fail. Ctrl-C ends it.
"""
