"""Proof that the simulation can fail: the real code broken in named ways, one at a time, and how soon each is caught.

    cd tests && python -m simulation.mutants            # all, up to 100,000 histories each
    cd tests && python -m simulation.mutants "no look"  # those whose names have that in them

A mutant is an edit of a function's source, compiled anew while the program runs; nothing is written to a file. An edit
that does not fit the source any more is an error, so that none is lost when the code changes.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import statistics
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .alone import say, settle

settle("simulation.mutants")

from prefect_media.ledger import accounts, claim, job_owners, lease, ledger, record_merge  # noqa: E402
from prefect_media.providers import error_mapping  # noqa: E402
from prefect_media.purchases import (  # noqa: E402
    batch_fetch,
    batch_submit,
    images,
    lost_jobs,
    media_keys,
    own_job,
    submit_once,
    videos,
)
from prefect_media.storage import store  # noqa: E402
from prefect_media.waiting import deadlines  # noqa: E402

from .draw import draw  # noqa: E402
from .history import History  # noqa: E402
from .world import play  # noqa: E402


@dataclass(frozen=True)
class Edit:
    """One change to the source of a function, such as "Ledger.confirm", or to a constant."""

    module: Any
    name: str
    old: str
    new: str


MUTANTS: dict[str, list[Edit]] = {
    # A lost reply, and who may pay.
    "a lost connection counts as refused": [
        Edit(error_mapping, "connection_error", "if not paid or isinstance(", "if True or isinstance("),
    ],
    "an error of the server counts as refused": [
        Edit(
            error_mapping,
            "_error_of",
            "        if paid:\n            return Sub",
            "        if False:\n            return Sub",
        ),
    ],
    "an order that was not understood counts as refused": [
        Edit(error_mapping, "not_json", "if paid else", "if False else"),
    ],
    "no confirmation before paying": [Edit(ledger, "Ledger.confirm", "    for _ in", "    return\n    for _ in")],
    "a confirmation that took for ever counts": [
        Edit(claim, "Claim.lasting", "return written.", "return True or written.")
    ],
    "a lease is renewed whoever owns it": [
        Edit(
            ledger,
            "Ledger._renew",
            "if current is None or not current[0].lease or current[0].lease.owner != owner:",
            "if current is None:",
        ),
    ],
    "all owners have one name": [Edit(ledger, "Ledger.claim", "clock.new_id()", "'me'")],
    "a lease is never waited for": [
        Edit(lease, "LeaseWatch.seconds_left", "return self._seen[key][1] + lease.seconds - now", "return 0.0"),
    ],
    "a lease ends by the wall clock": [
        Edit(
            lease,
            "LeaseWatch.seconds_left",
            "return self._seen[key][1] + lease.seconds - now",
            "return (lease.until - clock.now()).total_seconds()",
        ),
    ],
    "a lease is not renewed": [
        Edit(
            ledger,
            "Ledger.keep_lease",
            "await asyncio.wait_for(stop.wait(), settings().lease_seconds / 3)",
            "await stop.wait()",
        )
    ],
    "who died in the middle left no doubt": [Edit(ledger, "Ledger._take", "doubtful=doubtful,", "doubtful=False,")],
    "a doubt is not put on record": [
        Edit(
            submit_once,
            "Submission._changes_after",
            'return {"state": "in_doubt"}\n    if isinstance(error, MediaError)',
            'return {"state": "intent", "doubtful": False}\n    if isinstance(error, MediaError)',
        ),
        Edit(
            submit_once,
            "Submission._changes_after",
            'if claim.sent or claim.passed_over:\n        return {"state": "in_doubt"}',
            'if claim.sent or claim.passed_over:\n        return {"state": "intent", "doubtful": False}',
        ),
    ],
    "what was cancelled in the air was not sent": [
        Edit(submit_once, "send_when_accepted", "claim.sent = True", "claim.sent = False"),
    ],
    "no search after a crash": [
        Edit(submit_once, "find_or_submit", "await find(None) if claim.record.doubtful else None", "None")
    ],
    "no search after a lost reply": [Edit(submit_once, "find_or_submit", "job = await find(error)", "job = None")],
    "one look at the list": [Edit(lost_jobs, "LOOKS", "", "(0.0,)")],
    "who loses a job to another stops looking": [
        Edit(lost_jobs, "_Search.look_until_clear", "if taken not in (None, self.taken):", "if False:"),
    ],
    "a list of jobs without prompts shows none": [
        Edit(lost_jobs, "_too_vague", "if candidates else None", "if False else None")
    ],
    "adopts what others have on record": [
        Edit(
            lost_jobs,
            "_Search._choose",
            "others = await self.ledger.purchases_with_prompt_of(record)",
            "others = []",
        ),
        Edit(lost_jobs, "_Search._choose", "lambda job: owner_of(storage, record, job.id)", "lambda _: clock.sleep(0)"),
        Edit(lost_jobs, "_Search._take_one", "if await take_job(", "if True or await take_job("),
        Edit(own_job, "refuse_another_purchases_job", "if owner != record.key:", "if False:"),
    ],
    "ids of failed jobs are forgotten": [
        Edit(ledger, "Ledger._take", "other_jobs=claim.record.job_ids,", "other_jobs=(),")
    ],
    "the other's word wins": [Edit(record_merge, "merge", "if _outweighs(ours, theirs) else", "if False else")],
    "what is certain never wins": [
        Edit(record_merge, "_outweighs", 'return theirs.state in ("intent", "in_doubt") or', "return"),
    ],
    "a failure outweighs the doubt about a later purchase": [
        Edit(
            record_merge,
            "_outweighs",
            'return theirs.state == "submitted" and same_job',
            'return theirs.state == "intent" or (theirs.state == "submitted" and same_job)',
        ),
    ],
    "a write that failed is repeated over what others wrote": [
        Edit(
            ledger,
            "Ledger._move",
            "theirs, version = current",
            "theirs, version = current\n            claim.version = version",
        )
    ],
    "a batch that was refused frees what is in doubt": [
        Edit(
            batch_submit,
            "_submit",
            "if not claim.record.doubtful and not claim.passed_over:",
            "if not claim.record.doubtful:",
        )
    ],
    "a resubmission that is cancelled clears the doubt": [
        Edit(submit_once, "Submission._changes_after", "if claim.sent or claim.passed_over:", "if claim.sent:")
    ],
    "what an earlier job came to is put on record of a later one": [
        Edit(videos, "_move_to_failed", "if claim.record.job and claim.record.job.id == job.id:", "if True:")
    ],
    "what others put on a record that is ours is lost": [
        Edit(ledger, "Ledger._move", "record = with_jobs_of(record, theirs)", "pass"),
        Edit(ledger, "Ledger._renew", "with_jobs_of(claim.record, current[0])", "claim.record"),
    ],
    "writes without If-Match": [
        Edit(store, "Storage.replace", ".replace(full, data, version)", ".put(full, data, '') or '0'")
    ],
    "writes without If-None-Match": [
        Edit(store, "Storage.create", ".create(full, data)", ".put(full, data, '') or '0'")
    ],
    "a resubmission that failed clears the doubt": [
        Edit(
            submit_once,
            "Submission._changes_after",
            '"in_doubt" if claim.passed_over else "intent"',
            '"intent"',
        ),
    ],
    "the job of a forgotten purchase is anybody's": [
        Edit(
            job_owners,
            "disown_jobs",
            "path, entry = path_of(record, job_id), entry_of(FORGOTTEN, job_id)",
            "await storage.delete(path_of(record, job_id))\n        continue",
        ),
    ],
    # What was paid for.
    "images that were not stored were not bought": [
        Edit(images, "_buy_order", "claim.doubt(True)", "claim.doubt(False)")
    ],
    "not done in time is failed": [
        Edit(videos, "record_failure", "(JobFailed, ContentRejected)", "(JobFailed, ContentRejected, MediaError)")
    ],
    "a look that failed is the end of the job": [
        Edit(
            deadlines,
            "Watch.judge_error",
            "if isinstance(error, NotFound):",
            "if not isinstance(error, NotFound):\n        return JobFailed('gone', job_id=self.job_id)\n    if True:",
        ),
    ],
    "a job that is not known at once is gone": [
        Edit(deadlines, "Watch.judge_error", "> self._patience.unknown", "> 0.0")
    ],
    "looks that say nothing count between those that do not know the job": [
        Edit(deadlines, "Watch.judge_error", "self._unknown = 0\n", "pass\n")
    ],
    "every cancellation ends the job": [Edit(videos, "_leave", "if options.cancel_remote:", "if True:")],
    "a finished job may be deleted": [Edit(videos, "end_job", '.phase == "done"', '.phase == "never"')],
    "one name for all attempts": [Edit(media_keys, "_hash", r"{record.created_at.isoformat()}\n{record.attempt}", "")],
    "bought before it is in the index": [
        Edit(ledger, "Ledger.index", "if run := flow_run_id or record.flow_run_id:", "if False:")
    ],
    # Budgets.
    "nothing is reserved": [Edit(accounts, "reserve", "if budget is None:", "if True:")],
    "the limit is not looked at": [Edit(accounts, "Account.reserve", "> limit:", "> limit + 1e9:")],
    "a doubt gives back what was reserved": [
        Edit(
            accounts,
            "settle",
            'given_up = record.state == "intent"',
            'given_up = record.state in ("intent", "in_doubt")',
        )
    ],
    "what was given up stays reserved": [Edit(accounts, "settle", "not (given_up or", "not (")],
    "a failure costs nothing": [Edit(accounts, "_billed", "return answered or", "return False and")],
    "settled twice": [
        Edit(
            accounts,
            "Account.settle",
            "return self\n    cost",
            "reserved = Reserved(usd=usd or 0.0, attempt=0)\n    cost",
        )
    ],
    "a settlement is not repeated": [Edit(ledger, "Ledger.settle", "await settle(self.storage, record)", "pass")],
    "an account is written over": [
        Edit(
            accounts,
            "_Book._apply",
            "self._storage.replace(self._path, text, stored.version)",
            "self._storage.put(self._path, text, content_type='')",
        )
    ],
    "two requests in one attempt count once": [
        Edit(claim, "Claim.pass_over", "self.record.attempt + int(sent_now)", "self.record.attempt")
    ],
    # Batches.
    "a lost batch is not searched": [Edit(batch_submit, "_find", "if candidates:", "if False:")],
    "a lost batch is searched once": [Edit(batch_submit, "LOOKS", "", "(0.0,)")],
    "a batch in doubt is free again": [Edit(batch_submit, "_submit", "if not claim.record.doubtful and", "if")],
    "a batch takes what others have": [
        Edit(batch_submit, "_enlist", "elsewhere[part.key] = claim.record.batch", "mine.append(claim)")
    ],
    "what a batch failed to make for good is free": [
        Edit(batch_fetch, "_Collection._settle", "if final and not claim.record.doubtful else", "if False else")
    ],
    "a rejection in a batch clears an older doubt": [
        Edit(batch_fetch, "_Collection._settle", "if final and not claim.record.doubtful else", "if final else"),
        Edit(batch_fetch, "_Collection._settle", '"doubtful": claim.record.doubtful', '"doubtful": False'),
    ],
    "a batch closes before all is stored": [Edit(batch_fetch, "_Collection._settle", " and not self.troubles:", ":")],
    "a resubmitted batch clears the doubt": [
        Edit(batch_submit, "_enlist", "doubtful=True, attempt", "doubtful=False, attempt")
    ],
    "a batch ordered in spite of a doubt counts once": [
        Edit(batch_submit, "_submit", "part.record.attempt + int(ordered)", "part.record.attempt")
    ],
    "a batch ordered in spite of a doubt leaves its parts without one": [
        Edit(batch_submit, "_submit", "if claim.passed_over and not overruled:", "if False:")
    ],
    "a batch that was refused stays refused": [
        Edit(batch_submit, "_claim_or_submit", "ledger.claim(intended, retry_failed=True)", "ledger.claim(intended)")
    ],
}


def _apply(edits: list[Edit]) -> Callable[[], None]:
    """Make the edits; what is returned takes them back."""
    undo: list[tuple[Any, str, Any]] = []

    def put(place: Any, name: str, value: Any) -> None:
        undo.append((place, name, inspect.getattr_static(place, name)))
        setattr(place, name, value)

    for edit in edits:
        *path, name = edit.name.split(".")
        owner = getattr(edit.module, path[0]) if path else edit.module
        before = inspect.getattr_static(owner, name)
        if not edit.old:
            put(owner, name, eval(edit.new))
            continue
        after = _edited(edit, before)
        put(owner, name, after)
        if not path:  # others have imported it by its name
            for module in [
                m
                for n, m in sys.modules.items()
                if n.startswith(("prefect_media", "simulation")) and m is not edit.module
            ]:
                if vars(module).get(name) is before:
                    put(module, name, after)

    def take_back() -> None:
        for place, name, value in reversed(undo):
            setattr(place, name, value)

    return take_back


def _edited(edit: Edit, function: Any) -> Any:
    source = textwrap.dedent(
        _SOURCES.get((edit.module, edit.name)) or inspect.getsource(getattr(function, "fget", None) or function)
    )
    old = edit.old
    if source.count(old) < 1:
        raise LookupError(f"{edit.name} has no {old!r} any more")
    changed = source.replace(old, edit.new, 1)
    _SOURCES[edit.module, edit.name] = changed
    scope: dict[str, Any] = {}
    code = compile(
        f"from __future__ import annotations\n{changed}", f"<mutant of {edit.name}>", "exec", dont_inherit=True
    )
    exec(code, edit.module.__dict__, scope)
    return scope[edit.name.rpartition(".")[2]]


_SOURCES: dict[tuple[Any, str], str] = {}
"""Of functions that are edited already."""


@contextmanager
def mutated(edits: list[Edit]) -> Iterator[None]:
    """The real code with one mutant in it."""
    _SOURCES.clear()
    take_back = _apply(edits)
    try:
        yield
    finally:
        take_back()


def hunt(edits: list[Edit], draw: Callable[[int], History], most: int, first: int) -> tuple[int | None, str]:
    """How many histories it takes to catch a mutant, and which invariant did."""
    with mutated(edits):
        for number in range(most):
            if number % 300 == 0:
                gc.collect()
            if violations := play(draw(first + number)).violations:
                return number + 1, violations[0]
    return None, "not caught"


def main(mutants: dict[str, list[Edit]], draw: Callable[[int], History]) -> int:
    parser = argparse.ArgumentParser(prog="simulation.mutants", description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="part of the names of the mutants to hunt")
    parser.add_argument("--most", type=int, default=100_000, help="histories for each at most (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default: %(default)s)")
    arguments = parser.parse_args()
    gc.collect()
    gc.freeze()
    gc.disable()
    took: list[int] = []
    names = [name for name in mutants if arguments.name in name]
    say("| mutant | histories until caught | by |\n| --- | ---: | --- |")
    for name in names:
        number, why = hunt(mutants[name], draw, arguments.most, arguments.seed)
        took += [number] if number else []
        say(f"| {name} | {number or f'more than {arguments.most:,}'} | {why.partition(' (')[0][:90]} |")
    say(f"\n{len(took)} of {len(names)} caught, median {statistics.median(took) if took else 0:g}")
    return 0 if len(took) == len(names) else 1


if __name__ == "__main__":
    sys.exit(main(MUTANTS, draw))
