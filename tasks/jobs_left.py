"""One line at the end of a process that was interrupted: how many jobs go on at the provider, and how to fetch them."""

from __future__ import annotations

import atexit
import sys
import threading
from contextlib import suppress
from shlex import quote

from prefect_media.steps import OnStep, Step

_left: dict[str, set[str]] = {}
_lock = threading.Lock()


def note_jobs_left(store: str) -> OnStep:
    """Takes note of jobs whose wait is interrupted, and of those that are fetched after all.

    Args:
        store: Address of the store that they are on record in.
    """

    def note(step: Step) -> None:
        if step.job_id and step.kind == "interrupted":
            with _lock:
                if not _left:
                    atexit.register(_print_jobs_left)
                _left.setdefault(store, set()).add(step.job_id)
        elif step.job_id and step.kind in ("stored", "failed", "rejected"):
            with _lock:
                _left.get(store, set()).discard(step.job_id)

    return note


def _print_jobs_left() -> None:
    for store, jobs in _left.items():
        if jobs:
            count = f"{len(jobs)} jobs go on" if len(jobs) > 1 else "1 job goes on"
            line = f"{count} at the provider, paid for and on record; fetch with: prefect-media jobs resume --store "
            with suppress(OSError, ValueError):  # whoever read it went away
                sys.stderr.write(f"{line}{quote(store)}\n")
