"""`python -m simulation.sleeping`, in tests/: histories of flow runs that sleep, in place of buyers. See --help."""

from __future__ import annotations

import sys
from pathlib import Path

from ..alone import settle

settle("simulation.sleeping")

from ..__main__ import main  # noqa: E402
from . import world  # noqa: E402, F401  (so that `play` knows it)
from .draw import draw  # noqa: E402

KEPT = Path(__file__).with_name("kept.jsonl")

if __name__ == "__main__":
    sys.exit(main(draw, KEPT))
