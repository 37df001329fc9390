"""A short run of chaos.py, as a user would start it."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("store", ["folder", "s3"])
def test_twenty_kills_buy_nothing_twice_and_lose_nothing(store):
    chaos = subprocess.run(
        [sys.executable, str(Path(__file__).parents[1] / "support" / "chaos.py"), "--kills", "20", "--store", store],
        capture_output=True,
        text=True,
        timeout=90,
    )
    last = chaos.stdout.splitlines()[-1]
    assert chaos.returncode == 0, chaos.stdout + chaos.stderr
    assert "0 duplicates, 0 lost" in last
    assert int(last.split()[0]) >= 20
