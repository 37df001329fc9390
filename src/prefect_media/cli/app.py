"""The command line: its commands by name, and how it ends. A command's own file is imported when it is called."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from .lazy import add_command, load

app = typer.Typer(
    name="prefect-media",
    help="Generative images and video as durable Prefect tasks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
jobs = typer.Typer(help="What is on the ledger: list it, look at it, finish what was left unfinished.")

COMMANDS = {
    "demo": (
        "demo:run",
        "Make a storyboard without a key: simulated provider, local bucket, local Prefect server.",
    ),
    "simulate": (
        "simulate:run",
        "Serve the OpenAI images and videos API without a key, until Ctrl-C.",
    ),
    "doctor": (
        "doctor:run",
        "Check addresses, key, models, clock and store, and say what to do; buys nothing.",
    ),
    "models": (
        "models:list_models",
        "Show the catalog: which models are available where and until when, what they can do and cost.",
    ),
    "estimate": (
        "models:print_estimate",
        "Estimate what a request would cost, or say why it can't be estimated; buys nothing.",
    ),
    "budgets": (
        "budgets:list_budgets",
        "Show what was spent of each budget, and what is reserved for purchases in progress.",
    ),
    "watch": (
        "watch:watch",
        "Follow the purchases of a store, or of one flow run, until Ctrl-C; asks no provider and buys nothing.",
    ),
    "verify": (
        "verify:verify",
        "Read and hash everything that was published again; exit code 1 when anything is missing or changed.",
    ),
    "wake": (
        "wake:wake",
        "Resume the sleeping flow runs of a store whose jobs are finished. Buys nothing; several at once do no harm.",
    ),
    "receive": (
        "receive:receive",
        "Receive signed webhooks about finished jobs, and resume the flow runs that wait for them at once.",
    ),
    "recover-crashed": (
        "recovery:recover_crashed",
        "Save the Prefect automations that run lost flow runs again; the ledger buys nothing twice.",
    ),
    "recover": (
        "recovery:recover",
        "Reschedule flow runs that are stuck before their start, or run without a heartbeat.",
    ),
}
JOBS_COMMANDS = {
    "list": (
        "jobs_list:list_purchases",
        "Show the purchases on the ledger, oldest first.",
    ),
    "show": (
        "jobs:show_purchase",
        "Print the record of a purchase as JSON.",
    ),
    "resume": (
        "jobs:resume_purchases",
        "Wait for the jobs that were submitted and never fetched, and store their videos. Buys nothing.",
    ),
    "adopt": (
        "jobs:adopt_job",
        "Attach a job of the provider to a purchase whose reply was lost, after checking the job. Buys nothing.",
    ),
    "forget": (
        "jobs:forget_purchase",
        "Remove a purchase from the ledger, so that the same request is bought again. The media stay.",
    ),
}

app.add_typer(jobs, name="jobs", no_args_is_help=True)
for group, commands in ((app, COMMANDS), (jobs, JOBS_COMMANDS)):
    for name, (function, help) in commands.items():
        add_command(group, name, f"prefect_media.cli.{function}", help)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version  # here: it takes longer to import than --help takes to print

        typer.echo(f"prefect-media {version('prefect-media')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; what goes wrong on purpose is one sentence and exit code 1."""
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    except Exception as error:  # of any library: one with a sentence for users is shown as that
        sentence = load("prefect_media.cli.failures:describe_error")(error)
        if sentence is None or os.environ.get("PREFECT_MEDIA_DEBUG"):
            raise
        typer.echo(sentence, err=True)
        code = 1
    if "obstore" in sys.modules and isinstance(code, int):
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End the process at once, as all work is done.

    A thread of obstore may still be letting go of what it was given, and aborts the process when the interpreter is
    taken down meanwhile: one short command in twenty ended with SIGABRT instead of its exit code on a busy machine.
    """
    with suppress(OSError):  # whoever read it went away
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
