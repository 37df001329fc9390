"""`prefect-media simulate`: the simulated provider in the foreground."""

from __future__ import annotations

import signal
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

import typer

from .errors import MediaError

if TYPE_CHECKING:
    from .simulator.server import ProfileName

NEEDED = ("starlette", "uvicorn", "python_multipart")


def run(*, host: str, port: int, latency: float, profile: str = "openai") -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        MediaError: The extra is not installed, the port is taken, or there is no such profile.
    """
    need_extra("simulate", NEEDED)
    from .simulator import Simulator
    from .simulator.profiles import PROFILES

    if profile not in PROFILES:
        raise MediaError(f"--profile {profile} is not known; choose one of {', '.join(PROFILES)}")
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    simulator = Simulator(host=host, port=port, latency=latency, profile=cast("ProfileName", profile))
    try:
        simulator.start()
    except OSError as error:
        raise MediaError(
            f"The simulator can't listen on {host}:{port} ({error.strerror}); choose another --port, 0 is a free one"
        ) from error
    with simulator:
        typer.echo(_welcome(simulator.url, simulator.azure_url, profile))
        ended.wait()
    typer.echo(f"Stopped. Accepted: {len(simulator.images)} image requests, {len(simulator.jobs)} video jobs.")


def need_extra(command: str, modules: tuple[str, ...]) -> None:
    """Refuse to start a command whose extra is not installed."""
    if not all(find_spec(module) for module in modules):
        raise MediaError(f"prefect-media {command} needs an extra: pip install 'prefect-media[simulator]'")


def _welcome(url: str, azure_url: str, profile: str) -> str:
    manner = "" if profile == "openai" else f" Videos are spoken as by {profile}."
    return f"""\
Images and videos, simulated.{manner} Nothing leaves this machine and nothing is paid for.

  OpenAI   {url}
  Azure    {azure_url}

Any key will do:

  export OPENAI_BASE_URL={url} OPENAI_API_KEY=simulated

or OpenAICredentials(base_url="{url}", api_key="simulated").
Prompts with the word "forbidden" are refused, videos of an "explode" fail. Ctrl-C ends it.
"""
