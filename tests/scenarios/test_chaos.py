"""Short runs of chaos.py and chaos_waiting.py, as a user would start them."""

import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.mark.parametrize("store", ["folder", "s3"])
def test_twenty_kills_buy_nothing_twice_and_lose_nothing(store):
    chaos = subprocess.run(
        [sys.executable, str(SUPPORT / "chaos.py"), "--kills", "20", "--store", store],
        capture_output=True,
        text=True,
        timeout=90,
    )
    last = chaos.stdout.splitlines()[-1]
    assert chaos.returncode == 0, chaos.stdout + chaos.stderr
    assert "0 duplicates, 0 lost" in last
    assert int(last.split()[0]) >= 20


def test_a_flow_run_killed_at_each_step_of_its_sleep_comes_to_a_good_end(prefect_server):
    """And so are its wakers: once at each step; `make chaos-waiting` does it twenty times."""
    script = [sys.executable, str(SUPPORT / "chaos_waiting.py"), "--kills", "1", "--flows", "film"]
    chaos = subprocess.run([*script, "--api-url", prefect_server.api_url], capture_output=True, text=True, timeout=300)
    assert chaos.returncode == 0, chaos.stdout + chaos.stderr
    assert chaos.stdout.splitlines()[-1].startswith("14 kills, 1 flow runs, 2 jobs and 0 image requests")
