"""Mutants of the code by which flow runs sleep: `python -m simulation.sleeping.mutants`. See simulation/mutants.py."""

from __future__ import annotations

import sys

from ..alone import settle

settle("simulation.sleeping.mutants")

from prefect_media.tasks import ask_people, suspension, waiting, wake  # noqa: E402

from prefect_media.waiting import server_look  # noqa: E402

from ..mutants import Edit, main  # noqa: E402
from . import world  # noqa: E402, F401  (so that `play` knows it)
from .draw import draw  # noqa: E402

MUTANTS: dict[str, list[Edit]] = {
    # The flow run.
    "a suspension has no record": [Edit(suspension, "prepare", "await write(storage, record)", "pass")],
    "the record of a flow run that sleeps is withdrawn": [
        Edit(waiting, "auntil_finished", "except RuntimeError:", "except BaseException:")
    ],
    "the record of a flow run that may sleep is withdrawn": [
        Edit(waiting, "auntil_finished", "except RuntimeError:", "except Exception:")
    ],
    "Prefect ends what sleeps at its deadline": [Edit(suspension, "seconds_to", "+ GRACE", "")],
    "the deadline begins anew with each sleep": [
        Edit(waiting, "_begin", "deadline = _first_deadline(jobs, used)", "deadline = None")
    ],
    "a job that goes on is finished": [
        Edit(waiting, "_Wait._outcome", "JobOutcome(job, finished=False)", "JobOutcome(job, finished=True)")
    ],
    "one key for all suspensions": [Edit(waiting, "_Wait.step", "{clock.new_id()[:12]}", "{'0' * 12}")],
    # Wakers.
    "a record is removed before its flow run is resumed": [
        Edit(
            wake,
            "make_round",
            "elif await _try_to_resume(",
            "elif not await remove(storage, record) and await _try_to_resume(",
        )
    ],
    "a waker resumes whatever sleeps": [
        Edit(wake, "_sleeps", "and state.state_details.pause_key == record.suspension", "")
    ],
    "a waker does not look at flow runs": [Edit(wake, "make_round", "if _sleeps(run, record):", "if run:")],
    "a flow run that is awake needs no record": [
        Edit(wake, "_is_over", "and (state.is_final() or state.is_paused())", "")
    ],
    "a record of a flow run that is over stays": [
        Edit(wake, "_is_over", "state.is_final() or state.is_paused()", "state.is_paused()")
    ],
    "a record of a flow run that is deleted stays": [
        Edit(
            wake,
            "_is_over",
            "return record.api_url in (None, url_without_login(api_url)) or long_over",
            "return long_over",
        )
    ],
    "the deadline is ignored": [Edit(wake, "_reason", "if clock.now() >= record.deadline:", "if False:")],
    "one finished job is enough": [Edit(wake, "_reason", "all(over) if", "any(over) if")],
    "all jobs have to be finished": [Edit(wake, "_reason", "else any(over)", "else all(over)")],
    "a failed job is not finished": [
        Edit(server_look, "_Asking._take_state", 'state.phase in ("done", "failed")', 'state.phase == "done"')
    ],
    "a hint counts as finished": [Edit(server_look, "_Asking.run", "await self._one(hint)", "self.finished.add(hint)")],
    "each waker asks as often as it likes": [
        Edit(server_look, "ServerRecord.room", "return max(0, limit - len(self.lately(now)))", "return limit")
    ],
    "who loses the server's record asks all the same": [
        Edit(server_look, "look_at_server", "if version is None:  # another waker looks", "if False:")
    ],
    "a list is read from its top each time": [
        Edit(server_look, "look_at_server", "after=record.after", "after=None"),
        Edit(server_look, "_Asking._pages", " - (clock.dice().random() < SINGLE_LOOKS)", ""),
    ],
    # People.
    "a question that nobody answers is resumed like a job": [
        Edit(wake, "resume", 'if record.reason == "jobs":', "if True:")
    ],
    "a question without a form waits for its deadline": [
        Edit(wake, "_reason", "if record.suspension in formless:", "if False:")
    ],
    "an answer counts until the deadline": [
        Edit(
            ask_people,
            "_Question.answer",
            "if response is not None:",
            "if response is not None and clock.now() < review.deadline:",
        )
    ],
    "the question of a flow run that sleeps is withdrawn": [
        Edit(ask_people, "_Question._sleep", "except RuntimeError:", "except BaseException:")
    ],
}

if __name__ == "__main__":
    sys.exit(main(MUTANTS, draw))
