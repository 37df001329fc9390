"""A provider that costs nothing: a real HTTP server speaking the OpenAI images and videos API.

    with simulated() as credentials:
        generate_images(credentials, ImageRequest(prompt="a lighthouse at dawn", model="gpt-image-2"))

Pictures and films are drawn from the prompt, the same request always giving the same bytes. Two words in a
prompt are magic: `forbidden` is refused as moderation would refuse it (an image at once, a video by a failed
job), and `explode` makes a video job fail at the server. Everything else that can go wrong is a `Fault`.

Names load on first use: pytest imports this package in every session of every user.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .faults import Fault as Fault
    from .server import Simulator as Simulator
    from .server import simulated as simulated

_HOME = {"Fault": "faults", "Simulator": "server", "simulated": "server"}

__all__ = ["Fault", "Simulator", "simulated"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name in {"starlette", "uvicorn", "h11", "python_multipart"}:
            raise ImportError("The simulator needs an extra: pip install 'prefect-media[simulator]'") from error
        raise
