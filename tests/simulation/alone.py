"""A process of its own for the simulation, in which the same seed is the same history."""

from __future__ import annotations

import logging
import os
import sys

SETTINGS = {
    "PYTHONHASHSEED": "0",  # sets have the same order every time
    "PREFECT_MEDIA_LEASE_SECONDS": "10",  # waiting for a lease is most of the work otherwise
}


def settle(module: str) -> None:
    """Start a module again with these settings, unless it has them."""
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], {**os.environ, **SETTINGS})
    logging.disable(logging.CRITICAL)


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
