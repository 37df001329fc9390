"""The command line. Only arguments are read here: each command's own module is imported when it runs."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    name="prefect-media",
    help="Generative images and video as durable Prefect tasks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
jobs = typer.Typer(help="What is on the ledger: list it, look at it, finish what was left unfinished.")
app.add_typer(jobs, name="jobs", no_args_is_help=True)

StoreOption = Annotated[
    str | None,
    typer.Option(
        help="A URL such as s3://bucket/prefix, a folder, or the name of a saved MediaStore. "
        "Default: PREFECT_MEDIA_STORE, else the folder under the Prefect home.",
        show_default=False,
    ),
]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The purchase's key, or how it begins.")]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"prefect-media {version('prefect-media')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for what is made.")] = Path("demo-output"),
    latency: Annotated[float, typer.Option(min=0, help="Seconds a video takes.")] = 3.0,
    serve: Annotated[bool, typer.Option("--serve", help="Keep everything up for a look at the Prefect UI.")] = False,
) -> None:
    """Make a storyboard without a key: simulated provider, local bucket, local Prefect server."""
    from .demo import run

    run(output=output, latency=latency, serve=serve)


@app.command()
def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    latency: Annotated[float, typer.Option(min=0, help="Seconds a video takes.")] = 5.0,
    profile: Annotated[
        str,
        typer.Option(
            help="Whose Videos API: openai, azure, vllm-omni, sglang, trtllm, litellm, new-api or openrouter."
        ),
    ] = "openai",
    models: Annotated[
        str | None,
        typer.Option(
            help="Names of the models and Azure deployments served, separated by commas; others are refused as the "
            "server does. Default: any name is served.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve the OpenAI images and videos API without a key, until Ctrl-C."""
    from .simulate import run

    run(host=host, port=port, latency=latency, profile=profile, models=models)


@app.command()
def doctor(
    credentials: Annotated[
        str | None,
        typer.Option(help="Name of a saved block. Default: OPENAI_API_KEY and the like.", show_default=False),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Check addresses, key, models, clock and store, and say what to do; buys nothing."""
    from .doctor import run

    run(store, credentials)


@app.command()
def models(
    kind: Annotated[str | None, typer.Option(help='"image" or "video"; both if left out.', show_default=False)] = None,
    alive: Annotated[bool, typer.Option("--alive", help="Only models that OpenAI or Azure still serve.")] = False,
) -> None:
    """Show what the catalog knows: which models live where, until when, what they can do and cost."""
    from .models import list_models

    list_models(_choice("kind", kind, ("image", "video")), alive=alive)


@app.command()
def estimate(
    model: Annotated[str, typer.Option(help="Model, such as gpt-image-2.")],
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.", show_default=False)] = None,
    quality: Annotated[str | None, typer.Option(help="Quality of an image.", show_default=False)] = None,
    n: Annotated[int, typer.Option(min=1, help="How many images.")] = 1,
    seconds: Annotated[int | None, typer.Option(min=1, help="Length of a video.", show_default=False)] = None,
    host: Annotated[str, typer.Option(help="Whose servers: openai, azure or other.")] = "openai",
) -> None:
    """Say what a request would cost, or why that can't be said; buys nothing."""
    from .models import print_estimate

    where = _choice("host", host, ("openai", "azure", "other"))
    print_estimate(model, size=size, quality=quality, n=n, seconds=seconds, host=where or "openai")


@app.command()
def budgets(store: StoreOption = None) -> None:
    """Show what was spent of each budget, and what is set aside for purchases under way."""
    from .budgets import list_budgets

    list_budgets(store)


@app.command()
def verify(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="A manifest.json or the folder it is in, such as s3://bucket/autumn.")
    ],
) -> None:
    """Read and hash everything that was published again; exit code 1 when anything is missing or changed."""
    from .verify import verify

    verify(url)


@app.command("recover-crashed")
def recover_crashed(
    flow: Annotated[
        str | None, typer.Option(help="Only runs of the flow of this name. Default: all.", show_default=False)
    ] = None,
) -> None:
    """Create a Prefect automation that runs crashed flow runs again; the ledger buys nothing twice."""
    from prefect_media.tasks.recovery import crash_recovery

    automation = asyncio.run(crash_recovery(flow).acreate())
    typer.echo(f"Created the automation {automation.name!r} ({automation.id}); see prefect automation ls")


@jobs.command("list")
def list_jobs(
    store: StoreOption = None,
    state: Annotated[
        list[str] | None,
        typer.Option(help="Only these: intent, submitted, done, failed, in_doubt.", show_default=False),
    ] = None,
) -> None:
    """Show every purchase on the ledger, oldest first."""
    from .jobs import list_purchases

    list_purchases(store, state or [])


@jobs.command("show")
def show_job(key: Key, store: StoreOption = None) -> None:
    """Print the record of a purchase as JSON."""
    from .jobs import show_purchase

    show_purchase(store, key)


@jobs.command("resume")
def resume_jobs(
    key: Annotated[
        str | None,
        typer.Argument(metavar="[KEY]", help="Only this one; its key, or how it begins.", show_default=False),
    ] = None,
    store: StoreOption = None,
    credentials: Annotated[
        str | None,
        typer.Option(help="Name of a saved block. Default: OPENAI_API_KEY and the like.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each.")] = 1800.0,
) -> None:
    """Wait for the jobs that were submitted and never fetched, and store their videos. Buys nothing."""
    from .jobs import resume_purchases

    resume_purchases(store, key, credentials, timeout)


@jobs.command("adopt")
def adopt_job(
    key: Key,
    job_id: Annotated[str, typer.Argument(metavar="JOB_ID", help="The provider's id of the job.")],
    store: StoreOption = None,
    credentials: Annotated[
        str | None,
        typer.Option(help="Name of a saved block. Default: OPENAI_API_KEY and the like.", show_default=False),
    ] = None,
) -> None:
    """Attach a job of the provider to a purchase whose reply was lost, after a look at it there. Buys nothing."""
    from .jobs import adopt_job

    adopt_job(store, key, job_id, credentials)


@jobs.command("forget")
def forget_job(
    key: Key,
    store: StoreOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Take a purchase off the ledger, so that the same request is bought anew. The media stay."""
    from .jobs import forget_purchase

    forget_purchase(store, key, sure=yes)


def main() -> None:
    """Run the command line; what goes wrong on purpose is one sentence and exit code 1."""
    code: Any = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    except Exception as error:
        sentence = _sentence(error)
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


def _choice(name: str, value: str | None, possible: tuple[Any, ...]) -> Any:
    from ..errors import InvalidRequest

    if value is not None and value not in possible:
        raise InvalidRequest(f"--{name} {value!r} is not possible; choose from {', '.join(possible)}")
    return value


def _sentence(error: Exception) -> str | None:
    from pydantic import ValidationError

    from ..errors import MediaError
    from ..requests import problems_of

    if isinstance(error, ValidationError):
        return f"{error.title} is not valid: {problems_of(error)}"
    return error.message if isinstance(error, MediaError) else None
