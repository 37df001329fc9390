"""The waker as a command: one round, or one after the other until it is ended."""

import json
import os
import signal
import subprocess
import sys
import time


def command(*arguments, env):
    return [sys.executable, "-m", "prefect_media", "wake", *arguments], {**os.environ, **env}


def test_one_round_says_what_it_did(tmp_path, prefect_server):
    arguments, env = command("--store", str(tmp_path), env=prefect_server.env)
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 resumed, 0 still waiting, 0 records removed\n"
    assert (tmp_path / "ledger/wakers/last-round.json").exists()


def test_a_daemon_makes_its_rounds_and_ends_when_it_is_told_to(tmp_path, prefect_server):
    arguments, env = command("--store", str(tmp_path), "--every", "1", env=prefect_server.env)
    process = subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    beat = tmp_path / "ledger/wakers/last-round.json"
    try:
        seen, deadline = set(), time.monotonic() + 120
        while len(seen) < 3 and time.monotonic() < deadline:
            if beat.exists():
                seen.add(beat.read_text())
            time.sleep(0.1)
        assert len(seen) >= 3
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert said.endswith("Stopped\n")


def test_a_round_as_json(tmp_path, prefect_server):
    arguments, env = command("--store", str(tmp_path), "--json", env=prefect_server.env)
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=120)
    assert json.loads(done.stdout) == {"waiting": 0, "woken": [], "removed": 0}
