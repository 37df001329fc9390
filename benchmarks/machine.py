"""What the processors of this machine do: for others, and for a group of processes that is measured."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path


def busy_seconds() -> float:
    """CPU seconds of all programs of the machine since it was started."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def calm(patience: float) -> None:
    """Wait until hardly anything else runs on this machine, `patience` seconds at most."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        busy = busy_seconds()
        time.sleep(2)
        if busy_seconds() - busy < 0.2 * 2 * (os.cpu_count() or 1):
            return


def cpu_of_group(group: int) -> float:
    """CPU seconds of all processes of a process group, and of their children that have ended."""
    ticks = sum(sum(map(int, fields[11:15])) for _, fields in _processes_of(group))
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_of_group(group: int) -> float:
    """MB (a million bytes) of memory: the peaks of all processes of a process group together."""
    peaks = 0
    for folder, _ in _processes_of(group):
        with contextlib.suppress(OSError):
            line = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
            peaks += int(line.split()[1]) * 1024
    return peaks / 1e6


def _processes_of(group: int) -> Iterator[tuple[Path, list[str]]]:
    """The folders of the processes of a group in /proc, with what `stat` says after the name."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                yield path.parent, fields
