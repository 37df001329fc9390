"""Simulated histories of purchases: all that failed once, and new ones for a minute.

`make simulate` plays new ones for longer. See docs/bought-once.md.
"""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from .alone import SETTINGS

TESTS = Path(__file__).parents[1]


def simulate(*arguments: str, timeout: float = 300, module: str = "simulation") -> subprocess.CompletedProcess[str]:
    """Run the simulation in a process of its own, which decides the order of sets."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=TESTS,
        env={name: value for name, value in os.environ.items() if not name.startswith("PREFECT_MEDIA_")},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_what_failed_once_never_fails_again():
    run = simulate("--kept")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("module", "seconds"), [("simulation", 60), ("simulation.sleeping", 10)])
def test_new_histories_hold(capsys, module, seconds):
    """Another first seed each time; a failure prints the seed that plays it again, and the line that keeps it.

    Those that failed once are played before the new ones.
    """
    seed = secrets.randbelow(10**12)
    with capsys.disabled():
        sys.stdout.write(f"\nhistories of {module} from seed {seed}\n")
    run = simulate("--seed", str(seed), "--seconds", str(seconds), timeout=600, module=module)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " 0 violations" in run.stdout


OVERTAKEN = {
    "seed": 20261130249477,
    "traits": {"latency": 1.5, "took": 5.0},
    "actions": [
        {"name": "a0", "process": "p0", "at": 1.115, "kind": "batch", "what": ["cat", "owl"], "scope": "b"},
        {"name": "a1", "process": "p1", "at": 0.0, "kind": "image", "what": ["owl"]},
        {"name": "a2", "process": "p1", "at": 2.0, "kind": "batch", "what": ["owl"]},
        {"name": "a3", "process": "p3", "at": 1.0, "kind": "batch", "what": ["owl"], "resubmit": True},
    ],
    "faults": [
        {"where": "freeze.p1", "nth": 38, "arg": 100.0},
        {"where": "file", "nth": 2, "what": "429 wait", "arg": 5.0},
        {"where": "post.batch", "nth": 1, "what": "503 wait", "arg": 5.0},
    ],
}
"""A process stands still while it orders a batch, a line of which is in doubt; another orders it meanwhile."""

PLAY = """
import json, sys
from simulation.history import History
from simulation.world import play
outcome = play(History.from_json(sys.argv[1]))
print(json.dumps([outcome.violations, dict(outcome.transitions)]))
"""


def test_who_was_overtaken_puts_no_line_of_the_batch_in_doubt():
    environment = {**os.environ, **SETTINGS}
    played = subprocess.check_output(
        [sys.executable, "-c", PLAY, json.dumps(OVERTAKEN)], cwd=TESTS, env=environment, text=True
    )
    violations, transitions = json.loads(played)
    assert not violations
    assert transitions["in a batch submitted doubtful > in a batch done"] == 1
    assert "in a batch submitted doubtful > in_doubt" not in transitions


def test_a_seed_decides_everything():
    run = simulate("--twice", "--histories", "150", "--seed", "4711")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "150 histories twice, 0 differ" in run.stdout
    first, second = (simulate("--show", "4711").stdout for _ in range(2))
    assert first == second
    assert "what happened:" in first
    assert simulate("--show", "4712").stdout != first


def test_a_seed_decides_everything_of_flow_runs_that_sleep():
    run = simulate("--twice", "--histories", "30", "--seed", "4711", module="simulation.sleeping")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "30 histories twice, 0 differ" in run.stdout


@pytest.mark.parametrize(
    ("module", "gross"),
    [
        ("simulation.mutants", "no search after a lost reply"),
        ("simulation.sleeping.mutants", "a suspension has no record"),
    ],
)
def test_every_mutant_fits_the_code_and_a_gross_one_is_caught(module, gross):
    """Without arguments both hunt all of their mutants, which takes hours."""
    fitted = simulate("--most", "0", module=module)
    assert not fitted.stderr
    assert f"0 of {len(fitted.stdout.splitlines()) - 4} caught" in fitted.stdout
    hunted = simulate(gross, "--most", "50", module=module)
    assert hunted.returncode == 0, hunted.stdout + hunted.stderr
